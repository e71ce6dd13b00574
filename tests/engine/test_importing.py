"""SPICE files as people have them become circuit folders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from acs_assistant.engine.check import check_circuit
from acs_assistant.engine.importing import Imported, import_circuit
from acs_assistant.errors import CircuitError, InputError
from acs_assistant.library import load_circuit
from acs_assistant.sim import make_simulator

NETLIST = """\
* amplifier of a friend
.subckt My_Amp INP INN OUT VDD VSS
XM1 d1 INP tail VSS sky130_fd_pr__nfet_01v8 L='Lpair' W='Wpair*1' m=1
XM2 OUT INN tail VSS sky130_fd_pr__nfet_01v8 L='Lpair' W='Wpair*1' m=1
XM3 d1 d1 VDD VDD sky130_fd_pr__pfet_01v8 L='Lpair' W='Wload' m='Mload'
XM4 OUT d1 VDD VDD sky130_fd_pr__pfet_01v8 L='Lpair' W='Wload' m='Mload'
* tail current, mirrored
XM5 tail nb VSS VSS sky130_fd_pr__nfet_01v8 L=1 W='Wtail'
+ m=2
XM6 nb nb VSS VSS sky130_fd_pr__nfet_01v8 L=1 W='Wtail'
I0 VDD nb DC 'Ibias'
.ends My_Amp
"""
VARIABLES = """\
.PARAM
+ Lpair=0.5 Wpair=20 Wload=5
+ Mload=2 Wtail=5 Ibias=10u
"""
BENCH = """\
My testbench
.include ../netlists/amp.cir
.include ../variables/amp.par
.param mc_mm_switch=0
.param mc_pr_switch=0
.include ../pdk/libs.tech/ngspice/corners/ss.spice
.param vsup = 1.8
.param ratio=0.5 vcm='vsup*ratio'
.param cl=1p
V1 vdd 0 'vsup'
Vp inp 0 dc 'vcm' ac 1
Lfb out inn 1G
Cfb inn 0 1G
Xamp inp inn out vdd 0 my_amp ; the circuit
Cl out 0 'cl'
.meas ac dc_gain find vdb(out) at=10
.meas ac gbw when vdb(out)=0
.meas ac gain_lost param='dc_gain-vcm'
.control
op
ac dec 10 10 1G
plot vdb(out)
meas ac late_gain find vdb(out) at=1meg
wrdata out.txt v(out)
shell rm -rf somewhere
.endc
.end
"""


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write(
        tmp_path,
        netlists__amp_dot_cir=NETLIST,
        variables__amp_dot_par=VARIABLES,
        benches__TB_ac_dot_cir=BENCH,
    )
    return tmp_path


def take(files: Path, **options: object) -> Imported:
    return import_circuit(
        files / "netlists" / "amp.cir",
        [files / "benches" / "TB_ac.cir"],
        files / "out",
        **options,  # type: ignore[arg-type]
    )


def test_an_amplifier_with_variables_elsewhere_is_imported_and_sound(files: Path) -> None:
    simulator = make_simulator(workers=1)
    try:
        made = take(files, simulator=simulator)
        checked = check_circuit(load_circuit(str(files / "out")), simulator)
    finally:
        simulator.close()
    circuit = made.circuit
    assert made.evaluation is not None and made.evaluation.status == "ok", made.evaluation
    assert checked.problems == ()
    assert circuit.reference == {
        "lpair": 0.5e-6, "wpair": 20e-6, "wload": 5e-6, "mload": 2, "wtail": 5e-6, "ibias": 10e-6,
    }  # fmt: skip
    pair = circuit.parameter("wpair")
    assert (pair.unit, pair.min, pair.devices) == ("m", 0.42e-6, ("M1", "M2"))
    assert circuit.parameter("mload").grid == 1 and circuit.parameter("ibias").unit == "A"
    assert (circuit.conditions.supply, circuit.conditions.load) == (1.8, 1e-12)
    assert circuit.conditions.corner == "ss"
    assert {m.name for m in circuit.metrics} == {"dc_gain", "gbw", "gain_lost", "late_gain"}
    metrics = circuit.reference_metrics
    assert 25 < metrics["dc_gain"] < 60 and metrics["gbw"] > 1e6
    assert metrics["gain_lost"] == pytest.approx(metrics["dc_gain"] - 0.9, rel=1e-4)
    assert {s.metric for s in circuit.specs} >= {"dc_gain", "gbw"}


def test_the_report_says_what_became_of_each_part(files: Path) -> None:
    made = take(files)
    dropped, changed = "\n".join(made.dropped), "\n".join(made.changed)
    for word in ("mc_mm_switch", "plot vdb(out)", "wrdata", "shell rm"):
        assert word in dropped
    assert "'op' is a card now" not in dropped
    for word in ("corners/ss.spice", "ac dec 10 10 1g", "vsup is supply", "cl is load", "wpair"):
        assert word in changed
    readme = (files / "out" / "README.md").read_text()
    assert "wrdata" in readme and "Left out" in readme
    bench = (files / "out" / "tb_ac.spice").read_text()
    assert ".control" not in bench and "shell" not in bench and "../" not in bench
    assert ".ac dec 10 10 1g" in bench and '.lib "sky130.lib.spice" ss' in bench
    assert "supply=1.8" in bench and ".param vsup={supply}" in bench


def servo(made: Imported) -> list[str]:
    text = (made.folder / "tb_ac.spice").read_text()
    return [line for line in text.splitlines() if re.match(r"(?i)[rcel]\w*fb ", line)]


def test_a_huge_inductor_and_capacitor_become_a_buffered_low_pass(files: Path) -> None:
    made = take(files)
    assert servo(made) == [
        "eblfb inn_lfb_copy 0 out 0 1",
        "rlfb inn_lfb_copy inn_lfb 1meg",
        "clfb inn_lfb 0 1meg",
        "elfb inn 0 inn_lfb 0 1",
    ]
    assert "lfb and cfb are a low-pass" in "\n".join(made.changed)


@pytest.mark.parametrize(
    "bench",
    [
        BENCH.replace("Cl out", "Rin inn 0 1meg\nCl out"),
        BENCH.replace("Lfb out inn 1G", "Lfb out inn 1u"),
        BENCH.replace("plot vdb(out)", "meas ac i_fb find i(lfb) at=10"),
        BENCH.replace("inp inn out vdd 0 my_amp", "inp 0 inn vdd 0 my_amp"),
    ],
    ids=["a resistor loads the node", "an ordinary inductor", "its current is read", "an output"],
)
def test_other_inductors_stay(files: Path, bench: str) -> None:
    write(files, benches__TB_ac_dot_cir=bench)
    made = take(files)
    assert [line[:3] for line in servo(made)] == ["lfb", "cfb"]


def test_functions_are_written_out_and_conditions_decided(files: Path) -> None:
    text = NETLIST.replace("* tail", ".func wide(w,k) {w*k}\n* tail")
    text = text.replace("W='Wpair*1'", "W='wide(Wpair,1)'")
    bench = BENCH.replace(
        "Cl out 0 'cl'",
        ".param heavy=1\n.if (heavy)\nCl out 0 'cl'\n.else\nRl out 0 1k\n.if (nix)\nRn a 0 1\n"
        ".endif\n.endif\n.if (heavy > 1)\nRm a 0 1\n.elseif (heavy)\n.param extra=1\n.endif",
    )
    write(files, netlists__amp_dot_cir=text, benches__TB_ac_dot_cir=bench)
    made = take(files)
    assert made.circuit.reference["wpair"] == 20e-6
    kept = (made.folder / "tb_ac.spice").read_text()
    assert "cl out 0 {cl}" in kept and ".param extra={1}" in kept
    assert ".if" not in kept and "rl out" not in kept and "rm a" not in kept
    assert "wide" not in made.circuit.netlist
    assert "'.if (heavy)' is true" in "\n".join(made.changed)
    assert "the function wide is written out" in "\n".join(made.changed)
    assert "rl out 0 1k (in a branch of .if that is not taken)" in "\n".join(made.dropped)


def test_conditions_inside_the_circuit_stay_and_read_metres(files: Path) -> None:
    choice = ".if (sel==1 && wpair > 10)\nCx OUT 0 1p\n.else\nCx OUT 0 2p\n.endif\nI0 VDD"
    text = NETLIST.replace("I0 VDD", choice).replace("VDD VSS\n", "VDD VSS sel=1\n", 1)
    write(files, netlists__amp_dot_cir=text)
    netlist = take(files).circuit.netlist
    assert ".param sel={1}\n" in netlist
    assert ".if (sel==1 && (wpair/1u) > 10)\ncx out 0 1p\n.else\n" in netlist


def test_a_condition_that_cannot_be_decided_names_its_line(files: Path) -> None:
    write(files, benches__TB_ac_dot_cir=BENCH.replace("Cl out", ".if (nix)\n.endif\nCl out"))
    with pytest.raises(CircuitError, match=r"TB_ac.cir:\d+: the condition '\(nix\)'"):
        take(files)


def test_a_netlist_with_numbers_gets_parameters_for_matched_devices(files: Path) -> None:
    text = NETLIST.replace("'Lpair'", "0.5").replace("'Wpair*1'", "20").replace("'Wload'", "5")
    text = text.replace("'Mload'", "2").replace("'Wtail'", "5").replace("'Ibias'", "10u")
    write(files, netlists__amp_dot_cir=text)
    circuit = take(files).circuit
    by_name = {p.name: p for p in circuit.parameters}
    assert by_name["w_m1"].devices == ("M1", "M2") and by_name["w_m3"].devices == ("M3", "M4")
    assert by_name["w_m5"].devices == ("M5", "M6") and by_name["i0"].unit == "A"
    assert circuit.reference["w_m1"] == 20e-6 and circuit.reference["l_m5"] == 1e-6
    assert "w={(w_m1/1u)}" in circuit.netlist


def test_sizes_passed_to_the_instance_are_the_reference(files: Path) -> None:
    text = NETLIST.replace(
        "VDD VSS\n", "VDD VSS Wpair=1 Lpair=1 Wload=1 Mload=1 Wtail=1 Ibias=1u\n", 1
    )
    bench = BENCH.replace("vdd 0 my_amp ;", "vdd 0 my_amp Wpair=30 Ibias={ib} ;")
    bench = bench.replace(".param cl=1p", ".param cl=1p ib=20u")
    write(files, netlists__amp_dot_cir=text, benches__TB_ac_dot_cir=bench)
    reference = take(files).circuit.reference
    assert reference["wpair"] == 30e-6 and reference["ibias"] == 20e-6
    assert reference["wload"] == 1e-6


def test_altered_states_become_testbenches_of_their_own(files: Path) -> None:
    commands = """ac dec 10 10 1G
meas ac gain_light find vdb(out) at=10
let lost = gain_light - dc_gain
alter Cl = 5p
ac dec 10 10 1G
meas ac gain_heavy find vdb(out) at=10
foreach c 1p 2p
alter cl $c
meas ac gain_loop find vdb(out) at=10
end
alter @m1[w]=3
meas ac gain_lost_track find vdb(out) at=10
"""
    write(files, benches__TB_ac_dot_cir=BENCH.replace("ac dec 10 10 1G\n", commands))
    made = take(files)
    where = {metric.name: metric.testbench for metric in made.circuit.metrics}
    assert where["gain_light"] == where["lost"] == "ac" and where["gain_heavy"] == "ac_2"
    assert "gain_loop" not in where and "gain_lost_track" not in where
    assert "late_gain" not in where, "it was measured after a change that is lost"
    assert "cl out 0 5p" in (files / "out" / "tb_ac_2.spice").read_text().replace("{load}", "5p")
    dropped = "\n".join(made.dropped)
    assert "loops are not supported" in dropped and "alter @m1[w]=3" in dropped


def test_a_file_that_is_elsewhere_can_be_given(files: Path) -> None:
    (files / "variables" / "amp.par").rename(files / "amp.par")
    with pytest.raises(CircuitError, match=r"TB_ac.cir:3: includes '../variables/amp.par'"):
        take(files)
    assert not (files / "out").exists(), "nothing half-made is left"
    assert take(files, include=[files / "amp.par"]).circuit.reference["wpair"] == 20e-6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"netlists__amp_dot_cir": "* nothing\nR1 a b 1k\n"}, "no .subckt"),
        ({"netlists__amp_dot_cir": NETLIST.replace(".ends My_Amp", "")}, "amp.cir:2: .*not closed"),
        ({"benches__TB_ac_dot_cir": BENCH.replace("my_amp", "other vdd")}, "does not instantiate"),
        (
            {"benches__TB_ac_dot_cir": BENCH.replace(".meas", "*").replace("meas", "*")},
            "has a .meas line",
        ),
        (
            {"benches__TB_ac_dot_cir": BENCH.replace("ac dec", "* ").replace("\nop\n", "\n")},
            "analysis",
        ),
    ],
)
def test_what_makes_no_circuit_is_refused(files: Path, change: dict[str, str], words: str) -> None:
    write(files, **change)
    with pytest.raises(InputError, match=words):
        take(files)


def test_a_folder_that_holds_something_is_left_alone(files: Path) -> None:
    write(files, out__mine_dot_txt="mine")
    with pytest.raises(InputError, match="holds something"):
        take(files)
    assert (files / "out" / "mine.txt").read_text() == "mine"


def test_a_loop_that_is_closed_at_dc_and_driven_through_a_capacitor_keeps_its_operating_point(
    files: Path,
) -> None:
    driven = BENCH.replace("Vp inp 0 dc 'vcm' ac 1", "Vp inp 0 'vcm'\nVsig sig 0 dc 'vcm' ac 1")
    bench = driven.replace("Cfb inn 0 1G", "Cfb inn sig 1G")
    simulator = make_simulator(workers=1)
    try:
        plain = take(files, simulator=simulator).circuit.reference_metrics
        (files / "out").rename(files / "plain")
        write(files, benches__TB_ac_dot_cir=bench)
        made = take(files, simulator=simulator)
    finally:
        simulator.close()
    assert "lfb and cfb are a low-pass" in "\n".join(made.changed)
    for name in ("dc_gain", "gbw"):
        assert made.circuit.reference_metrics[name] == pytest.approx(plain[name], rel=1e-2)


def test_vectors_of_a_control_block_and_phases_in_degrees_are_measured(files: Path) -> None:
    commands = """op
let p_supply = -i(v1)*1.8
let i_total = p_supply/1.8
ac dec 10 10 1G
let gain_db = db(v(out)/v(inp))
let phase_deg = 180/pi*cph(v(out))
let low = gain_db[0] - 3
meas ac ugf when gain_db=0
meas ac ugf_phase find phase_deg when gain_db=0
meas ac f_3db when gain_db=low
set units=degrees
meas ac vp_deg find vp(out) when vdb(out)=0
print ugf_phase
quit
"""
    text = re.sub(r"op\nac dec 10 10 1G\n.*?(?=\.endc)", commands, BENCH, flags=re.DOTALL)
    write(files, benches__TB_ac_dot_cir=text)
    simulator = make_simulator(workers=1)
    try:
        made = take(files, simulator=simulator)
        checked = check_circuit(load_circuit(str(files / "out")), simulator)
    finally:
        simulator.close()
    measured = made.circuit.reference_metrics
    assert checked.problems == ()
    assert measured["p_supply"] == pytest.approx(1.8 * measured["i_total"], rel=1e-4) != 0
    assert measured["ugf"] == pytest.approx(measured["gbw"], rel=1e-4)
    assert abs(measured["ugf_phase"]) > 20
    assert abs(measured["vp_deg"]) == pytest.approx(abs(measured["ugf_phase"]), rel=1e-3)
    assert 0 < measured["f_3db"] < measured["ugf"]
    assert "gain_db" not in measured and "phase_deg" not in measured


def test_a_second_sweep_of_a_kind_is_a_testbench_with_its_own_measurements(files: Path) -> None:
    commands = """dc temp -40 120 40
meas dc at_0 find v(out) at=0
dc v1 1.6 2 0.1
meas dc line find v(out) at=1.8
alter @vp[acmag] = 2
ac dec 10 10 1G
meas ac doubled find vdb(out) at=10
reset
ac dec 10 10 1G
meas ac again find vdb(out) at=10
"""
    write(files, benches__TB_ac_dot_cir=BENCH.replace("op\nac dec 10 10 1G\n", commands))
    where = {metric.name: metric.testbench for metric in take(files).circuit.metrics}
    assert where["at_0"] == "ac" and where["line"] == "ac_2"
    assert where["doubled"] == "ac_3" and where["again"] == "ac_4"
    assert "ac 2" in (files / "out" / "tb_ac_3.spice").read_text()
    assert "ac 1" in (files / "out" / "tb_ac_4.spice").read_text()
