"""Drawing tasks that are proven feasible: every spec comes from a sizing that was simulated.

Easy: what a random working sizing measured, relaxed by 10 %. Medium: the best for a random
trade-off of what 250 optimizer simulations of the circuit measured, relaxed by 10 %. Hard: the best
for a trade-off of what 1,000 measured, relaxed by 3 %. A working sizing is one whose metrics are
all there and none worse than the easy end of the range that ``circuit.toml`` states for its spec. A
trade-off is a random weighting of the specs with the hard ends of those ranges as targets; no
sizing reaches all, so the optimizer has to choose. An equality asks for what was measured, within
its own tolerance.

The 1,000 simulations are eight searches of CMA-ES, each towards a trade-off of its own and each
from the best for it of all that the searches before it measured; the first two are the 250. Hard
tasks take these eight trade-offs first; medium tasks take others, that no search was made for. A
sizing near the witness of an earlier task of the level is left to that one.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

import numpy as np

from acs_assistant.bench.taskfile import LEVELS, BenchTask, Level, Witness
from acs_assistant.domain import (
    CORNERS,
    Circuit,
    Conditions,
    Evaluation,
    Measurement,
    Metric,
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
from acs_assistant.sim.measures import MEASURES
from acs_assistant.sim.port import SimulationRequest, Simulator

_ROUNDING = {">=": ROUND_FLOOR, "<=": ROUND_CEILING, "==": ROUND_HALF_EVEN}
_OPTIMIZER = "cmaes"
_TOLD = 200  # sizings known already that a new optimizer run starts from
_LEAST_WORKING = 3  # random working sizings that an optimizer run starts from
_LEAST_SPECS = 4
_SEARCH = 125  # simulations towards one trade-off
_APART = 0.2  # of a parameter's range, in one of them at least: witnesses of a level differ by that


RELAX: Mapping[Level, float] = {"easy": 0.10, "medium": 0.10, "hard": 0.03}
"""What a witness is better by than its specs, as a fraction of each metric."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How tasks of one circuit are drawn.

    Attributes:
        count: Tasks per level.
        seed: Another seed, other tasks; a level's tasks do not depend on the other levels.
        vary_conditions: Draw supply, temperature and load from the circuit's ranges.
        simulations: Of the optimizer, for all tasks of a level together. Where conditions vary
            nothing can be shared, and each task gets one search.
        patience: Random sizings tried for one working sizing before giving up.
    """

    count: int = 25
    levels: tuple[Level, ...] = LEVELS
    seed: int = 0
    vary_conditions: bool = False
    simulations: Mapping[Level, int] = field(default_factory=lambda: {"medium": 250, "hard": 1000})
    patience: int = 4000


@dataclass(frozen=True, slots=True)
class _Known:
    """A sizing and what it measured."""

    sizing: Sizing
    measurement: Measurement

    @property
    def measurements(self) -> tuple[Measurement]:
        return (self.measurement,)


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
        for pair in _Drawing(circuit, simulator, plan, level).draw():
            drawn.append(pair)
            if progress is not None:
                progress(len(drawn))
    return drawn


def corner_variant(
    entry: BenchTask, witness: Witness, circuit: Circuit, simulator: Simulator
) -> tuple[BenchTask, Witness] | None:
    """The same task at all five corners: the witness's worst corner, relaxed as the level says.

    Metrics that the witness loses at a corner, or that are there worse than the easy end of their
    range, are asked for only when fewer than four others are left.

    Returns:
        The task and its witness; None when the witness does not simulate at some corner.
    """
    task = replace(entry.task(circuit), corners=CORNERS)
    measurements = evaluate(task, witness.sizing, simulator).measurements
    if any(m.status == "failed" for m in measurements):
        return None
    asked = [spec.metric for spec in entry.specs]
    measured = [s for s in circuit.specs if _worst(s, measurements) is not None]
    order = sorted(
        measured,
        key=lambda s: (s.metric not in asked, not score((_easiest(s),), measurements).met),
    )
    good = [s for s in order if s.metric in asked and score((_easiest(s),), measurements).met]
    least = min(_LEAST_SPECS, len(circuit.specs))
    if len(order) < least:
        return None
    chosen = good if len(good) >= least else order[:least]
    relax = RELAX.get(entry.level, 0.10)
    specs = tuple(_spec(s, measurements, relax) for s in circuit.specs if s in chosen)
    variant = replace(entry, id=f"{entry.id}-corners", specs=specs, corners=CORNERS)
    if not score(specs, measurements).met:
        raise AssertionError(f"the witness of {variant.id} does not meet it")
    return variant, Witness(variant.id, dict(witness.sizing), dict(measurements[0].metrics))


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
        self._seeds = _seeds(plan, circuit, LEVELS.index(level))
        self._space = DesignSpace(circuit)
        self._points = _points(self._space, self._seeds)
        self._easiest = tuple(_easiest(spec) for spec in circuit.specs)
        self._screens = tuple(_screens(circuit, self._easiest))
        self._known: list[_Known] = []  # what was measured under the present conditions
        self._next = 0
        self._tried = 0

    def draw(self) -> Iterator[tuple[BenchTask, Witness]]:
        """The level's tasks, in order."""
        plan, circuit = self._plan, self._circuit
        generators = [np.random.default_rng(seed) for seed in self._seeds.spawn(plan.count)]
        searched: list[tuple[Spec, ...]] = []
        taken: list[_Known] = []
        if self._level != "easy" and not plan.vary_conditions:
            searched = self._search_all(plan.simulations[self._level])
        for index, rng in enumerate(generators):
            overrides: dict[str, float] = {}
            if plan.vary_conditions:
                overrides = self._draw_conditions(rng)
                self._known, self._next, self._tried = [], 0, 0
            here = circuit.conditions
            conditions = replace(here, corner=here.corner, **overrides)
            if self._level == "easy":
                found = self._next_working(conditions)
            elif plan.vary_conditions:
                goals = self._trade_off(rng)
                self._search(goals, conditions, rng, _SEARCH)
                found = self._best(goals, ())
            else:
                known = self._level == "hard" and index < len(searched)
                found = self._best(searched[index] if known else self._trade_off(rng), taken)
                taken.append(found)
            yield self._task(index, found, overrides, rng)

    def _search_all(self, simulations: int) -> list[tuple[Spec, ...]]:
        """Searches that a level's tasks share; their trade-offs. A level's first are another's."""
        seeds = _seeds(self._plan, self._circuit, len(LEVELS))
        self._points = _points(self._space, seeds)
        searched = []
        for seed in seeds.spawn(math.ceil(simulations / _SEARCH)):
            rng = np.random.default_rng(seed)
            goals = self._trade_off(rng)
            self._search(goals, self._circuit.conditions, rng, _SEARCH)
            searched.append(goals)
        return searched

    def _task(
        self, index: int, found: _Known, overrides: dict[str, float], rng: np.random.Generator
    ) -> tuple[BenchTask, Witness]:
        name = f"{self._circuit.name}-{self._level}-{self._plan.seed}-{index:02d}"
        specs = self._specs(found, rng)
        if not score(specs, found.measurements).met:
            raise AssertionError(f"the witness of {name} does not meet it")
        task = BenchTask(name, self._circuit.name, specs, overrides, level=self._level)
        return task, Witness(name, dict(found.sizing), dict(found.measurement.metrics))

    # Sizings

    def _next_working(self, conditions: Conditions) -> _Known:
        """The next working sizing of a space-filling sequence, each handed out once."""
        for _ in range(self._plan.patience):
            while self._next < len(self._known):
                candidate = self._known[self._next]
                self._next += 1
                if self._works(candidate):
                    return candidate
            sizing = self._space.from_unit(next(self._points))
            self._tried += 1
            if self._promising(sizing, conditions):
                self._measure(sizing, conditions)
        raise InputError(
            f"no working sizing of {self._circuit.name} among {self._tried} that were tried.",
            hint="Widen the ranges of its specs, or narrow the bounds of its parameters.",
        )

    def _promising(self, sizing: Sizing, conditions: Conditions) -> bool:
        """What the testbenches before the last one say; most random sizings fail the first."""
        return all(
            score(
                specs, [self._simulator.simulate(SimulationRequest(part, sizing, conditions))]
            ).met
            for part, specs in self._screens
        )

    def _search(
        self,
        goals: tuple[Spec, ...],
        conditions: Conditions,
        rng: np.random.Generator,
        simulations: int,
    ) -> None:
        """An optimizer run towards a trade-off, from the best of what is known already."""
        while sum(self._works(known) for known in self._known) < _LEAST_WORKING:
            self._next_working(conditions)
        task = Task(replace(self._circuit, objective=None), goals, conditions)
        optimizer = make_optimizer(_OPTIMIZER, task, int(rng.integers(2**31)), simulations)
        for known in sorted(self._known, key=lambda k: self._value(goals, k), reverse=True)[:_TOLD]:
            optimizer.tell(known.sizing, _evaluation(task, known))
        for _ in range(simulations):
            known = self._measure(optimizer.ask(), conditions)
            optimizer.tell(known.sizing, _evaluation(task, known))

    def _best(self, goals: tuple[Spec, ...], taken: Sequence[_Known]) -> _Known:
        """The best for a trade-off of what is not near one that is taken; of all when all are."""
        apart = [k for k in self._known if all(self._distance(k, t) > _APART for t in taken)]
        values = [(self._value(goals, known), known) for known in apart]
        value, best = max(values, key=lambda pair: pair[0], default=(0.0, None))
        if best is None or value <= 0.0:
            return max(self._known, key=lambda known: self._value(goals, known))
        return best

    def _distance(self, one: _Known, other: _Known) -> float:
        """Largest difference between two sizings, as a fraction of a parameter's range."""
        pairs = zip(self._space.to_unit(one.sizing), self._space.to_unit(other.sizing), strict=True)
        return max(abs(a - b) for a, b in pairs)

    def _value(self, goals: tuple[Spec, ...], known: _Known) -> float:
        return score(goals, known.measurements).value if self._works(known) else 0.0

    def _measure(self, sizing: Sizing, conditions: Conditions) -> _Known:
        request = SimulationRequest(self._circuit, self._circuit.snap(sizing), conditions)
        known = _Known(sizing, self._simulator.simulate(request))
        self._known.append(known)
        return known

    def _works(self, known: _Known) -> bool:
        return score(self._easiest, known.measurements).met

    # Specs

    def _trade_off(self, rng: np.random.Generator) -> tuple[Spec, ...]:
        """The hard end of every range, weighted at random; a few weights dominate.

        An equality has no hard end: it asks for a value drawn from its range.
        """
        ranged = [s for s in self._circuit.specs if s.range is not None]
        weights = rng.dirichlet(np.ones(len(ranged))) + 0.02
        goals = []
        for spec, weight in zip(ranged, weights, strict=True):
            low, high = spec.range or (spec.target, spec.target)
            drawn = low + (high - low) * float(rng.random()) if spec.relation == "==" else None
            target = _ends(spec)[1] if drawn is None else drawn
            goals.append(replace(spec, target=target, weight=float(weight)))
        return tuple(goals)

    def _specs(self, known: _Known, rng: np.random.Generator) -> tuple[Spec, ...]:
        """A random subset of the circuit's specs, at what the sizing measured, relaxed."""
        specs = self._circuit.specs
        count = int(rng.integers(min(_LEAST_SPECS, len(specs)), len(specs) + 1))
        chosen = sorted(rng.choice(len(specs), size=count, replace=False))
        relax = RELAX[self._level]
        return tuple(_spec(specs[index], known.measurements, relax) for index in chosen)

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


def _seeds(plan: Plan, circuit: Circuit, part: int) -> np.random.SeedSequence:
    return np.random.SeedSequence([plan.seed, zlib.crc32(circuit.name.encode()), part])


def _points(space: DesignSpace, seeds: np.random.SeedSequence) -> Iterator[tuple[float, ...]]:
    return sobol_points(space.dimension, int(seeds.generate_state(1)[0] & 0x7FFFFFFF))


def _screens(
    circuit: Circuit, easiest: Sequence[Spec]
) -> Iterator[tuple[Circuit, tuple[Spec, ...]]]:
    """What a random sizing has to pass in turn, cheapest first, before it is simulated as a whole.

    First the operating points of each testbench, then every testbench but the last: the circuit
    with these metrics alone, and their easiest specs.
    """
    stages = [
        tuple(
            m for m in circuit.metrics if m.testbench == bench.name and _analysis(m) in ("op", "")
        )
        for bench in circuit.testbenches
    ]
    # A testbench without an operating point has nothing to run for a metric such as the area.
    stages = [metrics for metrics in stages if any(_analysis(m) == "op" for m in metrics)]
    stages += [
        tuple(m for m in circuit.metrics if m.testbench == bench.name)
        for bench in circuit.testbenches[:-1]
    ]
    for metrics in stages:
        names = {metric.name for metric in metrics}
        specs = tuple(spec for spec in easiest if spec.metric in names)
        if specs:
            yield replace(circuit, metrics=metrics), specs


def _analysis(metric: Metric) -> str | None:
    """What a metric's measure needs; None when that is not known, "" for nothing."""
    found = MEASURES.get(metric.measure)
    return None if found is None else found.analysis


def _spec(spec: Spec, measurements: Sequence[Measurement], relax: float) -> Spec:
    """The spec at what was measured in its worst corner, relaxed by a fraction of that.

    An equality moves to the middle of the corners and allows for how far they lie apart.
    """
    if spec.relation == "==":
        values = [m.metrics[spec.metric] for m in measurements]
        low, high = min(values), max(values)
        tolerance = float(f"{spec.tolerance + (high - low) / 2:.3g}")
        return Spec(spec.metric, "==", _round((low + high) / 2, "=="), tolerance=tolerance)
    value = _worst(spec, measurements)
    assert value is not None
    slack = abs(value) * relax
    target = value - slack if spec.relation == ">=" else value + slack
    return Spec(spec.metric, spec.relation, _round(target, spec.relation))


def _easiest(spec: Spec) -> Spec:
    """At the easy end of its range, an equality anywhere in it; as it is without one."""
    if spec.range is None:
        return spec
    if spec.relation == "==":
        low, high = spec.range
        return replace(spec, target=(low + high) / 2, tolerance=(high - low) / 2)
    return replace(spec, target=_ends(spec)[0])


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
