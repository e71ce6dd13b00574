"""A two-stage amplifier by hand-analysis formulas: milliseconds where ngspice takes a tenth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from acs_assistant.cancel import CancelToken
from acs_assistant.domain import (
    Circuit,
    Conditions,
    Evaluation,
    Measurement,
    Metric,
    Objective,
    Parameter,
    Sizing,
    Spec,
    Task,
)
from acs_assistant.scoring import score
from acs_assistant.sim.port import SimulationRequest

_LAMBDA = 0.08e-6  # channel-length modulation times length, m/V
_KN, _KP = 250e-6, 80e-6  # A/V^2


def toy_circuit(objective: bool = True) -> Circuit:
    def width(name: str, role: str) -> Parameter:
        return Parameter(name, "m", 0.5e-6, 100e-6, 0.01e-6, "log", role)

    def length(name: str, role: str) -> Parameter:
        return Parameter(name, "m", 0.15e-6, 2e-6, 0.01e-6, "log", role)

    return Circuit(
        name="toy",
        title="Two-stage amplifier by formula",
        pdk="none",
        category="amplifier",
        description="",
        path=Path(),
        parameters=(
            width("w_in", "input pair width"),
            length("l_in", "input pair length"),
            width("w_load", "load width"),
            length("l_load", "load length"),
            width("w_out", "output width"),
            length("l_out", "output length"),
            Parameter("i_tail", "A", 1e-6, 200e-6, 0.1e-6, "log", "tail current"),
            Parameter("c_c", "F", 0.2e-12, 10e-12, 1e-15, "log", "compensation"),
            Parameter("fold", "", 1, 8, 1, "linear", "output current ratio"),
        ),
        metrics=(
            Metric("dc_gain", "dB", "ac", "formula", better="higher"),
            Metric("gbw", "Hz", "ac", "formula", better="higher"),
            Metric("phase_margin", "deg", "ac", "formula", better="higher"),
            Metric("power", "W", "ac", "formula", better="lower"),
        ),
        specs=(
            Spec("dc_gain", ">=", 70.0, range=(40.0, 90.0)),
            Spec("gbw", ">=", 12e6, range=(1e6, 60e6)),
            Spec("phase_margin", ">=", 60.0, range=(45.0, 80.0)),
            Spec("power", "<=", 150e-6, range=(20e-6, 500e-6)),
        ),
        conditions=Conditions(supply=1.8, load=2e-12),
        netlist="",
        testbenches=(),
        objective=Objective("power") if objective else None,
        condition_ranges={"load": (1e-12, 5e-12), "supply": (1.6, 2.0)},
    )


class ToySimulator:
    """A ``Simulator`` that evaluates the formulas; wide input pairs on small currents fail."""

    version = "formula-1"

    def __init__(self) -> None:
        self.count = 0

    def simulate(
        self, request: SimulationRequest, cancel: CancelToken | None = None
    ) -> Measurement:
        if cancel is not None:
            cancel.raise_if_cancelled()
        self.count += 1
        return measure(request.sizing, request.conditions)

    def map(
        self, requests: Iterable[SimulationRequest], cancel: CancelToken | None = None
    ) -> Iterator[tuple[int, Measurement]]:
        for i, request in enumerate(requests):
            yield i, self.simulate(request, cancel)

    def close(self) -> None:
        return None


def measure(sizing: Sizing, conditions: Conditions) -> Measurement:
    s = sizing
    if s["w_in"] / s["l_in"] > 2e7 * s["i_tail"] * 1e1:
        return Measurement("failed", {}, conditions=conditions, error="no convergence")
    half = s["i_tail"] / 2
    i_out = half * s["fold"]
    gm1 = math.sqrt(2 * _KN * s["w_in"] / s["l_in"] * half)
    gm1 = min(gm1, 25 * half)
    gm2 = min(math.sqrt(2 * _KP * s["w_out"] / s["l_out"] * i_out), 22 * i_out)
    ro1 = 1 / (half * (_LAMBDA / s["l_in"] + _LAMBDA / s["l_load"]))
    ro2 = 1 / (i_out * (2 * _LAMBDA / s["l_out"]))
    gbw = gm1 / (2 * math.pi * s["c_c"])
    gate = 8e-3 * (s["w_out"] * s["l_out"] + s["w_load"] * s["l_load"])
    pole = gm2 / (2 * math.pi * (conditions.load + gate + gate * conditions.load / s["c_c"]))
    zero = gm2 / (2 * math.pi * s["c_c"])
    margin = 90 - math.degrees(math.atan(gbw / pole) + math.atan(gbw / zero))
    metrics = {
        "dc_gain": 20 * math.log10(gm1 * ro1 * gm2 * ro2),
        "gbw": gbw,
        "phase_margin": margin,
        "power": conditions.supply * (s["i_tail"] * 1.2 + i_out),
    }
    return Measurement("ok", metrics, conditions=conditions)


def toy_task(objective: bool = True) -> Task:
    circuit = toy_circuit(objective)
    return Task(circuit, circuit.specs, circuit.conditions)


def evaluate(task: Task, sizing: Sizing) -> Evaluation:
    measurements = (measure(task.circuit.snap(sizing), task.conditions),)
    return Evaluation(measurements, score(task.specs, measurements))
