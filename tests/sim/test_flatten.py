"""Flat decks against plain ngspice: scoping, multipliers, sources, and expressions."""

from __future__ import annotations

import math
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acs_assistant.domain import Metric
from acs_assistant.errors import CircuitError
from acs_assistant.sim.cells import compile_cell
from acs_assistant.sim.expressions import ExpressionError, compile_expression, namespace
from acs_assistant.sim.flatten import DeckError, Flattener
from acs_assistant.sim.models import EmptyLibrary, Library, build_index
from acs_assistant.sim.pool import Pool
from acs_assistant.sim.port import SimulationRequest
from acs_assistant.sim.spice import logical_lines, parse, split_parameters, split_words
from tests.sim.circuits import circuit, metric

SCOPES = """* every output is a resistance, seen by 1 V
.param w=5 q=7 gain=2
.subckt s a w=1 l=2 k=1
R1 a 0 {k}
.ends
.subckt p a mult=1
.param ll = 1 ww = 1 ad = 0
R1 a 0 {ad}
.ends
.subckt dyn a z=1
R1 a 0 {hidden*z}
.ends
.subckt outer a hidden=4
X9 a dyn z=2
.ends
.subckt nested a r=3
.subckt inner b
R1 b 0 {r*2}
.ends
X1 a inner
.ends
.subckt amp in out
Vm in m 0
F1 out 0 Vm {gain}
H1 h 0 Vm 3
R1 m 0 1
R2 h 0 1
E1 e 0 in m {gain}
R3 e 0 1
B1 bb 0 v=v(in)*gain+i(Vm)
R4 bb 0 1
.ends
V1 a1 0 1
X1 a1 s w=3 k='w*10'
V2 a2 0 1
X2 a2 s k='w*10' w=3
V3 a3 0 1
X3 a3 s k='l*10'
V4 a4 0 1
X4 a4 s k={w*10}
V5 a5 0 1
X5 a5 p ll=3 ww=2 ad='int((ll+1)/2)*ww'
V6 a6 0 1
X6 a6 outer
V7 a7 0 1
X7 a7 s w={w*2} k={w}
V8 a8 0 1
X8 a8 p ad='ww*9' ww=q
V9 a9 0 1
X9 a9 s k=12 m=3
V10 a10 0 1
X10 a10 nested r=5
V11 a11 0 1
X11 a11 o amp
Ro o 0 1
V12 a12 0 dc {q/7} ac 1 pulse(0 {q} 0 1n 1n 1u 2u)
R12 a12 0 q
D13 a13 0 dd area=2
V13 a13 0 0.6
.model dd d is=1e-14
Q14 c14 b14 0 qq
.model qq npn (is=1e-15 bf={w*20})
V14 c14 0 1
I14 0 b14 1u
M15 d15 d15 0 0 nn w=q l={w}
.model nn nmos level=1 vto=0.5 kp=1e-4
V15 d15 0 1
.subckt own a k=2 m=1
R1 a 0 {k} m={m}
.ends
.subckt late a k=1 n=2
R1 a 0 {k}
.ends
V16 a16 0 1
X16 a16 own k=6 m=3
V17 a17 0 1
X17 a17 late k='int(n/2)*3' n=4
.op
.end
"""
NAMES = [f"v{i}" for i in range(1, 18)]


def agrees_with_ngspice(pool: Pool, folder: Path, text: str, metrics: list[Metric]) -> None:
    """Currents of sources (named as the metric) and voltages of nodes, against plain ngspice."""
    made = circuit(folder, {"main": text}, metrics)
    ours = pool.simulate(SimulationRequest(made, {}, made.conditions))
    assert ours.status == "ok", ours.error
    prints = "\n".join(
        f"print -i({m.name})"
        if m.measure == "supply_current"
        else f"print v({m.arguments['node']})"
        for m in metrics
    )
    commands = f".control\nset numdgt=12\nop\n{prints}\nquit\n.endc\n.end\n"
    file = folder / "plain.spice"
    file.write_text(text.replace(".end\n", commands))
    done = subprocess.run(
        ["ngspice", "-b", str(file)], capture_output=True, text=True, timeout=30, cwd=folder
    )
    printed = [float(v) for v in re.findall(r"^\S+ = (\S+)$", done.stdout, re.MULTILINE)]
    assert len(printed) == len(metrics), done.stdout + done.stderr
    for m, expected in zip(metrics, printed, strict=True):
        assert ours.metrics[m.name] == pytest.approx(expected, rel=1e-9), m.name


def test_flattening_agrees_with_ngspice(pool: Pool, tmp_path: Path) -> None:
    metrics = [metric(name, "supply_current", source=name) for name in NAMES]
    metrics += [metric("bb", "op_voltage", node="x11.bb"), metric("o", "op_voltage", node="o")]
    agrees_with_ngspice(pool, tmp_path, SCOPES, metrics)


CHOICES = """* functions and conditions
.param a=1 b=2
.func f(x,y) {x*2+y}
.func g(x)='f(x,1)+b'
.func none() {7}
.param q=f(3,1) deep='g(f(1,a))'
V1 n1 0 {f(1,2)}
R1 n1 0 {q}
V2 n2 0 {deep}
R2 n2 0 1
.if (a==1 && b > 1)
Ra n2 0 1
.else
Rb n2 0 3
.endif
.subckt s a r=1
.func h(x) {x*r}
.func f(x) {x}
.if (r > 5)
Rx a 0 {h(2)}
.elseif(r>3)
Rx a 0 {h(3)}
.else
.if (r>2)
Rx a 0 {f(100)}
.endif
Ry a 0 {h(1)}
.endif
.ends
V3 n3 0 1
X3 n3 s r=6
V4 n4 0 1
X4 n4 s r=4
V5 n5 0 1
X5 n5 s r=2.5
V6 n6 0 1
X6 n6 s
V7 n7 0 1
B7 out 0 v=f(v(n7),b)
R7 out 0 1
V8 n8 0 1
M8 n8 n8 0 0 nm w=1u l=1u
.if (b==1)
.model nm nmos level=1 kp=1e-3
.elseif (b==2)
.model nm nmos level=1 kp=2e-3
.else
.model nm nmos level=1 kp=3e-3
.endif
.op
.end
"""


def test_functions_and_conditions_agree_with_ngspice(pool: Pool, tmp_path: Path) -> None:
    metrics = [metric(f"v{i}", "supply_current", source=f"v{i}") for i in range(1, 9)]
    metrics.append(metric("b", "op_voltage", node="out"))
    agrees_with_ngspice(pool, tmp_path, CHOICES, metrics)


def test_conditions_see_the_proposed_sizing() -> None:
    text = ".param w=1\n.if (w > 5)\nR1 a 0 1\n.else\nR1 a 0 2\n.endif\n"
    assert flat(text) == ["r1 a 0 2"]
    assert flat(text, w=6.0) == ["r1 a 0 1"]


def test_functions_and_conditions_of_device_models_are_kept(tmp_path: Path) -> None:
    library = tmp_path / "pdk.lib"
    library.write_text(
        ".lib tt\n.func twice(x) {2*x}\n.param fast=0\n.subckt res a b w=1\n"
        ".if (w > 2)\nR1 a b {twice(w)}\n.else\nD1 a b dm\n.if (fast)\n.model dm d is=5\n"
        ".else\n.model dm d is=6\n.endif\n.endif\n.ends\n.endl\n"
    )
    models = Library(build_index(library, "tt", tmp_path / "cache"))
    netlist = parse(logical_lines("X1 n 0 res w=4\nX2 n 0 res", "t"), lambda line: [])
    made = Flattener(netlist.top, netlist.globals).flatten({}, models)
    assert made.lines == ["r.x1.r1 n 0 8.0", "d.x2.d1 n 0 mod1"]
    assert list(made.models) == ["d is=6"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (".if (1)\nR1 a 0 1", r"t\.spice:1: '\.if' is not closed"),
        ("R1 a 0 1\n.endif", r"t\.spice:2: '\.endif' without '\.if'"),
        (".if\n.endif", r"t\.spice:1: '\.if' needs a condition"),
        (".if (1)\n.param a=2\n.endif", r"t\.spice:2: '\.param' inside '\.if'"),
        (".func f {x}", r"t\.spice:1: a \.func line is written"),
        (".func f(x) {x}\nR1 a 0 {f(1,2)}", r"t\.spice:2: 'f' takes 1 arguments, not 2"),
        (".func f(x) {f(x)}\nR1 a 0 {f(1)}", r"t\.spice:2: .*calls itself without end"),
        (
            "\n".join(f".func f{i}(x) {{f{i + 1}(x)+f{i + 1}(x)}}" for i in range(25))
            + "\n.func f25(x) {x}\nR1 a 0 {f0(1)}",
            "makes too long an expression",
        ),
        (".func f(x) {x}\nR1 a 0 {f(1}", "is not closed"),
    ],
)
def test_broken_functions_and_conditions_name_their_line(text: str, words: str) -> None:
    with pytest.raises(CircuitError, match=words):
        flat(text)


def test_a_condition_that_cannot_be_evaluated_is_a_failure_with_a_line() -> None:
    with pytest.raises(DeckError, match=r"t\.spice:2: \.if: undefined parameter 'nix'"):
        flat(".if (nix)\nR1 a 0 1\n.endif")


def test_a_library_of_the_circuits_own(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "my.lib").write_text(
        ".lib slow\n.param r=3k\n.endl\n.lib fast\n.param r=1k\n.endl fast\n"
    )
    for section, value in (("slow", 0.25), ("fast", 0.5)):
        bench = (
            f'* own\n.lib "my.lib" {section}\nV1 in 0 1\nR1 in out {{r}}\nR2 out 0 1k\n.op\n.end\n'
        )
        made = circuit(tmp_path, {"main": bench}, [metric("v", "op_voltage", node="out")])
        result = pool.simulate(SimulationRequest(made, {}, made.conditions))
        assert result.status == "ok", result.error
        assert result.metrics["v"] == pytest.approx(value)


def flat(text: str, **values: float) -> list[str]:
    netlist = parse(logical_lines(text, "t.spice"), lambda line: [])
    return Flattener(netlist.top, netlist.globals).flatten(values, EmptyLibrary()).lines


def test_names_are_those_of_ngspice() -> None:
    lines = flat(
        ".subckt b x y\nR1 x mid 1\nR2 mid y 1\n.ends\n.subckt a x\nXb x 0 b\n.ends\nXa in a"
    )
    assert lines == ["r.xa.xb.r1 in xa.xb.mid 1", "r.xa.xb.r2 xa.xb.mid 0 1"]


def test_values_replace_the_testbench_and_the_defaults_of_the_netlist() -> None:
    text = ".param r=1 twice={2*r}\n.subckt a x r=5\nR1 x 0 {r}\n.ends\nXa in a\nR2 in 0 {twice}"
    assert flat(text) == ["r.xa.r1 in 0 5.0", "r2 in 0 2.0"]
    assert flat(text, r=7.0) == ["r.xa.r1 in 0 7.0", "r2 in 0 14.0"]


BINS = (
    "M1 d d 0 0 n w=5u l={l}\n.model n.1 nmos vto=1 lmin=1u lmax=2u wmin=1u wmax=9u\n"
    ".model n.2 nmos vto=2 lmin=2u lmax=3u wmin=1u wmax=9u"
)


@pytest.mark.parametrize(
    ("length", "first", "last"),
    [(1.5e-6, 1, 1), (1.998e-6, 1, 1), (1.9995e-6, 1, 2), (2e-6, 1, 2), (2.0005e-6, 1, 2),
     (2.002e-6, 2, 2), (3e-6, 2, 2), (3.0005e-6, 2, 2)],
)  # fmt: skip
def test_a_transistor_on_the_edge_of_two_bins(length: float, first: int, last: int) -> None:
    """Measured with ngspice 39 (the first card wins) and 44.2, 46 (the last card wins)."""
    netlist = parse(logical_lines(BINS, "t.spice"), lambda line: [])
    flattener = Flattener(netlist.top, netlist.globals)
    for chosen, last_bin in ((first, False), (last, True)):
        made = flattener.flatten({"l": length}, EmptyLibrary(), last_bin=last_bin)
        assert list(made.models) == [f"nmos vto={chosen}"]


def test_a_transistor_beyond_every_bin() -> None:
    with pytest.raises(DeckError, match=r"no model of 'n' for W = 5 um, L = 3\.002 um"):
        flat(BINS, l=3.002e-6)


def test_words_and_parameters() -> None:
    line = logical_lines("x", "f")[0]
    assert split_words("m1 d g s b nch w = {a + b} l='c d' ad=max(1, 2)") == [
        "m1", "d", "g", "s", "b", "nch", "w={a + b}", "l='c d'", "ad=max(1, 2)",
    ]  # fmt: skip
    assert split_parameters("a=1 b = {x + 1} c='y' d = {1} + k*agauss(0, 1, 1) e=2*3", line) == {
        "a": "1", "b": "{x + 1}", "c": "'y'", "d": "{1} + k*agauss(0, 1, 1)", "e": "2*3",
    }  # fmt: skip


def test_continuations_comments_and_case() -> None:
    text = "* title\nR1 A\n* in between\n+ B ; unit\n+ {X} $ value\nC1 a b 1p // old"
    lines = logical_lines(text, "f", title=True)
    assert [line.text for line in lines] == ["r1 a b {x}", "c1 a b 1p"]
    assert lines[1].number == 6


@pytest.mark.parametrize(
    ("text", "value"),
    [("{1+2*3}", 7), ("'2^3^2'", 64), ("-2^2", -4), ("(-2)^3", 8), ("1/2/2", 0.25), ("10meg", 1e7),
     ("3==3?7:8", 7), ("1.5u*2", 3e-6), ("max(1,min(5,3))", 3), ("5\\2", 2), ("!0", 1),
     ("log(2.718281828459045)", 1), ("int(-1.5)", -1), ("1e3k", 1e6), ("2 > 1 && 0 || 1", 1)],
)  # fmt: skip
def test_expressions(text: str, value: float) -> None:
    assert compile_expression(text)({}, namespace()) == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["", "1+", "(1", "a b", "f(1)", "__import__('os')", "1;2", "x.y(3)", "[1]", "lambda: 1"]
)
def test_what_is_not_an_expression(text: str) -> None:
    with pytest.raises(ExpressionError):
        compile_expression(text)({}, namespace())


@given(st.text(alphabet="0123456789.+-*/^() aexkumeg_'{}?:<>=!&|,", max_size=30))
@settings(max_examples=300, deadline=None)
def test_an_expression_is_a_number_or_an_error(text: str) -> None:
    try:
        value = compile_expression(text)({}, namespace({"a": 2.0, "x": 0.5}))
    except ExpressionError:
        return
    assert math.isfinite(value)


def test_errors_name_the_file_and_the_line() -> None:
    with pytest.raises(CircuitError, match=r"t\.spice:2: 'r1' needs 2 nodes"):
        flat("V1 a 0 1\nR1 a")
    with pytest.raises(CircuitError, match=r"t\.spice:1: .*not closed"):
        flat(".subckt a b\nR1 b 0 1")
    with pytest.raises(CircuitError, match=r"t\.spice:1: '\.ends' without"):
        flat(".ends")
    scope = parse(logical_lines("Y1 a b", "t.spice"), lambda line: []).top
    with pytest.raises(CircuitError, match="'Y' are not supported"):
        compile_cell(scope)
