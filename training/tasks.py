"""Spec sets for training, drawn from what simulated sizings reached; benchmark sets never are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from acs_assistant.domain import Circuit, Spec, Task
from acs_assistant.errors import InputError
from acs_assistant.prompting.numbers import Rounding, format_value
from acs_assistant.scoring import shortfall
from acs_assistant.training.archive import Archive
from acs_assistant.units import parse_quantity

_EASIER: dict[str, Rounding] = {">=": "down", "<=": "up", "==": "nearest"}


def default_scores(archive: Archive) -> NDArray[np.float64]:
    """(N,) unweighted score against the circuit's default specs; 0 where anything is missing."""
    circuit = archive.circuit
    columns = {m.name: j for j, m in enumerate(circuit.metrics)}
    scores = np.zeros(len(archive))
    for row in np.flatnonzero(archive.ok):
        lost = [shortfall(s, archive.metrics[row, columns[s.metric]]) for s in circuit.specs]
        scores[row] = 1.0 - float(np.mean(lost))
    return scores


def good_rows(archive: Archive, part: int) -> NDArray[np.int64]:
    """Working sizings, the best first: one in ``part`` of them, 200 where there are as many.

    A sizing works when it was simulated and comes at least half way to the default specs.
    """
    scores = default_scores(archive)
    working = np.flatnonzero(archive.ok & (scores > 0.5))
    return working[np.argsort(-scores[working])[: max(200, len(working) // part)]]


class RowTasks:
    """Tasks from archives: the specs that a good sizing meets, relaxed a little.

    Raises:
        InputError: An archive has no sizing that comes near its circuit's specs.
    """

    def __init__(self, archives: Sequence[Archive], relax: float) -> None:
        self._archives = list(archives)
        self._relax = relax
        self._pools = [good_rows(archive, 2) for archive in archives]
        for archive, pool in zip(archives, self._pools, strict=True):
            if not len(pool):
                raise InputError(
                    f"no simulated sizing of circuit {archive.circuit.name} comes near its specs.",
                    hint="Simulate more, or check the circuit: acs-assistant circuits check PATH",
                )

    @property
    def circuits(self) -> Sequence[Circuit]:
        return [archive.circuit for archive in self._archives]

    def draw(self, rng: np.random.Generator) -> Task:
        while True:
            which = int(rng.integers(len(self._archives)))
            archive, pool = self._archives[which], self._pools[which]
            row = int(pool[rng.integers(len(pool))])
            specs = draw_specs(archive.circuit, archive.metrics[row], rng, self._relax)
            if specs is not None:
                return Task(archive.circuit, specs, archive.circuit.conditions)


def draw_specs(
    circuit: Circuit, metrics: Sequence[float], rng: np.random.Generator, relax: float
) -> tuple[Spec, ...] | None:
    """Specs that these metrics meet: a random subset, each relaxed by 0 to ``relax``.

    One with "==" asks for the metric itself, within the circuit's tolerance.

    Returns None when fewer than three of the metrics that the circuit has specs for are there
    (or not all, where it has fewer specs).
    """
    columns = {m.name: j for j, m in enumerate(circuit.metrics)}
    usable = [s for s in circuit.specs if np.isfinite(metrics[columns[s.metric]])]
    least = min(3, len(circuit.specs))
    if len(usable) < least:
        return None
    every = rng.random() < 0.3
    count = len(usable) if every else int(rng.integers(least, len(usable) + 1))
    chosen = sorted(rng.choice(len(usable), size=count, replace=False))
    specs = []
    for index in chosen:
        spec = usable[index]
        value = float(metrics[columns[spec.metric]])
        slack = abs(value) * rng.uniform(0.0, relax)
        target = {">=": value - slack, "<=": value + slack, "==": value}[spec.relation]
        specs.append(_asked(spec, target))
    return tuple(specs)


def draw_from_ranges(circuit: Circuit, rng: np.random.Generator) -> tuple[Spec, ...]:
    """Specs whose targets lie anywhere in the circuit's stated ranges; perhaps infeasible.

    A circuit that states none gives its own specs.
    """
    ranged = [s for s in circuit.specs if s.range is not None]
    if not ranged:
        return circuit.specs
    count = int(rng.integers(3, len(ranged) + 1)) if len(ranged) > 3 else len(ranged)
    specs = []
    for index in sorted(rng.choice(len(ranged), size=count, replace=False)):
        spec = ranged[index]
        assert spec.range is not None
        low, high = spec.range
        u = rng.random()
        target = low * (high / low) ** u if 0 < 4 * low < high else low + (high - low) * u
        specs.append(_asked(spec, target))
    return tuple(specs)


def _asked(spec: Spec, target: float) -> Spec:
    tolerance = spec.tolerance if spec.relation == "==" else 0.0
    rounded = on_grid(target, spec.relation)
    return Spec(spec.metric, spec.relation, rounded, tolerance=tolerance)


def on_grid(target: float, relation: str) -> float:
    """The nearest target on the conversation's grid that is not harder."""
    text = format_value(target, _EASIER[relation])
    return parse_quantity(text)
