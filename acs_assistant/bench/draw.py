"""Drawing tasks that are proven feasible: every spec comes from a sizing that was simulated.

Easy: what a random working sizing measured, relaxed by 10 %. Medium: what an optimized sizing
measured, relaxed by 10 %. Hard: the best trade-off that 1,000 optimizer simulations found, relaxed
by 3 %. A working sizing is one whose metrics are all there and none worse than the easy end of the
range that ``circuit.toml`` states for its spec. A trade-off is a random weighting of the specs with
the hard ends of those ranges as targets; no sizing reaches all, so the optimizer has to choose.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

import numpy as np

from acs_assistant.bench.taskfile import LEVELS, BenchTask, Level, Witness
from acs_assistant.domain import (
    Circuit,
    Conditions,
    Corner,
    Evaluation,
    Measurement,
    Sizing,
    Spec,
    Task,
)
from acs_assistant.engine.evaluate import evaluate
from acs_assistant.errors import InputError
from acs_assistant.optimizers import make_optimizer
from acs_assistant.optimizers.sobol import sobol_points
from acs_assistant.optimizers.space import DesignSpace
from acs_assistant.scoring import score, signed_margin
from acs_assistant.sim.port import Simulator

_ROUNDING = {">=": ROUND_FLOOR, "<=": ROUND_CEILING, "==": ROUND_HALF_EVEN}
_TOLD = 200  # sizings known already that a new optimizer run starts from
_LEAST_SPECS = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """How tasks of one circuit are drawn.

    Attributes:
        count: Tasks per level.
        seed: Another seed, other tasks; a level's tasks do not depend on the other levels.
        vary_conditions: Draw supply, temperature and load from the circuit's ranges.
        corners: Where the specs hold; () for the circuit's own corner.
        relax: (low, high) per level, a fraction of each metric.
        simulations: Per optimizer run, by level.
        patience: Random sizings tried for one working sizing before giving up.
    """

    count: int = 25
    levels: tuple[Level, ...] = LEVELS
    seed: int = 0
    vary_conditions: bool = False
    corners: tuple[Corner, ...] = ()
    relax: dict[Level, tuple[float, float]] = field(
        default_factory=lambda: {"easy": (0.10, 0.10), "medium": (0.10, 0.10), "hard": (0.03, 0.03)}
    )
    simulations: dict[Level, int] = field(default_factory=lambda: {"medium": 200, "hard": 1000})
    patience: int = 4000


@dataclass(frozen=True, slots=True)
class _Known:
    """A sizing and what it measured at every corner."""

    sizing: Sizing
    measurements: tuple[Measurement, ...]


Progress = Callable[[int], None]


def draw_tasks(
    circuit: Circuit, simulator: Simulator, plan: Plan, progress: Progress | None = None
) -> list[tuple[BenchTask, Witness]]:
    """Draws ``plan.count`` tasks per level, each with the sizing that meets it.

    Args:
        progress: Called with the number of tasks drawn so far.

    Raises:
        InputError: The circuit has too few specs, or no working sizing was found.
    """
    ranged = [s for s in circuit.specs if s.range is not None]
    if not ranged:
        raise InputError(
            f"circuit {circuit.name} states no range for any spec.",
            hint="Give its specs 'range = [low, high]' in circuit.toml.",
        )
    drawn: list[tuple[BenchTask, Witness]] = []
    for level in plan.levels:
        drawing = _Drawing(circuit, simulator, plan, level)
        for index in range(plan.count):
            drawn.append(drawing.draw(index))
            if progress is not None:
                progress(len(drawn))
    return drawn


def check_witnesses(
    tasks: Iterable[BenchTask],
    witnesses: dict[str, Witness],
    load: Callable[[str], Circuit],
    simulator: Simulator,
) -> Iterator[tuple[str, Evaluation | None]]:
    """Simulates every witness again; None where a task has none."""
    for entry in tasks:
        witness = witnesses.get(entry.id)
        if witness is None:
            yield entry.id, None
        else:
            yield entry.id, evaluate(entry.task(load(entry.circuit)), witness.sizing, simulator)


class _Drawing:
    """Draws the tasks of one level of one circuit."""

    def __init__(self, circuit: Circuit, simulator: Simulator, plan: Plan, level: Level) -> None:
        self._circuit, self._simulator, self._plan, self._level = circuit, simulator, plan, level
        name = zlib.crc32(circuit.name.encode())
        self._seeds = np.random.SeedSequence([plan.seed, name, LEVELS.index(level)])
        self._corners = plan.corners or (circuit.conditions.corner,)
        self._space = DesignSpace(circuit)
        self._points = sobol_points(
            self._space.dimension, int(self._seeds.generate_state(1)[0] & 0x7FFFFFFF)
        )
        self._known: list[_Known] = []  # everything measured under the present conditions
        self._next = 0

    def draw(self, index: int) -> tuple[BenchTask, Witness]:
        plan, level = self._plan, self._level
        rng = np.random.default_rng(self._seeds.spawn(1)[0])
        overrides: dict[str, float] = {}
        if plan.vary_conditions:
            overrides = self._draw_conditions(rng)
            self._known, self._next = [], 0
        conditions = replace(self._circuit.conditions, corner=self._corners[0], **overrides)
        for _ in range(20):
            found = (
                self._next_working(conditions)
                if level == "easy"
                else self._optimized(conditions, rng, plan.simulations[level])
            )
            specs = self._specs(found, rng, plan.relax[level])
            if len(specs) >= min(_LEAST_SPECS, len(self._circuit.specs)):
                break
        else:
            raise self._no_luck()
        name = f"{self._circuit.name}-{level}-{plan.seed}-{index:02d}"
        if not score(specs, found.measurements).met:
            raise AssertionError(f"the witness of {name} does not meet it")
        task = BenchTask(name, self._circuit.name, specs, overrides, plan.corners, None, level)
        return task, Witness(name, dict(found.sizing), dict(found.measurements[0].metrics))

    # Sizings

    def _next_working(self, conditions: Conditions) -> _Known:
        """The next working sizing of a space-filling sequence, each handed out once."""
        for _ in range(self._plan.patience):
            while self._next < len(self._known):
                candidate = self._known[self._next]
                self._next += 1
                if self._works(candidate):
                    return candidate
            self._measure(self._space.from_unit(next(self._points)), conditions)
        raise self._no_luck()

    def _optimized(
        self, conditions: Conditions, rng: np.random.Generator, simulations: int
    ) -> _Known:
        """The best sizing for a random trade-off, among all that were ever measured."""
        while sum(self._works(k) for k in self._known) < 3:
            self._next_working(conditions)
        goals = self._trade_off(rng)
        task = Task(replace(self._circuit, objective=None), goals, conditions, self._corners)

        def value(known: _Known) -> float:
            return score(goals, known.measurements).value if self._works(known) else 0.0

        optimizer = make_optimizer("cmaes", task, int(rng.integers(2**31)), simulations)
        for known in sorted(self._known, key=value, reverse=True)[:_TOLD]:
            optimizer.tell(known.sizing, _evaluation(task, known))
        for _ in range(simulations):
            known = self._measure(optimizer.ask(), conditions)
            optimizer.tell(known.sizing, _evaluation(task, known))
        return max(self._known, key=value)

    def _measure(self, sizing: Sizing, conditions: Conditions) -> _Known:
        task = Task(self._circuit, self._circuit.specs, conditions, self._corners)
        known = _Known(sizing, evaluate(task, sizing, self._simulator).measurements)
        self._known.append(known)
        return known

    def _works(self, known: _Known) -> bool:
        easiest = tuple(
            replace(spec, target=_ends(spec)[0]) if spec.range is not None else spec
            for spec in self._circuit.specs
        )
        return score(easiest, known.measurements).met

    # Specs

    def _trade_off(self, rng: np.random.Generator) -> tuple[Spec, ...]:
        """The hard end of every range, weighted at random; a few weights dominate."""
        ranged = [s for s in self._circuit.specs if s.range is not None]
        weights = rng.dirichlet(np.ones(len(ranged))) + 0.02
        return tuple(
            replace(spec, target=_ends(spec)[1], weight=float(weight))
            for spec, weight in zip(ranged, weights, strict=True)
        )

    def _specs(
        self, known: _Known, rng: np.random.Generator, relax: tuple[float, float]
    ) -> tuple[Spec, ...]:
        """A random subset of the circuit's specs, at what the sizing measured, relaxed."""
        usable = [s for s in self._circuit.specs if _worst(s, known.measurements) is not None]
        least = min(_LEAST_SPECS, len(usable))
        count = int(rng.integers(least, len(usable) + 1)) if usable else 0
        chosen = sorted(rng.choice(len(usable), size=count, replace=False)) if count else []
        specs = []
        for position in chosen:
            spec = usable[position]
            value = _worst(spec, known.measurements)
            assert value is not None
            slack = abs(value) * float(rng.uniform(*relax))
            if spec.relation == "==":
                target, tolerance = value, max(spec.tolerance, slack)
            else:
                target = value - slack if spec.relation == ">=" else value + slack
                tolerance = 0.0
            rounded = _round(target, spec.relation)
            specs.append(Spec(spec.metric, spec.relation, rounded, tolerance=tolerance))
        return tuple(specs)

    def _draw_conditions(self, rng: np.random.Generator) -> dict[str, float]:
        """Uniform in the circuit's ranges, a load evenly in its logarithm; two digits each."""
        drawn = {}
        for name, (low, high) in sorted(self._circuit.condition_ranges.items()):
            u = float(rng.random())
            value = (
                low * (high / low) ** u if name == "load" and low > 0 else low + (high - low) * u
            )
            digits = 3 if name == "supply" else 2
            drawn[name] = min(max(float(f"{value:.{digits - 1}e}"), low), high)
        return drawn

    def _no_luck(self) -> InputError:
        return InputError(
            f"no working sizing of {self._circuit.name} among {len(self._known)} that were tried.",
            hint="Widen the ranges of its specs, or narrow the bounds of its parameters.",
        )


def _evaluation(task: Task, known: _Known) -> Evaluation:
    return Evaluation(known.measurements, score(task.specs, known.measurements))


def _ends(spec: Spec) -> tuple[float, float]:
    """(easy end, hard end) of the spec's range."""
    low, high = spec.range or (spec.target, spec.target)
    return (high, low) if spec.relation == "<=" else (low, high)


def _worst(spec: Spec, measurements: Sequence[Measurement]) -> float | None:
    """The metric at the corner where it is worst; None when it is missing anywhere."""
    values = []
    for measurement in measurements:
        value = measurement.metrics.get(spec.metric)
        if measurement.status == "failed" or value is None or not math.isfinite(value):
            return None
        values.append(value)
    return min(values, key=lambda value: signed_margin(spec, value))


def _round(value: float, relation: str) -> float:
    """Three digits, never harder."""
    if value == 0:
        return 0.0
    exact = Decimal(repr(value))
    step = Decimal(1).scaleb(exact.adjusted() - 2)
    return float(exact.quantize(step, rounding=_ROUNDING[relation]))
