"""GF180MCU and the generic technology; device models under ``$PDK_ROOT/$PDK``."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from acs_assistant.domain import CORNERS, Circuit, Conditions, Corner
from acs_assistant.errors import PdkError
from acs_assistant.sim.gmid import characterize
from acs_assistant.sim.pdk import find_pdk, install_pdk
from acs_assistant.sim.pool import Pool
from acs_assistant.sim.port import SimulationRequest
from acs_assistant.sim.variation import monte_carlo, sweep_conditions
from tests.sim.circuits import circuit, metric

DIODES = """* diodes, a resistor and a capacitor
.lib "{library}" tt
In 0 n 10u
XN n n 0 0 {nmos} w={{w}} l={{l}} nf=1 m=2
Ip p 0 10u
XP p p 0 0 {pmos} w={{w}} l={{l}} nf=1 m=2
.param w=5u l=1u
.op
.end
"""
METRICS = [metric("n", "op_voltage", node="n"), metric("p", "op_voltage", node="0,p")]


def diodes(folder: Path, pdk: str, library: str, nmos: str, pmos: str) -> Circuit:
    text = DIODES.format(library=library, nmos=nmos, pmos=pmos)
    return circuit(folder, {"main": text}, METRICS, pdk=pdk, conditions=Conditions(supply=3.3))


def sections(names: str, body: str) -> str:
    return "".join(f".lib {name}\n{body}.endl {name}\n" for name in names.split())


def installation(root: Path) -> Path:
    """What an installation of GF180MCU has, by its names, with models for teaching in it."""
    folder = root / "gf180mcuD" / "libs.tech" / "ngspice"
    folder.mkdir(parents=True)
    (folder / "design.ngspice").write_text("* switches\n.param sw_stat_global=0\n")
    shifts = {"typical": 0, "ff": -0.05, "ss": 0.05, "fs": -0.02, "sf": 0.02, "statistical": 0}
    text = "* models\n"
    for name, shift in shifts.items():
        text += f".lib {name}\n"
        for device, sign in (("nfet", 1), ("pfet", -1)):
            text += (
                f".subckt {device}_03v3 d g s b w=1u l=1u nf=1 m=1\n"
                f"m0 d g s b mod w={{w}} l={{l}} m={{m}}\n"
                f".model mod {device[0]}mos level=1 vto={sign * (0.7 + shift)} kp=100u\n"
                f".ends {device}_03v3\n"
            )
        text += f".endl {name}\n"
    text += sections("res_typical res_ff res_ss res_statistical", ".param res=1\n")
    text += sections("moscap_typical moscap_ff moscap_ss mimcap_typical", "")
    text += sections("cap_mim", ".subckt cap_mim_2f0ff 1 2\nc1 1 2 1p\n.ends\n")
    (folder / "sm141064.ngspice").write_text(text)
    return folder


def test_an_installation_of_gf180mcu_is_found_and_not_written_to(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = installation(tmp_path / "pdks of mine")
    monkeypatch.setenv("PDK_ROOT", str(tmp_path / "pdks of mine"))
    monkeypatch.setenv("PDK", "gf180mcuD")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = sorted(path.name for path in folder.iterdir())
    found = find_pdk("gf180mcu")
    assert (found.version, found.source) == ("gf180mcuD", "environment")
    assert found.library.name == "gf180mcu.lib.spice"
    assert sorted(path.name for path in folder.iterdir()) == before
    made = diodes(tmp_path, "gf180mcu", "gf180mcu.lib.spice", "nfet_03v3", "pfet_03v3")
    with Pool(1) as own:
        points = [Conditions(corner=corner) for corner in CORNERS]
        tt, ff, ss, *_ = (m.metrics["n"] for m in sweep_conditions(own, made, {}, points))
    assert tt == pytest.approx(0.7 + (2 * 10e-6 / (100e-6 * 10)) ** 0.5, rel=1e-3)
    assert (ff - tt, ss - tt) == pytest.approx((-0.05, 0.05), abs=1e-4)


def test_models_of_an_installation_that_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation(tmp_path)
    (tmp_path / "cache").write_text("in the way")
    monkeypatch.setenv("PDK_ROOT", str(tmp_path))
    monkeypatch.setenv("PDK", "gf180mcuD")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(PdkError):
        find_pdk("gf180mcu")


def test_the_generic_technology_needs_nothing(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    made = diodes(tmp_path, "generic", "generic.lib.spice", "nfet", "pfet")
    points = [Conditions(corner=corner) for corner in CORNERS]
    found = {
        point.corner: measurement.metrics
        for point, measurement in zip(points, sweep_conditions(pool, made, {}, points), strict=True)
    }
    for kind in ("n", "p"):
        assert found["ff"][kind] < found["tt"][kind] < found["ss"][kind]
    assert (found["fs"]["n"] - found["tt"]["n"]) * (found["fs"]["p"] - found["tt"]["p"]) < 0
    samples = monte_carlo(pool, made, {}, made.conditions, 4, seed=1)
    assert len({sample.metrics["n"] for sample in samples}) == 4


@pytest.mark.parametrize("device", ["nfet", "pfet"])
def test_gm_over_id_of_the_generic_technology(pool: Pool, device: str) -> None:
    check_charts(pool, "generic", device)


def check_charts(pool: Pool, pdk: str, device: str) -> None:
    """What holds for any MOSFET: the limit of weak inversion, the trade of speed for efficiency."""
    table = characterize(pool, pdk, device, lengths=(0.6e-6, 2e-6))
    assert 20 < table.gm_over_id.max() < 1 / 0.02585
    points = [table.at(ratio, 2e-6) for ratio in (6, 12, 18)]
    assert all(np.diff([p.current_density for p in points]) < 0)
    assert all(np.diff([p.transit_frequency for p in points]) < 0)
    assert table.at(12, 2e-6).intrinsic_gain > table.at(12, 0.6e-6).intrinsic_gain
    assert table.at(12, 2e-6).transit_frequency < table.at(12, 0.6e-6).transit_frequency


@pytest.fixture(scope="module")
def gf180(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The installed models, fetched where they are not."""
    try:
        return str(find_pdk("gf180mcu").library)
    except PdkError:
        return str(install_pdk("gf180mcu").library)


@pytest.mark.slow
@pytest.mark.parametrize("corner", ["tt", "ss"])
def test_gf180mcu_agrees_with_plain_ngspice(
    pool: Pool, tmp_path: Path, gf180: str, corner: Corner
) -> None:
    made = diodes(tmp_path, "gf180mcu", "gf180mcu.lib.spice", "nfet_03v3", "pfet_06v0")
    conditions = Conditions(supply=3.3, temperature=85.0, corner=corner)
    ours = pool.simulate(SimulationRequest(made, {}, conditions))
    assert ours.status == "ok", ours.error
    plain = made.testbenches[0].text.replace('"gf180mcu.lib.spice" tt', f'"{gf180}" {corner}')
    commands = ".temp 85\n.control\nset numdgt=12\nop\nprint v(n)\nprint -v(p)\nquit\n.endc\n.end\n"
    (tmp_path / "plain.spice").write_text(plain.replace(".end\n", commands))
    done = subprocess.run(
        ["ngspice", "-b", "plain.spice"],
        capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    printed = [float(v) for v in re.findall(r"^-?v\(\w\) = (\S+)$", done.stdout, re.MULTILINE)]
    assert [ours.metrics["n"], ours.metrics["p"]] == pytest.approx(printed, rel=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("gf180")
@pytest.mark.parametrize("device", ["nfet_03v3", "pfet_06v0"])
def test_gm_over_id_of_gf180mcu(pool: Pool, device: str) -> None:
    check_charts(pool, "gf180mcu", device)


@pytest.mark.slow
@pytest.mark.usefixtures("gf180")
def test_draws_of_gf180mcu_repeat(pool: Pool, tmp_path: Path) -> None:
    made = diodes(tmp_path, "gf180mcu", "gf180mcu.lib.spice", "nfet_03v3", "pfet_03v3")
    first, again = (monte_carlo(pool, made, {}, made.conditions, 5, seed=2) for _ in range(2))
    assert [m.metrics for m in first] == [m.metrics for m in again]
    assert len({m.metrics["n"] for m in first}) == 5
