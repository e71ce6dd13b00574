"""The exported deck: one file, every testbench, plain ngspice.

A toy circuit on level-1 models shows what merging must keep; the shipped circuits are compared with
the simulator in ``test_spice_circuits.py``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from acs_assistant.domain import (
    Circuit,
    Conditions,
    Evaluation,
    Measurement,
    Metric,
    Parameter,
    Testbench,
)
from acs_assistant.errors import CircuitError, InputError, PdkError, UnsafeNetlistError
from acs_assistant.report.spice import deck, session_deck, write_deck
from acs_assistant.scoring import score
from tests.report import session

LIBRARY = """* models
.lib tt
.model nch nmos level=1 vto=0.5 kp=200u lambda=0.05 tox=10n
.endl tt
.lib ss
.model nch nmos level=1 vto=0.6 kp=150u lambda=0.05 tox=10n
.endl ss
"""
NETLIST = """* one transistor
.subckt amp in out vdd vss w_in=1u r_l=1k
.include parts.spice
M1 mid in vss vss nch w={w_in} l=1u
R1 out mid 1
RL vdd out {r_l}
.ends amp
.end
"""
TB_AC = """Small signal, and a title with 'quotes' {braces} $ too
.lib "devices.lib.spice" tt
.include netlist.spice
.param supply=1.8 load=1p w_in=10u
+ r_l=10k
.param level={supply/3 + 0.1} points=20
.temp 27
Vdd vdd 0 {supply} $ the supply
Vin in 0 {level} ac 1
Xdut in out vdd 0 amp w_in={w_in}
+ r_l={r_l}
Cl out 0 {load}
.nodeset v(out)={supply/2} v(xdut.mid)=0.9
.op
.noise v(out) Vin dec 5 10 1meg
.ac dec {points} 1 10g
.meas ac gain_1k find vdb(out) at=1k
.dc Vin 0 {supply} 0.01
.meas dc trip when v(out)=0.9
.print ac v(out)
.end
"""
TB_TRAN = """Step
.lib "devices.lib.spice" tt
.include netlist.spice
.param supply=1.8 load=1p w_in=10u r_l=10k level=0.55
.temp 27
Vdd vdd 0 {supply}
Vin in 0 pulse({level} {level+0.1} 10n 1n 1n 200n 400n)
Xdut in out vdd 0 amp w_in={w_in} r_l={r_l}
Cl out 0 '2*load - load'
.ic v(out)=1.7
.tran 1n 150n
.meas tran low min v(out)
.param swing=0.1
.measure TRAN falls_at when v(out)='1.5*supply - 8*swing' fall=1
.meas tran depth param='(supply - low) / swing'
.end
"""
SCRIPTS = {
    "gain": ["setplot ac1", "let gain = vdb(out)[0]"],
    "current": ["setplot op1", "let current = -i(vdd)"],
    "drain": ["setplot op1", "let drain = v(xdut.mid)"],
    "gm": ["setplot op1", "let gm = @m.xdut.m1[gm]"],
    "noise": ["setplot noise2", "let noise = onoise_total"],
    "gain_1k": ["setplot ac1"],
    "trip": ["setplot dc1"],
    "low": ["setplot tran1"],
    "deep": ["setplot tran1"],
    "falls_at": ["setplot tran1"],
    "start": ["setplot tran1", "let start = v(out)[0]"],
}


def script(metric: Metric) -> list[str]:
    return [*SCRIPTS[metric.name], f"print {metric.name}"]


@pytest.fixture
def circuit(tmp_path: Path) -> Circuit:
    folder = tmp_path / "amp"
    folder.mkdir()
    files = {"netlist.spice": NETLIST, "tb_ac.spice": TB_AC, "tb_tran.spice": TB_TRAN,
             "parts.spice": "* nothing but a comment\n"}  # fmt: skip
    for name, text in files.items():
        (folder / name).write_text(text)
    (tmp_path / "devices.lib.spice").write_text(LIBRARY)

    def metric(metric: str, testbench: str, **arguments: str) -> Metric:
        measure = "meas" if "name" in arguments else "any"
        return Metric(metric, "", testbench, measure, arguments)

    return Circuit(
        name="amp",
        title="Amp\n.model evil",
        pdk="generic",
        category="",
        description="",
        path=folder,
        parameters=(
            Parameter("w_in", "m", 1e-6, 1e-4, 1e-8, role="width\n.end", devices=("M1",)),
            Parameter("r_l", "Ohm", 1e3, 1e5, 1.0),
        ),
        metrics=(
            metric("gain", "ac", node="out"),
            metric("current", "ac", source="Vdd"),
            metric("drain", "ac", node="xdut.mid"),
            metric("gm", "ac"),
            metric("noise", "ac"),
            metric("gain_1k", "ac", name="gain_1k"),
            metric("trip", "ac", name="trip"),
            metric("low", "tran", name="low"),
            metric("deep", "tran", name="Depth"),
            metric("falls_at", "tran", name="falls_at"),
            metric("start", "tran", node="out"),
        ),
        specs=(),
        conditions=Conditions(),
        netlist=NETLIST,
        testbenches=(
            Testbench("ac", folder / "tb_ac.spice", TB_AC),
            Testbench("tran", folder / "tb_tran.spice", TB_TRAN),
        ),
    )


def ngspice(path: Path, folder: Path) -> dict[str, float]:
    """Runs plain ngspice in an empty folder; every ``name = value`` that it printed."""
    program = shutil.which("ngspice")
    assert program, "install the program ngspice: these tests compare with it"
    done = subprocess.run(
        ["prlimit", "--as=2000000000", program, "-b", str(path)],
        cwd=folder, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"^(\w+)\s*=\s*([-+\d.e]+)", done.stdout, re.MULTILINE)
    return {name: float(value) for name, value in found}


def ngspice_of(text: str, folder: Path) -> dict[str, float]:
    (folder / "text.spice").write_text(text)
    return ngspice(folder / "text.spice", folder)


CONDITIONS = Conditions(supply=1.62, temperature=85.0, load=2.5e-12, corner="ss")
SIZING = {"w_in": 12.34e-6, "r_l": 8.2e3}


def alone(circuit: Circuit, bench: Testbench, tmp_path: Path) -> dict[str, float]:
    """The testbench as its author wrote it, sized with an editor, in plain ngspice."""
    text = bench.text.replace(".end\n", "")
    text = text.replace('"devices.lib.spice" tt', f'"{tmp_path}/devices.lib.spice" ss')
    text = text.replace(".temp 27", ".temp 85")
    text += ".param supply=1.62 load=2.5p w_in=12.34u r_l=8.2k\n.control\nset numdgt=10\nrun\n"
    for kind, line in re.findall(r"\n\.(meas (?:ac|dc)) (.*)", bench.text):
        text += f"setplot {kind.split()[1]}1\n{kind} {line}\n"
    for metric in circuit.metrics:
        if metric.testbench == bench.name:
            text += "\n".join(script(metric)) + "\n"
    path = circuit.path / f"alone_{bench.name}.spice"
    path.write_text(text + "quit 0\n.endc\n.end\n")
    found = ngspice(path, circuit.path)
    return found | ({"deep": found["depth"]} if "depth" in found else {})


def test_one_deck_measures_what_each_testbench_does_alone(circuit: Circuit, tmp_path: Path) -> None:
    path = tmp_path / "deck.spice"
    path.write_text(deck(circuit, SIZING, CONDITIONS, tmp_path / "devices.lib.spice", script))
    empty = tmp_path / "elsewhere"
    empty.mkdir()
    merged = ngspice(path, empty)
    names = {metric.name for metric in circuit.metrics}
    assert names <= set(merged)
    for bench in circuit.testbenches:
        expected = alone(circuit, bench, tmp_path)
        for name in names & set(expected):
            assert merged[name] == pytest.approx(expected[name], rel=1e-5), name
            names.discard(name)
    assert not names, "every metric was compared"


def test_the_deck_is_one_file_with_sizes_to_edit(circuit: Circuit, tmp_path: Path) -> None:
    library = tmp_path / "devices.lib.spice"
    text = deck(circuit, SIZING, CONDITIONS, library, script, ["note\n.quit"])
    assert f'.lib "{library}" ss' in text
    assert ".param w_in=12.34u $ width .end, M1" in text
    assert ".param supply=1.62" in text and ".temp 85" in text
    cards = [line.split()[0] for line in text.lower().splitlines() if line.startswith(".")]
    assert cards.count(".end") == 1 and cards[-1] == ".end"
    assert not {".include", ".model", ".quit", ".print"} & set(cards)
    assert cards.count(".lib") == 1
    assert text.count(f'setcs acs_file="{library}"\ncircbyline .lib \'"$acs_file"\' ss') == 1


def test_device_models_in_a_folder_with_a_space_and_capitals(
    circuit: Circuit, tmp_path: Path
) -> None:
    folder = tmp_path / "Application Support"
    folder.mkdir()
    _, _, ss = LIBRARY.partition(".lib ss\n")
    (folder / "slow models.spice").write_text(ss.removesuffix(".endl ss\n"))
    library = folder / "devices.lib.spice"
    library.write_text('.lib tt\n.endl tt\n.lib ss\n.include "slow models.spice"\n.endl ss\n')
    there, plain = tmp_path / "a deck.spice", tmp_path / "plain.spice"
    there.write_text(deck(circuit, SIZING, CONDITIONS, library, script))
    plain.write_text(deck(circuit, SIZING, CONDITIONS, tmp_path / "devices.lib.spice", script))
    assert ngspice(there, tmp_path) == ngspice(plain, tmp_path)
    with pytest.raises(PdkError, match="cannot be read"):
        deck(circuit, SIZING, CONDITIONS, folder / "gone" / "devices.lib.spice", script)


def test_editing_one_line_resizes_every_testbench(circuit: Circuit, tmp_path: Path) -> None:
    library = tmp_path / "devices.lib.spice"
    text = deck(circuit, SIZING, CONDITIONS, library, script)
    found = ngspice_of(text.replace(".param r_l=8.2k", ".param r_l=9.1k"), tmp_path)
    resized = deck(circuit, {**SIZING, "r_l": 9.1e3}, CONDITIONS, library, script)
    assert found == ngspice_of(resized, tmp_path)
    before = ngspice_of(text, tmp_path)
    assert found["low"] != pytest.approx(before["low"], rel=1e-3)
    assert found["gain"] != pytest.approx(before["gain"], rel=1e-3)


def test_parameters_of_a_testbench_stay_with_it(circuit: Circuit, tmp_path: Path) -> None:
    text = deck(circuit, SIZING, CONDITIONS, tmp_path / "devices.lib.spice", script)
    assert "\n.param level={supply/3 + 0.1} points=20\n" in text
    assert "\ncircbyline .param level=0.55\n" in text
    assert text.count("w_in=10u") == 0, "the testbench's own sizes are gone"


def test_a_circuit_with_its_own_models_needs_no_pdk(circuit: Circuit, tmp_path: Path) -> None:
    library = tmp_path / "devices.lib.spice"
    (circuit.path / library.name).write_text(LIBRARY)
    own = deck(circuit, SIZING, CONDITIONS, None, script)
    assert f'.lib "{circuit.path / library.name}" tt' in own, "its own file and section"
    typical = deck(circuit, SIZING, replace(CONDITIONS, corner="tt"), library, script)
    assert ngspice_of(own, tmp_path) == ngspice_of(typical, tmp_path)
    bare = replace(circuit, testbenches=(Testbench("t", circuit.path / "tb_t.spice", "t\n.op\n"),))
    assert ".lib" not in deck(bare, SIZING, CONDITIONS, library, script)


def test_bad_sizing(circuit: Circuit, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="r_l"):
        deck(circuit, {"w_in": 1e-5}, CONDITIONS, tmp_path / "devices.lib.spice", script)


@pytest.mark.parametrize("card", [".control\nshell rm x\n.endc", "R2 a 0 1 `touch x`", ".ENDC"])
def test_commands_are_refused(circuit: Circuit, tmp_path: Path, card: str) -> None:
    bench = replace(circuit.testbenches[1], text=f"title\nR1 a 0 1\n{card}\n")
    with pytest.raises(UnsafeNetlistError, match=r"tb_tran\.spice:3: .*may hold no"):
        deck(replace(circuit, testbenches=(bench,)), SIZING, CONDITIONS, tmp_path / "l", script)
    with pytest.raises(UnsafeNetlistError, match=r"netlist\.spice:2: .*may hold no"):
        deck(replace(circuit, netlist=f"*\n{card}\n"), SIZING, CONDITIONS, tmp_path / "l", script)


def test_a_comment_in_the_second_testbench_runs_nothing(circuit: Circuit, tmp_path: Path) -> None:
    first, second = circuit.testbenches
    trap = tmp_path / "trap"
    comments = f"* `touch {trap}`\n* ; shell touch {trap}\n.ic"
    second = replace(second, text=second.text.replace(".ic", comments))
    changed = replace(circuit, testbenches=(first, second))
    text = deck(changed, SIZING, CONDITIONS, tmp_path / "devices.lib.spice", script)
    assert "low" in ngspice_of(text, tmp_path)
    assert not trap.exists()


def test_files_that_cannot_be_exported(circuit: Circuit, tmp_path: Path) -> None:
    (circuit.path / "parts.spice").unlink()
    with pytest.raises(CircuitError, match=r"netlist\.spice:3: cannot read 'parts\.spice'"):
        deck(circuit, SIZING, CONDITIONS, tmp_path / "l", script)
    bench = replace(circuit.testbenches[0], text='title\n.lib "x"\n')
    with pytest.raises(CircuitError, match=r"tb_ac\.spice:2: .*no file and section"):
        deck(replace(circuit, testbenches=(bench,)), SIZING, CONDITIONS, tmp_path / "l", script)
    with pytest.raises(CircuitError, match="has no testbench"):
        deck(replace(circuit, testbenches=()), SIZING, CONDITIONS, tmp_path / "l", script)


def test_session_deck_names_the_worst_corner() -> None:
    record = session.record()
    turn = record.turns[3]
    nominal = Measurement("ok", {"gbw": 1.2e7})
    slow = Measurement("ok", {"gbw": 0.9e7}, conditions=Conditions(corner="ss"))
    found = Evaluation((nominal, slow), score(session.SPECS, (nominal, slow)))
    record = replace(record, turns=(replace(turn, evaluation=found),))
    text = session_deck(record, Path("x.lib.spice"), lambda _metric: [])
    assert "* gbw = 12meg Hz, gbw >= 10meg: missed, worst 9meg at ss" in text


def test_session_deck_says_what_was_measured(tmp_path: Path) -> None:
    write_deck(session.record(), tmp_path / "x.lib.spice", lambda _metric: [], tmp_path / "d.spice")
    text = (tmp_path / "d.spice").read_text()
    assert "* Session s1, turn 4, made 2026-01-02T03:04:05+00:00 by ACS Assistant 0.1" in text
    assert "* Measured there with ngspice-39 at tt:" in text
    assert "* gbw = 12meg Hz, gbw >= 10meg: met" in text
    assert ".param w_in=50u" in text
    with pytest.raises(InputError, match="no simulated turn"):
        session_deck(replace(session.record(), turns=()), tmp_path, lambda _metric: [])
