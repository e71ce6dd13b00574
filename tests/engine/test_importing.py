"""SPICE files as people have them become circuit folders."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path

import pytest

from acs_assistant.engine.check import CircuitCheck, check_circuit
from acs_assistant.engine.importing import Imported, import_circuit
from acs_assistant.errors import AcsError, CircuitError, InputError
from acs_assistant.library import load_circuit
from acs_assistant.sim import make_simulator
from tests.sim.mangling import mangle

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


def taken_and_checked(files: Path) -> tuple[Imported, CircuitCheck]:
    """Imported with its first sizing simulated, and what `circuits check` says of the folder."""
    simulator = make_simulator(workers=1)
    try:
        made = take(files, simulator=simulator)
        return made, check_circuit(load_circuit(str(files / "out")), simulator)
    finally:
        simulator.close()


def test_an_amplifier_with_variables_elsewhere_is_imported_and_sound(files: Path) -> None:
    made, checked = taken_and_checked(files)
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
    assert {m.name for m in circuit.metrics} == {
        "dc_gain", "gbw", "gain_lost", "late_gain", "phase_margin", "power", "area",
    }  # fmt: skip
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
            {
                "netlists__amp_dot_cir": NETLIST.replace("__pfet_01v8", "__x").replace(
                    "sky130_fd_pr__x", "p_18"
                )
            },
            "amp.cir:5: there is no model 'p_18'",
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
    made, checked = taken_and_checked(files)
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


FLAT = """\
two stages on one sheet
.include "/opt/somebody/models/level1.txt"
.param wp=20u lp=1u mp=2 wn=10u ln=1u ib=20u
.param cc=2p
.param cload=5p
Mn1 d1 inn tail 0 nmos w=wn l=ln m=1
Mn2 d2 inp tail 0 nmos w=wn l=ln m=1
Mp1 d1 d1 vdd vdd pmos w=wp l=lp m=mp
Mp2 d2 d1 vdd vdd pmos w=wp l=lp m=mp
Mn3 tail nb 0 0 nmos w=wn l=ln m=2
Mn4 nb nb 0 0 nmos w=wn l=ln m=2
Mp3 out d2 vdd vdd pmos w=wp l=lp m='2*mp'
Mn5 out nb 0 0 nmos w=wn l=ln m=2
Cc d2 z cc
Rz z out 1k
Ib vdd nb ib
Vin in 0 dc=0 ac=1
Ep inp cm in 0 0.5
En inn cm in 0 -0.5
Vcm cm 0 dc=0.9
Vdd vdd 0 dc=1.8
CL out 0 cload
.ac dec 10 1 10G
.control
run
wrdata ac.csv v(out)
op
wrdata dc.csv i(vdd)
.endc
.end
"""
MODELS = """\
* textbook
.model nmos nmos level=1 vto=0.45 kp=200u lambda=0.05 tox=4n cgso=0.3n cgdo=0.3n
.model pmos pmos level=1 vto=-0.45 kp=80u lambda=0.08 tox=4n cgso=0.3n cgdo=0.3n
"""


def test_a_circuit_that_stands_in_its_testbench_is_taken_out_of_it(tmp_path: Path) -> None:
    write(tmp_path, amp_dot_cir=FLAT, level1_dot_txt=MODELS)
    deck = tmp_path / "amp.cir"
    simulator = make_simulator(workers=1)
    try:
        made = import_circuit(
            deck, [deck], tmp_path / "out", include=[tmp_path / "level1.txt"], simulator=simulator
        )
        checked = check_circuit(load_circuit(str(tmp_path / "out")), simulator)
    finally:
        simulator.close()
    circuit = made.circuit
    assert checked.problems == ()
    assert set(circuit.reference) == {"wp", "lp", "mp", "wn", "ln", "cc", "ib", "rz"} - {"rz"}
    assert circuit.parameter("wp").devices == ("MP1", "MP2", "MP3")
    assert circuit.parameter("ln").min == 1e-6 and circuit.pdk == "none"
    assert circuit.conditions.supply == 1.8 and circuit.conditions.load == 5e-12
    bench = (tmp_path / "out" / "tb_amp.spice").read_text()
    assert "mn1" not in bench and "cl out 0 {cload}" in bench and "vcm cm 0" in bench
    measures = {m.name: m.measure for m in circuit.metrics}
    assert measures == {
        "dc_gain": "dc_gain", "gbw": "unity_gain_frequency", "phase_margin": "phase_margin",
        "power": "power", "area": "area",
    }  # fmt: skip
    values = circuit.reference_metrics
    assert values["dc_gain"] > 40 and values["gbw"] > 1e6 and 20 < values["phase_margin"] < 120
    assert checked.evaluation is not None and len(checked.evaluation.nominal.devices) == 8


SHEET = """\
** sch_path: /opt/somebody/amp.sch
**.subckt amp vdd vss inp inn out ibias
*.iopin vdd
x1 vdd inp inn n1 n2 tail vss pair
XM5 tail ibias vss vss nfet_03v3 L=1u W=5u nf=1 ad='int((nf+1)/2) * W/nf * 0.18u' m=2
XM6 ibias ibias vss vss nfet_03v3 L=1u W=5u nf=1 ad=0.9p as=0.9p pd=10.36u nrd=0.036 m=1
XM9 vss vss vss vss nfet_03v3 L=1u W=5u nf=1 m=4
XM7 out n2 vdd vdd pfet_03v3 L=0.5u W=40u nf=1 m=1
XM8 out ibias vss vss nfet_03v3 L=1u W=5u nf=1 m=8
XM10 out n2 vdd vdd pfet_03v3 L=0.5u W=12u nf=4 m=1
XCC n2 out cap_mim_2f0_m4m5_noshield c_width=20u c_length=20u m=1
**.ends

* expanding   symbol:  pair.sym
.subckt pair vdd inp inn n1 n2 tail vss
XM1 n1 inn tail vss nfet_03v3 L=0.5u W=10u nf=1 m=1
XM2 n2 inp tail vss nfet_03v3 L=0.5u W=10u nf=1 m=1
XM3 n1 n1 vdd vdd pfet_03v3 L=0.5u W=5u nf=1 m=1
XM4 n2 n1 vdd vdd pfet_03v3 L=0.5u W=5u nf=1 m=1
.ends
.end
"""
SHEET_BENCH = """\
** sch_path: /opt/somebody/tb_amp.sch
**.subckt tb_amp
x1 vdd GND vip vin vout ibias amp
V1 vdd GND 3.3
V2 cm GND 1.5
Vd d GND ac 1
Ep vip cm d GND 0.5
En vin cm d GND -0.5
I0 vdd ibias 10u
CL vout GND 2p m=1
**** begin user architecture code
.include $::180MCU_MODELS/design.ngspice
.lib /foss/pdks/gf180mcuD/libs.tech/ngspice/sm141064.ngspice ss
.include /foss/designs/amp/netlist/amp.spice
.option wnflag=1
.control
ac dec 20 10 1G
let mag = abs(v(vout))
let margin = phase(v(vout))*180/pi + 180
meas ac ugf when mag=1 fall=1
meas ac pm find margin when mag=1
tran 1n 10n
write tb_amp.raw
quit 0
.endc
**** end user architecture code
**.ends
.GLOBAL GND
.end
"""


def test_a_sheet_of_a_schematic_editor_on_another_process_is_imported(tmp_path: Path) -> None:
    write(tmp_path, amp_dot_spice=SHEET, tb_amp_dot_spice=SHEET_BENCH)
    simulator = make_simulator(workers=1)
    try:
        made = import_circuit(
            tmp_path / "amp.spice",
            [tmp_path / "tb_amp.spice"],
            tmp_path / "out",
            simulator=simulator,
        )
        checked = check_circuit(load_circuit(str(tmp_path / "out")), simulator)
    finally:
        simulator.close()
    circuit = made.circuit
    assert checked.problems == ()
    assert (circuit.name, circuit.pdk, circuit.conditions.corner) == ("amp", "gf180mcu", "ss")
    devices = {p.name: set(p.devices) for p in circuit.parameters}
    assert devices["w_m1_x1"] == {"M1_X1", "M2_X1"} and devices["w_m3_x1"] == {"M3_X1", "M4_X1"}
    assert devices["w_m5"] == {"M5", "M6", "M8"}, "one gate; M7 shares only the supply"
    assert (
        circuit.parameter("w_m10").min == 4 * 0.22e-6 and circuit.parameter("w_m5").min == 0.22e-6
    )
    assert all(s.range is not None and s.range[0] < s.target < s.range[1] for s in circuit.specs)
    assert devices["m_m5"] == {"M5"} and devices["m_m8"] == {"M8"}
    assert "m_m6" not in devices and not any("M9" in group for group in devices.values())
    assert devices["i_ibias"] == {"I0"} and circuit.reference["i_ibias"] == 10e-6
    assert circuit.parameter("l_m1_x1").min == 0.28e-6
    assert "ad={0.9p*w_m5/5u}" in circuit.netlist and "nrd={0.036*5u/w_m5}" in circuit.netlist
    assert "cap_mim_2f0ff" in circuit.netlist
    measured = circuit.reference_metrics
    assert measured["ugf"] > 1e6 and 10 < measured["pm"] < 120
    assert measured["power"] == pytest.approx(3.3 * 110e-6, rel=0.2)
    assert {s.metric for s in circuit.specs} >= {"ugf", "pm", "power"}


def test_sizes_below_the_models_begin_at_the_rule(files: Path) -> None:
    variables = VARIABLES.replace("Wtail=5", "Wtail=0.2")
    write(files, variables__amp_dot_par=variables)
    made = take(files)
    assert made.circuit.reference["wtail"] == 0.42e-6
    assert "wtail = 200n is less than the 420n" in "\n".join(made.changed)


def test_figures_that_serve_others_are_no_metrics_and_units_follow_the_formula(files: Path) -> None:
    bench = BENCH.replace(".control", ".meas ac level find vdb(out) at=10\n"
        ".meas ac cmrr find vdb(out) at=100meg\n"
        ".meas ac up when vdb(out)=level\n"
        ".meas ac gbw_mhz param='gbw*1e-6'\n.control")  # fmt: skip
    write(files, benches__TB_ac_dot_cir=bench)
    simulator = make_simulator(workers=1)
    try:
        made = take(files, simulator=simulator)
    finally:
        simulator.close()
    metrics = {m.name: m for m in made.circuit.metrics}
    assert "level" not in metrics and "other measurements read it" in "\n".join(made.dropped)
    assert metrics["gbw_mhz"].unit == "MHz" and metrics["gbw"].unit == "Hz"
    assert "vdb(out)=0" in metrics["gbw"].description
    value = made.circuit.reference_metrics["cmrr"]
    assert metrics["cmrr"].better == ("higher" if value > 0 else "lower")
    assert any(s.metric == "cmrr" for s in made.circuit.specs)


def test_an_include_that_leads_nowhere_matters_only_when_something_is_missing(files: Path) -> None:
    bench = ".include ../elsewhere/amp_copy.cir\n.include ../netlists/amp.cir"
    write(files, benches__TB_ac_dot_cir=BENCH.replace(".include ../netlists/amp.cir", bench))
    simulator = make_simulator(workers=1)
    try:
        made = take(files, simulator=simulator)
        assert made.circuit.reference["wpair"] == 20e-6
        assert "amp_copy.cir (the file is not there or far away" in "\n".join(made.dropped)
        (files / "variables" / "amp.par").unlink()
        (files / "out").rename(files / "first")
        with pytest.raises(CircuitError, match=r"TB_ac.cir:\d+: includes '\.\./"):
            take(files, simulator=simulator)
    finally:
        simulator.close()
    assert not (files / "out").exists()


def test_figures_that_the_first_sizing_does_not_reach_are_kept(files: Path) -> None:
    bench = BENCH.replace("gbw when vdb(out)=0", "gbw when vdb(out)=90")
    bench = bench.replace(".control", ".meas ac gain_x find vdb(nowhere) at=10\n.control")
    write(files, benches__TB_ac_dot_cir=bench)
    made, checked = taken_and_checked(files)
    assert checked.problems == ()
    names = {metric.name for metric in made.circuit.metrics}
    assert "gbw" in names and "gbw" not in made.circuit.reference_metrics
    assert "gain_x" not in names and "metric gain_x (it could not be measured)" in made.dropped


def test_an_include_far_from_the_files_given_is_not_read(files: Path, tmp_path: Path) -> None:
    """A stranger's netlist may not copy a file of this machine into the new folder."""
    home = tmp_path / "project"
    home.mkdir()
    for name in ("netlists", "variables", "benches"):
        (files / name).rename(home / name)
    secret = tmp_path / "secret.txt"
    secret.write_text("password\n")
    for include in (secret, "../../secret.txt"):
        write(home, benches__TB_ac_dot_cir=BENCH.replace("My testbench\n", f"t\n.inc {include}\n"))
        with pytest.raises(CircuitError, match="not among the files given") as caught:
            take(home)
        assert "password" not in caught.value.message
    (home / "netlists" / "link.inc").symlink_to(secret)
    write(home, netlists__amp_dot_cir=".include link.inc\n" + NETLIST)
    write(home, benches__TB_ac_dot_cir=BENCH)
    with pytest.raises(CircuitError, match="not among the files given"):
        take(home)


def test_subcircuits_that_hold_themselves_or_never_end_are_refused(files: Path) -> None:
    own = NETLIST.replace("I0 VDD", "XS INP INN OUT VDD VSS my_amp\nI0 VDD")
    write(files, netlists__amp_dot_cir=own)
    with pytest.raises(CircuitError, match=r"amp\.cir:\d+: the subcircuit 'my_amp' holds itself"):
        take(files)
    two = NETLIST.replace("I0 VDD", "XS INP OUT one\nI0 VDD")
    two += ".subckt one a b\nx1 a b two\n.ends\n.subckt two a b\nx1 a b one\n.ends\n"
    write(files, netlists__amp_dot_cir=two)
    with pytest.raises(CircuitError, match=r"the subcircuit '(one|two)' holds itself"):
        take(files)
    bomb = NETLIST.replace("I0 VDD", "XS INP OUT s0\nI0 VDD")
    for n in range(12):
        instances = "".join(f"x{k} a b s{n + 1}\n" for k in range(10))
        bomb += f".subckt s{n} a b\n{instances}.ends\n"
    bomb += ".subckt s12 a b\nr1 a b 1k\n.ends\n"
    write(files, netlists__amp_dot_cir=bomb)
    with pytest.raises(CircuitError, match="more than 20000 elements"):
        take(files)


def test_mangled_files_are_imported_or_refused(files: Path) -> None:
    generator = random.Random(3)
    texts = {
        "netlists__amp_dot_cir": NETLIST,
        "variables__amp_dot_par": VARIABLES,
        "benches__TB_ac_dot_cir": BENCH,
    }
    ends = set()
    for _ in range(150):
        part = generator.choice(sorted(texts))
        write(files, **{**texts, part: mangle(texts[part], generator)})
        shutil.rmtree(files / "out", ignore_errors=True)
        try:
            take(files)
            ends.add("imported")
        except AcsError as error:
            ends.add("refused")
            assert error.message
    assert ends == {"imported", "refused"}
