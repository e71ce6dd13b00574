from __future__ import annotations

from pathlib import Path

import pytest

from acs_assistant.domain import (
    Circuit,
    Conditions,
    Decision,
    Evaluation,
    Measurement,
    Metric,
    OperatingPoint,
    Parameter,
    Proposal,
    Spec,
    Task,
    Turn,
)
from acs_assistant.scoring import score


@pytest.fixture(scope="session")
def amplifier() -> Circuit:
    return Circuit(
        name="amp",
        title="Amplifier",
        pdk="sky130",
        category="amplifier",
        description="",
        path=Path("amp"),
        parameters=(
            Parameter("w_in", "m", 4.2e-7, 1e-4, 5e-9, role="input pair", devices=("M1", "M2")),
            Parameter("c_c", "F", 1e-13, 1.2e-11, 1e-15, role="Miller capacitor"),
            Parameter("fingers", "", 1, 12, 1, scale="linear", role="fingers"),
        ),
        metrics=(
            Metric("gbw", "Hz", "ac", "unity_gain_frequency"),
            Metric("phase_margin", "deg", "ac", "phase_margin"),
            Metric("power", "W", "ac", "power"),
        ),
        specs=(Spec("gbw", ">=", 1e7), Spec("power", "<=", 3e-4)),
        conditions=Conditions(load=5e-12),
        netlist="",
        testbenches=(),
    )


@pytest.fixture(scope="session")
def task(amplifier: Circuit) -> Task:
    return Task(amplifier, amplifier.specs, amplifier.conditions)


@pytest.fixture(scope="session")
def turn(amplifier: Circuit) -> Turn:
    sizing = {"w_in": 2e-5, "c_c": 1e-12, "fingers": 4.0}
    device = OperatingPoint("M1", "nmos", "linear", 1e-5, 1e-4, 1e-6, 0.7, 0.1, 0.5, 0.15)
    measurement = Measurement(
        "ok",
        {"gbw": 8.1e6, "phase_margin": 62.04, "power": 2.1e-4},
        (device,),
        amplifier.conditions,
    )
    evaluation = Evaluation((measurement,), score(amplifier.specs, [measurement]))
    proposal = Proposal(sizing, "model", reasoning="Expect gbw 12.0meg.")
    return Turn(1, None, 1, proposal, Decision("accepted", sizing), evaluation, amplifier.specs)
