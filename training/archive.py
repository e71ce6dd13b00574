"""Simulated sizings of one circuit: what every later step of training draws on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acs_assistant.domain import (
    Circuit,
    Conditions,
    Evaluation,
    Measurement,
    OperatingPoint,
    Sizing,
    Spec,
)
from acs_assistant.errors import ConfigError
from acs_assistant.prompting.render import size_text
from acs_assistant.scoring import score
from acs_assistant.sim.port import SimulationRequest, Simulator
from acs_assistant.units import parse_quantity

REGIONS = ("saturation", "linear", "subthreshold", "off")

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Archive:
    """N sizings of one circuit under its default conditions, with what they measured.

    Attributes:
        positions: (N, parameters) positions between the bounds, in [0, 1] (``Parameter.to_unit``).
        metrics: (N, metrics) SI values; NaN where a metric is missing or the simulation failed.
        regions: (N, devices) index into ``REGIONS``; −1 where the simulation failed.
        ok: (N,) whether the simulation succeeded.
        devices: Names behind the columns of ``regions``.
    """

    circuit: Circuit
    positions: FloatArray
    metrics: FloatArray
    regions: NDArray[np.int8]
    ok: NDArray[np.bool_]
    devices: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.positions)

    def sizing(self, index: int) -> dict[str, float]:
        return sizing_at(self.circuit, self.positions[index])

    def measured(self, index: int) -> dict[str, float]:
        """The metrics that row ``index`` has."""
        row = self.metrics[index]
        return {m.name: float(v) for m, v in zip(self.circuit.metrics, row, strict=True) if v == v}

    def evaluation(self, index: int, specs: Sequence[Spec]) -> Evaluation:
        """The row as the engine would have scored it; of a device only its region is kept."""
        conditions = self.circuit.conditions
        if not self.ok[index]:
            measurement = Measurement("failed", {}, conditions=conditions, error="no solution.")
        else:
            placed = tuple(
                OperatingPoint(name, "nmos", REGIONS[code], *(0.0,) * 7)
                for name, code in zip(self.devices, self.regions[index], strict=True)
            )
            measurement = Measurement("ok", self.measured(index), placed, conditions)
        return Evaluation((measurement,), score(specs, [measurement]))

    def extended(self, other: Archive) -> Archive:
        if not len(self):
            return other
        return replace(
            self,
            positions=np.concatenate([self.positions, other.positions]),
            metrics=np.concatenate([self.metrics, other.metrics]),
            regions=np.concatenate([self.regions, other.regions]),
            ok=np.concatenate([self.ok, other.ok]),
        )

    def save(self, path: Path) -> None:
        """Writes beside and renames, so a killed run leaves the old file whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part.npz")
        np.savez_compressed(
            beside,
            positions=self.positions,
            metrics=self.metrics,
            regions=self.regions,
            ok=self.ok,
            devices=np.array(self.devices),
            parameter_names=np.array([p.name for p in self.circuit.parameters]),
            metric_names=np.array([m.name for m in self.circuit.metrics]),
        )
        beside.replace(path)


def load_archive(path: Path, circuit: Circuit) -> Archive:
    """Reads an archive back.

    Raises:
        ConfigError: It was made from another version of the circuit.
    """
    with np.load(path) as stored:
        parameters, metrics = list(stored["parameter_names"]), list(stored["metric_names"])
        if parameters != [p.name for p in circuit.parameters] or metrics != [
            m.name for m in circuit.metrics
        ]:
            raise ConfigError(
                f"was simulated from another version of circuit {circuit.name}.",
                hint="Delete it and simulate again.",
                file=path,
            )
        return Archive(
            circuit,
            stored["positions"],
            stored["metrics"],
            stored["regions"],
            stored["ok"],
            tuple(str(name) for name in stored["devices"]),
        )


def sizing_at(circuit: Circuit, position: FloatArray) -> dict[str, float]:
    """The sizing at a position, on the parameter's grid and on the conversation's."""
    sizing = {}
    for parameter, u in zip(circuit.parameters, position, strict=True):
        value = parameter.from_unit(float(u))
        sizing[parameter.name] = parameter.snap(parse_quantity(size_text(parameter, value)))
    return sizing


def position_of(circuit: Circuit, sizing: Sizing) -> FloatArray:
    return np.array([p.to_unit(sizing[p.name]) for p in circuit.parameters])


def simulate_positions(
    circuit: Circuit,
    positions: FloatArray,
    simulator: Simulator,
    progress: Callable[[int], None] | None = None,
    conditions: Conditions | None = None,
) -> Archive:
    """Simulates every position, in parallel, in the order given."""
    conditions = conditions or circuit.conditions
    sizings = [sizing_at(circuit, row) for row in positions]
    results: dict[int, Measurement] = {}
    requests = (SimulationRequest(circuit, sizing, conditions) for sizing in sizings)
    for index, measurement in simulator.map(requests):
        results[index] = measurement
        if progress is not None:
            progress(len(results))
    names = tuple(sorted({d.name for m in results.values() for d in m.devices}))
    metrics = np.full((len(sizings), len(circuit.metrics)), np.nan)
    regions = np.full((len(sizings), len(names)), -1, dtype=np.int8)
    ok = np.zeros(len(sizings), dtype=bool)
    for index, measurement in results.items():
        ok[index] = measurement.status == "ok"
        for column, metric in enumerate(circuit.metrics):
            metrics[index, column] = measurement.metrics.get(metric.name, np.nan)
        placed = {d.name: d.region for d in measurement.devices}
        for column, name in enumerate(names):
            if name in placed:
                regions[index, column] = REGIONS.index(placed[name])
    snapped = np.array([position_of(circuit, sizing) for sizing in sizings])
    return Archive(circuit, snapped, metrics, regions, ok, names)
