"""Every bundled circuit, simulated: its reference measures what ``reference.toml`` says."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess

import pytest

from acs_assistant.domain import Corner, Measurement
from acs_assistant.library import list_circuits, load_circuit, read_reference
from acs_assistant.scoring import score
from acs_assistant.sim.measures import check
from acs_assistant.sim.pdk import find_pdk
from acs_assistant.sim.port import SimulationRequest, Simulator
from acs_assistant.units import parse_quantity

CIRCUITS = [summary.name for summary in list_circuits()]

# reference.toml keeps six digits. Below these floors a metric is what is left of a cancellation
# (a systematic offset of microvolts, a rejection of 100 dB) and moves with the solver's tolerances.
RELATIVE = 2e-3
FLOORS = {"offset": 2e-6, "cmrr": 0.5, "psrr": 0.5, "dc_gain": 0.01}


def measure(simulator: Simulator, name: str, corner: Corner = "tt") -> Measurement:
    circuit = load_circuit(name)
    conditions = dataclasses.replace(circuit.conditions, corner=corner)
    return simulator.simulate(SimulationRequest(circuit, circuit.reference, conditions))


@pytest.mark.parametrize("name", CIRCUITS)
def test_measures_of_the_metrics_are_known(name: str) -> None:
    for metric in load_circuit(name).metrics:
        check(metric)


@pytest.mark.parametrize("name", CIRCUITS)
def test_reference_measures_what_is_stored_and_meets_the_default_specs(
    simulator: Simulator, name: str
) -> None:
    circuit = load_circuit(name)
    measured = measure(simulator, name)
    assert measured.status == "ok", measured.error
    assert set(measured.metrics) == {metric.name for metric in circuit.metrics}, measured.error
    for metric, stored in circuit.reference_metrics.items():
        assert measured.metrics[metric] == pytest.approx(
            stored, rel=RELATIVE, abs=FLOORS.get(metric, 0.0)
        ), metric
    result = score(circuit.specs, [measured])
    assert result.met, [str(r.spec) for r in result.specs if not r.met]


@pytest.mark.parametrize("name", ["two_stage_miller"])
@pytest.mark.parametrize("corner", ["ss", "ff", "sf", "fs"])
def test_reference_at_the_corners(simulator: Simulator, name: str, corner: Corner) -> None:
    reference = read_reference(load_circuit(name).path)
    assert reference is not None
    stored = reference.corners[corner]
    measured = measure(simulator, name, corner)
    for metric, value in stored.items():
        assert measured.metrics[metric] == pytest.approx(
            value, rel=RELATIVE, abs=FLOORS.get(metric, 0.0)
        ), metric
    assert stored["gbw"] != reference.metrics["gbw"], "the corner changed nothing"


@pytest.mark.parametrize("name", CIRCUITS)
def test_devices_of_the_reference_are_on(simulator: Simulator, name: str) -> None:
    """Every transistor that carries a signal at dc conducts and is saturated."""
    circuit = load_circuit(name)
    if circuit.category not in ("amplifier", "regulator"):
        pytest.skip("has no dc bias point")
    for device in measure(simulator, name).devices:
        assert device.region in ("saturation", "subthreshold"), device


@pytest.mark.parametrize("name", CIRCUITS)
def test_testbenches_are_written_at_the_reference(name: str) -> None:
    """So plain ngspice, run in the folder, measures what ``reference.toml`` says."""
    circuit = load_circuit(name)
    for bench in circuit.testbenches:
        cards = re.findall(r"^\.param (.*)$", bench.text, re.MULTILINE)
        written = dict(re.findall(r"(\w+)=(\S+)", " ".join(cards)))
        values = {key: parse_quantity(value) for key, value in written.items()}
        assert values.pop("supply") == circuit.conditions.supply
        assert values.pop("load") == pytest.approx(circuit.conditions.load)
        assert values == pytest.approx(dict(circuit.reference)), bench.name
        assert re.search(r"^\.(print|meas) ", bench.text, re.MULTILINE)


@pytest.mark.skipif(shutil.which("ngspice") is None, reason="no ngspice program, only the library")
def test_plain_ngspice_runs_a_folder() -> None:
    circuit = load_circuit("two_stage_miller")
    environment = {**os.environ, "NGSPICE_INPUT_DIR": str(find_pdk("sky130").library.parent)}
    done = subprocess.run(
        ["ngspice", "-b", "tb_ac.spice"],
        cwd=circuit.path,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr[-500:]
    first = re.search(r"^0\t1\.0+e\+00\t(\S+)", done.stdout, re.MULTILINE)
    assert first is not None
    gain = float(first[1])
    assert gain == pytest.approx(circuit.reference_metrics["dc_gain"], rel=1e-3)


def test_the_issues_example_is_feasible(simulator: Simulator) -> None:
    metrics = measure(simulator, "two_stage_miller").metrics
    assert metrics["dc_gain"] >= 60
    assert metrics["gbw"] >= 10e6
    assert metrics["phase_margin"] >= 60
    assert metrics["power"] <= 300e-6
