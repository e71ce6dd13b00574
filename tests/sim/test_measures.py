"""Every measure against a closed form, and its ngspice script against the measure."""

from __future__ import annotations

import math
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from acs_assistant.domain import Measurement, Metric
from acs_assistant.errors import CircuitError
from acs_assistant.sim.exporting import measure_script
from acs_assistant.sim.measures import MEASURES, check, evaluate
from acs_assistant.sim.pool import Pool
from acs_assistant.sim.port import SimulationRequest
from acs_assistant.sim.vectors import MeasureError, Plot, Run
from tests.sim.circuits import circuit, metric

TAU = 2 * math.pi

LINEAR = """* linear circuits
Vin in 0 dc 0 ac 1 pulse(0 1 1u 1n 1n 20u 40u)
* RC low-pass, 1 us
R1 in rc 1k
C1 rc 0 1n
* two-pole amplifier: 60 dB, 1 kHz and 10 MHz, dc gain inverted
E1 p0 0 in 0 -1000
R2 p0 p1 1k
C2 p1 0 {1/(2*3.141592653589793*1e3*1e3)}
E2 p2 0 p1 0 1
R3 p2 amp 1k
C3 amp 0 {1/(2*3.141592653589793*10e6*1e3)}
* third pole at 20 MHz, for a gain margin
E3 p3 0 amp 0 1
R4 p3 amp3 1k
C4 amp3 0 {1/(2*3.141592653589793*20e6*1e3)}
* 60 dB, 1 kHz, and a resonance at 3 MHz that lifts the gain over 0 dB again
E4 rp 0 p1 0 1
L6 rp r6 1u
R6 r6 peak {0.2*2*3.141592653589793*3e6*1e-6}
C6 peak 0 {1/((2*3.141592653589793*3e6)**2*1e-6)}
* a pole below the sweep
E7 l0 0 in 0 -1e5
R7 l0 late 1k
C7 late 0 {1/(2*3.141592653589793*0.1*1e3)}
* RLC, 1 MHz, damping 0.2
L5 in r5 1u
R5 r5 rlc {0.4*2*3.141592653589793*1e6*1e-6}
C5 rlc 0 {1/((2*3.141592653589793*1e6)**2*1e-6)}
* rejection paths
E6 common 0 in 0 0.01
E9 ripple 0 in 0 0.05
I8 0 z dc 0 ac 1
R8 z 0 470
Vb b 0 1.5
R9 b 0 1.5k
Vc c 0 3
R10 c 0 1k
Vosc osc 0 sin(0 1 250k)
Bdist dist 0 v=v(osc)+0.1*v(osc)*v(osc)
.op
.ac dec 40 1 1g
.tran 2n 40u 0 2n
.noise v(rc) Vin dec 20 1 1g
.meas tran peak max v(rc)
.meas tran twice param='2*peak'
.end
"""
SWEEP = """* sweeps
Vin in 0 dc 1
Bamp amp 0 v=tanh(2*v(in))
Bfollow fo 0 v=min(v(in),1.2)
Bldo ldo 0 v=min(v(in)-0.2,1.2)
Bline line 0 v=1.2+0.01*v(in)
.dc Vin -2 3 0.01
.end
"""
LOAD = """* load
Vs s 0 1.2
R1 s out 3
Iload out 0 0
.dc Iload 0 100m 1m
.end
"""
TEMPERATURE = """* temperature
I1 0 out 1m
R1 out 0 1k tc1=1m
.dc temp -40 125 5
.end
"""
WN = TAU * 1e6
ZETA = 0.2
OVERSHOOT = 100 * math.exp(-math.pi * ZETA / math.sqrt(1 - ZETA**2))


def two_pole_unity(poles: list[float], gain: float) -> float:
    """Unity-gain frequency of a multi-pole amplifier by bisection."""
    low, high = 1e3, 1e9
    for _ in range(200):
        middle = math.sqrt(low * high)
        size = gain / math.prod(math.hypot(1, middle / p) for p in poles)
        low, high = (middle, high) if size > 1 else (low, middle)
    return low


UNITY = two_pole_unity([1e3, 10e6], 1000)
UNITY3 = two_pole_unity([1e3, 10e6, 20e6], 1000)


def phase(frequency: float, poles: list[float]) -> float:
    return -sum(math.degrees(math.atan(frequency / p)) for p in poles)


def turn(poles: list[float]) -> float:
    low, high = 1e3, 1e10
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if phase(middle, poles) > -180 else (low, middle)
    return low


TURN3 = turn([1e3, 10e6, 20e6])
MARGIN3 = -20 * math.log10(1000 / math.prod(math.hypot(1, TURN3 / p) for p in [1e3, 10e6, 20e6]))


def resonant(frequency: float) -> complex:
    """The amplifier with the resonance."""
    x = frequency / 3e6
    return -1000 / (1 + 1j * frequency / 1e3) / (1 - x * x + 0.2j * x)


def last_unity(low: float, high: float) -> float:
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if abs(resonant(middle)) > 1 else (low, middle)
    return low


RESONANT_PM = math.degrees(np.angle(-resonant(last_unity(3e6, 9e6)))) - 180
KTC = math.sqrt(1.380649e-23 * 300.15 / 1e-9)
EXPECTED: dict[str, tuple[Metric, float, float]] = {
    m.name: (m, value, tolerance)
    for m, value, tolerance in [
        (metric("dc_gain", "dc_gain", node="amp"), 60.0, 1e-4),
        (metric("ratio", "dc_gain", node="amp", input="p0"), 0.0, 10.0),
        (metric("gain_at", "gain_at", node="rc", frequency="159.1549k"), -3.0103, 1e-3),
        (metric("ugf", "unity_gain_frequency", node="amp"), UNITY, 5e-4),
        (metric("gb", "gain_bandwidth", node="rc"), 1e6 / TAU, 1e-3),
        (metric("pm", "phase_margin", node="amp"), 180 + phase(UNITY, [1e3, 10e6]), 1e-3),
        (metric("pm3", "phase_margin", node="amp3"), 180 + phase(UNITY3, [1e3, 1e7, 2e7]), 1e-3),
        (metric("gm3", "gain_margin", node="amp3"), MARGIN3, 2e-3),
        (metric("ugf_r", "unity_gain_frequency", node="peak"), last_unity(1e6, 2e6), 5e-3),
        (metric("pm_r", "phase_margin", node="peak"), RESONANT_PM, 4e-2),
        (metric("gm_r", "gain_margin", node="peak"), -20 * math.log10(5 / 3), 4e-2),
        (metric("pm_l", "phase_margin", node="late"), 90.0, 1e-3),
        (metric("bw", "bandwidth", node="rc"), 1e6 / TAU, 1e-3),
        (
            metric("peak_db", "peaking", node="rlc"),
            -20 * math.log10(2 * ZETA * math.sqrt(1 - ZETA**2)),
            5e-3,
        ),
        (metric("cmrr", "cmrr", node="amp", common="common"), 100.0, 1e-4),
        (metric("psrr", "psrr", node="amp", ripple="ripple", frequency="1k"), 83.010, 2e-4),
        (metric("z", "impedance", node="z"), 470.0, 1e-6),
        (metric("v", "op_voltage", node="c,b"), 1.5, 1e-6),
        (metric("off", "offset", node="c", reference="b"), 1.5, 1e-6),
        (metric("iq", "supply_current", source="Vb Vc"), 4e-3, 1e-6),
        (metric("p", "power", source="vb vc", node="b c"), 1.5e-3 + 9e-3, 1e-6),
        (metric("sr", "slew_rate", node="rc", input="in"), 0.8 / (1e-6 * math.log(9)), 2e-3),
        (metric("sr_up", "slew_rate_rise", node="rc", input="in"), 0.8e6 / math.log(9), 2e-3),
        (metric("sr_dn", "slew_rate_fall", node="rc", input="in"), 0.8e6 / math.log(9), 2e-3),
        (metric("ts", "settling_time", node="rc", input="in"), 1e-6 * math.log(100), 3e-3),
        (metric("os", "overshoot", node="rlc", input="in"), OVERSHOOT, 5e-3),
        (metric("tp", "propagation_delay", node="rc", input="in"), 1e-6 * math.log(2), 3e-3),
        (metric("fosc", "oscillation_frequency", node="osc"), 250e3, 1e-4),
        (metric("thd", "thd", node="dist", frequency="250k"), 5.0, 2e-3),
        (metric("vn_out", "output_noise"), KTC, 2e-2),
        (metric("vn_in", "input_noise", low=10.0, high="1k"), 0.0, math.inf),
        (
            metric("spot", "spot_noise", frequency=1e3),
            math.sqrt(4 * 1.380649e-23 * 300.15 * 1e3),
            1e-3,
        ),
        (metric("meas", "meas", name="peak"), 1.0, 1e-3),
        (metric("twice", "meas", name="twice"), 2.0, 1e-3),
        (metric("swing", "output_swing", "sweep", node="amp"), math.sqrt(2), 3e-2),
        (metric("icmr", "input_range", "sweep", node="fo", tolerance="1m"), 3.2, 1e-3),
        (metric("ldo", "dropout", "sweep", node="ldo"), 0.2, 1e-3),
        (metric("linereg", "line_regulation", "sweep", node="line", low=1, high=2), 0.01, 1e-4),
        (metric("loadreg", "load_regulation", "load", node="out"), 3.0, 1e-4),
        (metric("tc", "temperature_coefficient", "temp", node="out"), 1e-3 / 1.0155, 1e-3),
    ]
}
BENCHES = {"main": LINEAR, "sweep": SWEEP, "load": LOAD, "temp": TEMPERATURE}


@pytest.fixture(scope="module")
def measured(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Measurement:
    made = circuit(tmp_path_factory.mktemp("linear"), BENCHES, [m for m, _, _ in EXPECTED.values()])
    return pool.simulate(SimulationRequest(made, {}, made.conditions))


@pytest.mark.parametrize("name", EXPECTED)
def test_measure_equals_the_closed_form(measured: Measurement, name: str) -> None:
    _, expected, tolerance = EXPECTED[name]
    assert measured.status == "ok", measured.error
    value = measured.metrics.get(name)
    assert value is not None, measured.error
    assert abs(value - expected) <= tolerance * max(abs(expected), 1e-6)


def test_input_noise_of_a_low_pass_is_flat(measured: Measurement) -> None:
    density = math.sqrt(4 * 1.380649e-23 * 300.15 * 1e3)
    assert measured.metrics["vn_in"] == pytest.approx(density * math.sqrt(990), rel=1e-3)


@pytest.mark.parametrize("bench", BENCHES)
def test_script_gives_the_same_in_plain_ngspice(
    measured: Measurement, bench: str, tmp_path: Path
) -> None:
    """An exported netlist must print every metric within 0.1 %."""
    metrics = [m for m, _, _ in EXPECTED.values() if m.testbench == bench]
    made = circuit(tmp_path, BENCHES, metrics)
    write = measure_script(made, {}, made.conditions)
    lines = [line for m in metrics if m.measure != "meas" for line in write(m)]
    text = BENCHES[bench].replace(
        ".end\n", ".control\nrun\n" + "\n".join(lines) + "\nquit\n.endc\n.end\n"
    )
    file = tmp_path / "export.spice"
    file.write_text(text)
    done = subprocess.run(
        ["ngspice", "-b", str(file)], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    printed = dict(re.findall(r"^(\w+) = ([-+\d.e]+)$", done.stdout, re.MULTILINE))
    for m in metrics:
        if m.measure != "meas":
            assert m.name in printed, f"{m.name}: {done.stdout[-800:]} {done.stderr[-800:]}"
            expected = measured.metrics[m.name]
            assert float(printed[m.name]) == pytest.approx(expected, rel=1e-3, abs=1e-9), m.name


def test_every_measure_has_a_definition_a_script_and_a_test() -> None:
    tested = {m.measure for m, _, _ in EXPECTED.values()} | {"area", "saturation_margin"}
    assert set(MEASURES) == tested
    for entry in MEASURES.values():
        assert len(entry.definition) > 20
        assert entry.write is not None


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (metric("x", "unity_gain"), "unity_gain_frequency"),
        (metric("x", "dc_gain"), "needs the argument 'node'"),
        (metric("x", "dc_gain", nod="out"), "Did you mean 'node'"),
        (metric("x", "spot_noise", frequency="fast"), "not a number"),
        (metric("x", "spot_noise", frequency=math.inf), "not finite"),
    ],
)
def test_bad_arguments_are_refused_before_anything_runs(bad: Metric, words: str) -> None:
    with pytest.raises(CircuitError) as caught:
        check(bad)
    assert words in str(caught.value)


def _run(**vectors: object) -> Run:
    arrays = {name: np.asarray(value) for name, value in vectors.items()}
    return Run("t", (Plot("ac1", "ac", "frequency", arrays),))


def test_a_missing_metric_says_why() -> None:
    run = _run(frequency=[1.0, 10.0, 100.0], out=[0.5, 0.4, 0.1])
    with pytest.raises(MeasureError, match="no crossing"):
        evaluate(metric("u", "unity_gain_frequency", node="out"), run)
    with pytest.raises(MeasureError, match="no vector 'nowhere'"):
        evaluate(metric("u", "dc_gain", node="nowhere"), run)
    with pytest.raises(MeasureError, match="no tran analysis"):
        evaluate(metric("u", "overshoot", node="out", input="in"), run)


def test_nan_in_a_vector_is_a_missing_metric() -> None:
    run = _run(frequency=[1.0, 10.0], out=[math.nan, 1.0])
    with pytest.raises(MeasureError, match="not finite"):
        evaluate(metric("g", "dc_gain", node="out"), run)


def sweep_of(gains: list[complex]) -> Run:
    return _run(frequency=np.logspace(0, len(gains) / 20, len(gains)), out=np.array(gains))


AC_MEASURES = ["dc_gain", "unity_gain_frequency", "gain_bandwidth", "phase_margin", "bandwidth"]


@pytest.mark.parametrize("measure", AC_MEASURES)
def test_a_sweep_of_rounding_noise_meets_no_spec(measure: str) -> None:
    """As a testbench with 1 GH in it gives: right at first, then up and down by 100 dB."""
    noise = np.random.default_rng(1).choice([1e-3, 1e2, 1e5], 120)
    run = sweep_of([1000.0] * 20 + list(noise) + [1e-3])
    with pytest.raises(MeasureError, match="jumps between neighbouring frequencies"):
        evaluate(metric("m", measure, node="out"), run)


def test_resonances_notches_and_a_rounded_floor_are_smooth() -> None:
    f = np.logspace(0, 8, 161)
    gain = 1000 / (1 + 1j * f / 1e3)
    for place, quality in ((1.01e4, 1e3), (3.3e5, 1e4), (2.2e6, 1e3)):
        x = f / place
        gain = gain * (1 - (1.1 * x) ** 2 + 1e-4j * x) / (1 - x**2 + 1j * x / quality)
    gain[140:] = 1e-13 * np.random.default_rng(2).uniform(0.1, 1, 21)
    run = _run(frequency=f, out=gain)
    assert evaluate(metric("g", "dc_gain", node="out"), run) == pytest.approx(60, abs=1e-3)
    assert evaluate(metric("g", "unity_gain_frequency", node="out"), run) > 1e4


def test_a_phase_that_leads_at_unity_gain_is_no_margin() -> None:
    lead = np.exp(1j * np.radians(np.linspace(0, 60, 61))) * np.logspace(2, -1, 61)
    with pytest.raises(MeasureError, match=r"leads by \d+(\.\d+)? degrees"):
        evaluate(metric("p", "phase_margin", node="out"), sweep_of(list(lead)))
    flat = list(np.logspace(2, -1, 61) + 0j)
    assert evaluate(metric("p", "phase_margin", node="out"), sweep_of(flat)) == 180.0


def test_a_sweep_that_begins_late_loses_no_lag() -> None:
    """With its pole at a tenth of the first frequency the lag of 84 degrees is there at once."""
    f = np.logspace(0, 6, 121)
    run = _run(frequency=f, out=-1e5 / (1 + 1j * f / 0.1) / (1 + 1j * f / 1e4))
    unity = two_pole_unity([0.1, 1e4], 1e5)
    margin = evaluate(metric("p", "phase_margin", node="out"), run)
    assert margin == pytest.approx(180 + phase(unity, [0.1, 1e4]), abs=0.05)


def test_the_worst_of_several_turns_is_the_gain_margin() -> None:
    """The phase falls through -180 degrees at -20 dB, comes back, and falls again at -6 dB."""
    lag = np.interp(range(61), [0, 10, 20, 30, 40, 60], [0, -90, -190, -150, -190, -200])
    level = np.interp(range(61), [0, 10, 20, 30, 40, 60], [40, 0, -20, -20, -5, -60])
    gains = 10 ** (level / 20) * np.exp(1j * np.radians(lag))
    value = evaluate(metric("g", "gain_margin", node="out"), sweep_of(list(gains)))
    assert value == pytest.approx(-np.interp(37.5, [30, 40], [-20, -5]), abs=1e-6)


def test_a_gain_margin_beyond_the_sweep_is_missing() -> None:
    with pytest.raises(MeasureError, match="no crossing of -180"):
        evaluate(metric("g", "gain_margin", node="out"), sweep_of([100.0, 10.0, 1.0, 0.1]))


# The same square law over a voltage, a current and a temperature. ngspice measures the first.
SQUARES = {
    "v": "V1 x 0 0\nB1 out 0 v=v(x)*v(x)+0.3*v(x)\n.dc V1 -1 2 0.1\n",
    "i": "I1 0 x 0\nR1 x 0 1\nB1 out 0 v=v(x)*v(x)+0.3*v(x)\n.dc I1 -1 2 0.1\n",
    "temp": "B1 out 0 v=(temper/100)*(temper/100)+0.3*temper/100\n.dc temp -100 200 10\n",
}
FIGURES = ["max", "min", "pp", "avg", "max_at", "min_at"]


@pytest.mark.parametrize("sweep", SQUARES)
def test_meas_works_over_every_kind_of_sweep(pool: Pool, tmp_path: Path, sweep: str) -> None:
    unit = 100 if sweep == "temp" else 1
    cards = [f".meas dc {f} {f} v(out)" for f in FIGURES]
    cards += [f".meas dc {f}_in {f} v(out) from={0.55 * unit} to={1.15 * unit}" for f in FIGURES]
    cards += [".meas dc found find v(out) at=0.5" if unit == 1 else ".meas dc found avg v(out)"]
    cards += [".meas dc twice param='2*pp_in'", ".meas dc nothing max v(out) from=9k to=10k"]
    text = f"* squares\n{SQUARES[sweep]}" + "\n".join(cards) + "\n.end\n"
    names = [card.split()[2] for card in cards]
    made = circuit(tmp_path, {"main": text}, [metric(n, "meas", name=n) for n in names])
    result = pool.simulate(SimulationRequest(made, {}, made.conditions))
    assert result.status == "ok", result.error
    expected = {
        "max": 4.6, "min": -0.02, "pp": 4.62, "avg": 3.455 / 3, "max_at": 2.0, "min_at": -0.1,
        "max_in": 1.54, "min_in": 0.54, "pp_in": 1.0, "avg_in": 1.0, "max_at_in": 1.1,
        "min_at_in": 0.6, "twice": 2.0, "found": 0.4 if unit == 1 else 3.455 / 3,
    }  # fmt: skip
    for name, value in expected.items():
        scale = unit if "_at" in name else 1
        if name == "min_at":  # -0.1 and -0.2 are equal but for rounding
            assert result.metrics[name] / scale in (pytest.approx(-0.1), pytest.approx(-0.2))
        else:
            assert result.metrics[name] == pytest.approx(value * scale, rel=1e-6), name
    assert "nothing" not in result.metrics
