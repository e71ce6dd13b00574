"""How much each metric moves with each parameter: what to look at before turning a knob."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from acs_assistant.cancel import CancelToken
from acs_assistant.domain import Circuit, Conditions, Measurement, Parameter, Sizing
from acs_assistant.sim.port import SimulationRequest, Simulator


@dataclass(frozen=True, slots=True)
class Sensitivities:
    """Central differences around one sizing.

    Attributes:
        nominal: The metrics at the sizing itself.
        slopes: metric -> parameter -> d metric / d ln parameter, in the metric's unit: a parameter
            that grows by 1 % moves the metric by 0.01 of it. Missing where a simulation failed.
        relative: metric -> parameter -> d ln metric / d ln parameter, no unit; only for metrics
            that are not in decibels or degrees and not zero.
    """

    nominal: Measurement
    slopes: Mapping[str, Mapping[str, float]]
    relative: Mapping[str, Mapping[str, float]]

    def ranked(self, metric: str) -> list[tuple[str, float]]:
        """Parameters of one metric, the strongest first."""
        return sorted(self.slopes[metric].items(), key=lambda item: -abs(item[1]))


def sensitivities(
    simulator: Simulator,
    circuit: Circuit,
    sizing: Sizing,
    conditions: Conditions,
    *,
    step: float = 0.02,
    cancel: CancelToken | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Sensitivities:
    """Simulates each parameter a step up and a step down, all in parallel.

    Args:
        step: Relative; rounded to the parameter's grid, at least one grid step. At a bound the
            difference is one-sided.
    """
    requests = [SimulationRequest(circuit, sizing, conditions)]
    places: list[tuple[Parameter, float, float]] = []
    for parameter in circuit.parameters:
        low, high = _neighbours(parameter, sizing[parameter.name], step)
        places.append((parameter, low, high))
        for value in (low, high):
            changed = {**sizing, parameter.name: value}
            requests.append(SimulationRequest(circuit, changed, conditions))
    found: dict[int, Measurement] = {}
    for index, measurement in simulator.map(requests, cancel):
        found[index] = measurement
        progress(len(found), len(requests))
    nominal = found[0]
    slopes: dict[str, dict[str, float]] = {metric.name: {} for metric in circuit.metrics}
    relative: dict[str, dict[str, float]] = {}
    units = {metric.name: metric.unit for metric in circuit.metrics}
    for place, (parameter, low, high) in enumerate(places):
        if low == high:
            continue
        down, up = found[2 * place + 1].metrics, found[2 * place + 2].metrics
        width = math.log(high / low) if low > 0 else (high - low) / abs(high)
        for name, unit in units.items():
            if name not in down or name not in up:
                continue
            slope = (up[name] - down[name]) / width
            slopes[name][parameter.name] = slope
            middle = nominal.metrics.get(name, 0.0)
            if unit not in ("dB", "deg") and middle:
                relative.setdefault(name, {})[parameter.name] = slope / middle
    return Sensitivities(nominal, slopes, relative)


def _neighbours(parameter: Parameter, value: float, step: float) -> tuple[float, float]:
    width = max(abs(value) * step, parameter.grid)
    return parameter.snap(value - width), parameter.snap(value + width)
