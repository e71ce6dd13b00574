"""Sensitivities against closed forms; many simulations at once: repeatable, cancellable."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.domain import Circuit, Conditions, Parameter, Spec
from acs_assistant.sim.pool import Pool
from acs_assistant.sim.port import Simulator
from acs_assistant.sim.sensitivity import Sensitivities, sensitivities
from acs_assistant.sim.variation import monte_carlo, pvt_conditions, sweep_conditions, yield_of
from tests.sim.circuits import MILLER_SIZING, circuit, metric, miller_circuit
from tests.sim.test_faults import ENDLESS, works

RC = """* low-pass, divider and resonator
.param r=10k c=1n ra=3k rb=1k l=1u
V1 in 0 dc 2 ac 1
R1 in out {r}
C1 out 0 {c}
RA in tap {ra}
RB tap 0 {rb}
.op
.ac dec 200 100 1meg
.end
"""
SIZES = {"r": 10e3, "c": 1e-9, "ra": 3e3, "rb": 1e3}


def filters(folder: Path, **bounds: tuple[float, float]) -> Circuit:
    parameters = []
    for name, value in SIZES.items():
        low, high = bounds.get(name, (value / 10, value * 10))
        parameters.append(Parameter(name, "ohm", low, high, value / 1e4))
    metrics = [
        metric("bandwidth", "bandwidth", node="out"),
        metric("tap", "op_voltage", node="tap"),
        metric("gain", "dc_gain", node="tap"),
    ]
    return circuit(folder, {"main": RC}, metrics, parameters=parameters)


def of_filters(pool: Pool, folder: Path, **bounds: tuple[float, float]) -> Sensitivities:
    made = filters(folder, **bounds)
    return sensitivities(pool, made, SIZES, made.conditions)


def test_sensitivities_of_a_low_pass_and_a_divider_are_those_of_the_formula(
    pool: Pool, tmp_path: Path
) -> None:
    """f = 1/(2 pi R C); V = 2 Rb/(Ra+Rb), so d ln V/d ln Ra = -Ra/(Ra+Rb) = -0.75."""
    found = of_filters(pool, tmp_path)
    assert found.nominal.metrics["bandwidth"] == pytest.approx(1 / (2 * math.pi * 1e-5), rel=1e-4)
    assert found.relative["bandwidth"]["r"] == pytest.approx(-1, abs=1e-3)
    assert found.relative["bandwidth"]["c"] == pytest.approx(-1, abs=1e-3)
    assert found.relative["bandwidth"]["ra"] == pytest.approx(0, abs=1e-6)
    assert found.relative["tap"]["ra"] == pytest.approx(-0.75, abs=1e-3)
    assert found.relative["tap"]["rb"] == pytest.approx(0.75, abs=1e-3)
    assert found.slopes["tap"]["rb"] == pytest.approx(0.5 * 0.75, abs=1e-3)
    assert found.relative["tap"]["c"] == 0


def test_decibels_have_a_slope_and_no_relative_sensitivity(pool: Pool, tmp_path: Path) -> None:
    made = filters(tmp_path)
    in_decibels = [
        metric("gain", "dc_gain", node="tap"),
    ]
    made = circuit(
        tmp_path,
        {"main": RC},
        [type(m)(m.name, "dB", m.testbench, m.measure, m.arguments) for m in in_decibels],
        parameters=made.parameters,
    )
    found = sensitivities(pool, made, SIZES, made.conditions)
    assert found.slopes["gain"]["ra"] == pytest.approx(-0.75 * 20 / math.log(10), rel=1e-3)
    assert found.relative == {}
    assert found.ranked("gain")[0][0] in ("ra", "rb")


def test_at_a_bound_the_difference_is_one_sided(pool: Pool, tmp_path: Path) -> None:
    found = of_filters(pool, tmp_path, r=(10e3, 100e3), c=(1e-10, 1e-9))
    assert found.relative["bandwidth"]["r"] == pytest.approx(-1, abs=0.02)
    assert found.relative["bandwidth"]["c"] == pytest.approx(-1, abs=0.02)


@pytest.mark.usefixtures("sky130")
def test_sensitivities_of_an_amplifier_are_the_shares_of_its_branches(
    pool: Pool, tmp_path: Path
) -> None:
    """A mirror's width moves the power by the share of its branch; a capacitor the area by its."""
    made = miller_circuit(tmp_path)
    found = sensitivities(pool, made, MILLER_SIZING, made.conditions)
    currents = {device.name: device.id for device in found.nominal.devices}
    total = currents["M8"] + currents["M5"] + currents["M7"]
    assert found.relative["power"]["w_sink"] == pytest.approx(currents["M7"] / total, rel=0.05)
    assert found.relative["power"]["i_bias"] == pytest.approx(1, rel=0.05)
    area = found.nominal.metrics["area"]
    assert found.relative["area"]["c_c"] == pytest.approx(2e-12 / 2e-3 / area, rel=1e-3)
    gates = 2 * MILLER_SIZING["w_in"] * MILLER_SIZING["l_in"]
    assert found.relative["area"]["w_in"] == pytest.approx(gates / area, rel=1e-3)
    assert found.relative["area"]["l_in"] == pytest.approx(gates / area, rel=1e-3)


@pytest.mark.usefixtures("sky130")
def test_draws_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    made = miller_circuit(tmp_path)
    runs = []
    for workers in (1, 3):
        with Pool(workers) as own:
            samples = monte_carlo(own, made, MILLER_SIZING, made.conditions, 7, seed=11)
        runs.append([(sample.status, sample.metrics, sample.devices) for sample in samples])
    assert runs[0] == runs[1]
    assert len({metrics["offset"] for _, metrics, _ in runs[0]}) == 7


def test_a_sample_that_fails_or_misses_a_metric_is_no_yield(pool: Pool, tmp_path: Path) -> None:
    made = filters(tmp_path)
    sizes = ({}, {"ra": math.nan}, {"ra": 1e12})
    samples = [sweep_conditions(pool, made, {**SIZES, **size}, [Conditions()])[0] for size in sizes]
    spec = Spec("tap", ">=", 0.4)
    found = yield_of([spec], samples)
    assert (found.passed, found.total) == (1, 3)
    assert 0.06 < found.low < 1 / 3 < found.high < 0.8


JOBS: dict[str, Callable[[Simulator, Circuit, CancelToken, Callable[[int, int], None]], object]] = {
    "monte carlo": lambda pool, made, token, progress: monte_carlo(
        pool, made, {}, made.conditions, 40, 1, token, progress
    ),
    "pvt": lambda pool, made, token, progress: sweep_conditions(
        pool, made, {}, pvt_conditions(made.conditions), token, progress
    ),
    "sensitivities": lambda pool, made, token, progress: sensitivities(
        pool,
        made,
        {p.name: 1.0 for p in made.parameters},
        made.conditions,
        cancel=token,
        progress=progress,
    ),
}


@pytest.mark.parametrize("job", JOBS)
def test_a_parallel_job_stops_when_it_is_cancelled(tmp_path: Path, job: str) -> None:
    made = circuit(
        tmp_path,
        {"main": ENDLESS},
        [metric("f", "oscillation_frequency", node="out")],
        parameters=[Parameter(f"p{n}", "", 0.5, 2.0, 0.01) for n in range(20)],
    )
    token = CancelToken()
    with Pool(2, timeout=30.0) as own:
        works(own, tmp_path)
        threading.Timer(0.5, token.cancel).start()
        begun = time.monotonic()
        with pytest.raises(CancelledError):
            JOBS[job](own, made, token, lambda done, total: None)
        assert time.monotonic() - begun < 10
        works(own, tmp_path)


@pytest.mark.parametrize("job", JOBS)
def test_a_parallel_job_tells_how_far_it_is(pool: Pool, tmp_path: Path, job: str) -> None:
    made = filters(tmp_path)
    told: list[tuple[int, int]] = []
    JOBS[job](pool, made, CancelToken(), lambda done, total: told.append((done, total)))
    total = told[0][1]
    assert told == [(n, total) for n in range(1, total + 1)]
