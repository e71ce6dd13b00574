"""Corners, supply and temperature together, and Monte-Carlo runs with their yield."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from acs_assistant.cancel import CancelToken
from acs_assistant.domain import CORNERS, Circuit, Conditions, Corner, Measurement, Sizing, Spec
from acs_assistant.scoring import judge
from acs_assistant.sim.port import SimulationRequest, Simulator

Progress = Callable[[int, int], None]


def pvt_conditions(
    nominal: Conditions,
    *,
    corners: Sequence[Corner] = CORNERS,
    supply_spread: float = 0.1,
    temperatures: Sequence[float] = (-40.0, 27.0, 125.0),
) -> list[Conditions]:
    """Every corner at every supply and temperature, the nominal conditions first.

    Args:
        supply_spread: Relative; 0.1 gives the supply at 90, 100 and 110 %. 0 keeps it.
    """
    factors = (1.0, 1.0 - supply_spread, 1.0 + supply_spread) if supply_spread else (1.0,)
    points = [nominal]
    for corner in corners:
        for factor in factors:
            for temperature in temperatures:
                point = replace(
                    nominal,
                    corner=corner,
                    supply=float(f"{nominal.supply * factor:.9g}"),
                    temperature=temperature,
                )
                if point != nominal:
                    points.append(point)
    return points


def sweep_conditions(
    simulator: Simulator,
    circuit: Circuit,
    sizing: Sizing,
    points: Sequence[Conditions],
    cancel: CancelToken | None = None,
    progress: Progress = lambda done, total: None,
) -> list[Measurement]:
    """One sizing under many conditions, in parallel; the results in the order of ``points``."""
    requests = [SimulationRequest(circuit, sizing, point) for point in points]
    return _in_order(simulator, requests, cancel, progress)


@dataclass(frozen=True, slots=True)
class WorstCase:
    """The worst value of one metric, and where it was measured. ``value`` None: it is missing."""

    metric: str
    value: float | None
    conditions: Conditions
    met: bool


def worst_cases(specs: Sequence[Spec], measurements: Sequence[Measurement]) -> list[WorstCase]:
    """For each spec the conditions at which it is farthest from being met."""
    found = []
    for spec in specs:
        results = [(judge(spec, [measurement]), measurement) for measurement in measurements]
        if not results:
            continue
        worst, at = max(
            results,
            key=lambda pair: (
                pair[0].shortfall,
                math.inf if pair[0].margin is None else -pair[0].margin,
            ),
        )
        found.append(WorstCase(spec.metric, worst.value, at.conditions, worst.met))
    return found


def monte_carlo(
    simulator: Simulator,
    circuit: Circuit,
    sizing: Sizing,
    conditions: Conditions,
    count: int,
    seed: int,
    cancel: CancelToken | None = None,
    progress: Progress = lambda done, total: None,
) -> list[Measurement]:
    """Draws process and mismatch ``count`` times; the same seed gives the same bits.

    The process is drawn once for all devices of a sample. Every device draws its mismatch from the
    seed and its own name, so all copies of the circuit in a testbench are mismatched alike, and a
    sample is the same whichever worker makes it.
    """
    requests = [
        SimulationRequest(circuit, sizing, conditions, mismatch_seed=sample_seed(seed, index))
        for index in range(count)
    ]
    return _in_order(simulator, requests, cancel, progress)


def sample_seed(seed: int, index: int) -> int:
    """The seed of one sample; samples of a shorter run are the first of a longer one."""
    return (seed * 1_000_003 + index) & 0x7FFF_FFFF


def _in_order(
    simulator: Simulator,
    requests: Sequence[SimulationRequest],
    cancel: CancelToken | None,
    progress: Progress,
) -> list[Measurement]:
    found: dict[int, Measurement] = {}
    for index, measurement in simulator.map(requests, cancel):
        found[index] = measurement
        progress(len(found), len(requests))
    return [found[index] for index in range(len(requests))]


@dataclass(frozen=True, slots=True)
class Yield:
    """Samples that meet every spec, with the Wilson interval at 95 %."""

    passed: int
    total: int
    value: float
    low: float
    high: float


def yield_of(specs: Sequence[Spec], samples: Sequence[Measurement]) -> Yield:
    """The share of samples that meet every spec; a failed simulation does not pass."""
    passed = sum(
        sample.status == "ok" and all(judge(spec, [sample]).met for spec in specs)
        for sample in samples
    )
    low, high = wilson(passed, len(samples))
    return Yield(passed, len(samples), passed / len(samples) if samples else 0.0, low, high)


def wilson(passed: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Score interval of a share (Wilson, J. Am. Stat. Assoc. 22, 1927, 209): right near 0 and 1."""
    if not total:
        return 0.0, 1.0
    share = passed / total
    scale = 1 + z * z / total
    middle = (share + z * z / (2 * total)) / scale
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total**2)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class Spread:
    """How one metric varies over samples.

    Attributes:
        edges: Borders of the histogram's bins, one more than ``counts``.
    """

    metric: str
    mean: float
    deviation: float
    low: float
    high: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]


def spreads(samples: Sequence[Measurement], bins: int = 20) -> dict[str, Spread]:
    """Mean, deviation and histogram of every metric that was measured."""
    values: dict[str, list[float]] = {}
    for sample in samples:
        for name, value in sample.metrics.items():
            if math.isfinite(value):
                values.setdefault(name, []).append(value)
    return {name: _spread(name, found, bins) for name, found in values.items()}


def _spread(name: str, found: Sequence[float], bins: int) -> Spread:
    array = np.asarray(found)
    deviation = float(array.std(ddof=1)) if len(array) > 1 else 0.0
    counts, edges = np.histogram(array, bins=bins)
    return Spread(
        name,
        float(array.mean()),
        deviation,
        float(array.min()),
        float(array.max()),
        tuple(float(edge) for edge in edges),
        tuple(int(count) for count in counts),
    )
