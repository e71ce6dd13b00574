"""More simulations where specs are hard: near the best trade-offs that a circuit can reach.

A critic decides between sizings that just meet and that just miss, so it has to know best what lies
there. The network fitted so far says where that is, ngspice says what is there, and the network is
fitted again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from acs_assistant.domain import Circuit, Spec
from acs_assistant.training.archive import Archive
from acs_assistant.training.surrogate import Surrogate, fit_surrogate
from acs_assistant.training.targets import solve, spec_arrays
from acs_assistant.training.tasks import default_scores, good_rows

FloatArray = NDArray[np.float64]

_STEPS = 2000  # of the fit before each round
_UNLIKELY = 2.0  # spreads between what was measured and what the network expects
_AMONG = 6  # best rows for a trade-off
_SOLVED = 0.5  # share of the sizings that the network finds; the others are moved at random
_HARDER = (-0.02, 0.05)  # relative


def explore_edge(
    archive: Archive,
    count: int,
    simulate: Callable[[FloatArray], Archive],
    rng: np.random.Generator,
) -> Archive:
    """``archive`` and ``count`` sizings near its best trade-offs. Two rounds find more than one."""
    surrogate, _ = fit_surrogate(archive, focus(archive), seed=len(archive), steps=_STEPS)
    known = believed(archive, surrogate)
    return archive.extended(simulate(edge_positions(known, surrogate, count, rng)))


def working(archive: Archive) -> NDArray[np.bool_]:
    """(N,) whether every metric is there and none is worse than the easy end of its spec's range.

    An equality may be anywhere in it.
    """
    columns = {metric.name: j for j, metric in enumerate(archive.circuit.metrics)}
    works = archive.ok.copy()
    for spec in archive.circuit.specs:
        values = archive.metrics[:, columns[spec.metric]]
        low, high = spec.range or (spec.target - spec.tolerance, spec.target + spec.tolerance)
        with np.errstate(invalid="ignore"):
            works &= (values >= low) | (spec.relation == "<=")
            works &= (values <= high) | (spec.relation == ">=")
    return works & np.isfinite(archive.metrics).all(axis=1)


def focus(archive: Archive) -> FloatArray:
    """(N,) how much each row counts in a fit: most where it works and serves the specs."""
    scores = default_scores(archive)
    return np.asarray(0.01 + 0.3 * scores**8 + 0.7 * working(archive) * scores**2)


def believed(archive: Archive, surrogate: Surrogate) -> Archive:
    """The archive without single values that lie far from all that is known around them.

    A simulator may end in another state than the circuit would (a reference that is stuck at its
    supply does not follow the temperature at all).
    """
    measured = surrogate.scale.forward(archive.metrics)
    strange = np.abs(surrogate.predict(archive.positions) - measured) > _UNLIKELY
    return replace(archive, metrics=np.where(strange, np.nan, archive.metrics))


def edge_positions(
    archive: Archive, surrogate: Surrogate, count: int, rng: np.random.Generator
) -> FloatArray:
    """(count, parameters) sizings that should reach, or nearly, the best for random trade-offs."""
    first, second = _parents(archive, count, rng)
    solved = int(count * _SOLVED)
    tasks = [_asked(archive.circuit, archive.metrics[row], rng) for row in first[:solved]]
    start = archive.positions[first]
    arrays = spec_arrays(archive.circuit, tasks, surrogate.scale)
    found = solve(surrogate, arrays, start[:solved], start[:solved], cushion=0.02)
    mixed = start[solved:]
    taken = rng.random(mixed.shape) < 0.5 * rng.random((len(mixed), 1))
    mixed = np.where(taken, archive.positions[second[solved:]], mixed)
    both = np.concatenate([found, mixed])
    moved = rng.random(both.shape) < rng.choice([0.2, 1.0], (count, 1))
    reach = rng.choice([0.0, 0.01, 0.02, 0.04], (count, 1))
    return np.clip(both + reach * moved * rng.normal(size=both.shape), 0.0, 1.0)


def _parents(
    archive: Archive, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per trade-off two of the best rows for it."""
    circuit = archive.circuit
    columns = {metric.name: j for j, metric in enumerate(circuit.metrics)}
    rows = np.flatnonzero(working(archive))
    if len(rows) <= _AMONG:
        rows = good_rows(archive, 3)
    among = min(_AMONG, len(rows) - 1)
    pairs = np.empty((count, 2), dtype=np.int64)
    for number in range(count):
        weights = rng.dirichlet(np.ones(len(circuit.specs))) + 0.02
        lost = np.zeros(len(rows))
        for spec, weight in zip(circuit.specs, weights, strict=True):
            lost += weight * _shortfalls(spec, archive.metrics[rows, columns[spec.metric]], rng)
        pairs[number] = rng.choice(rows[np.argpartition(lost, among)[:among]], 2, replace=False)
    return pairs[:, 0], pairs[:, 1]


def _shortfalls(spec: Spec, values: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(rows,) short of the hard end of the spec's range, as the score counts it."""
    low, high = spec.range or (spec.target, spec.target)
    target = {">=": high, "<=": low, "==": low + (high - low) * float(rng.random())}[spec.relation]
    beyond = {
        ">=": target - values,
        "<=": values - target,
        "==": np.abs(values - target) - spec.tolerance,
    }[spec.relation]
    short = np.maximum(beyond, 0.0) / (abs(target) + np.abs(values))
    return np.where(np.isfinite(values), short, 1.0)


def _asked(circuit: Circuit, metrics: FloatArray, rng: np.random.Generator) -> tuple[Spec, ...]:
    """Most of the specs, at what was measured or a little beyond."""
    columns = {metric.name: j for j, metric in enumerate(circuit.metrics)}
    specs = []
    for spec in circuit.specs:
        value = float(metrics[columns[spec.metric]])
        if not np.isfinite(value) or rng.random() < 0.25:
            continue
        step = abs(value) * rng.uniform(*_HARDER)
        target = {">=": value + step, "<=": value - step, "==": value}[spec.relation]
        specs.append(replace(spec, target=target))
    return tuple(specs)
