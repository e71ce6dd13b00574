"""Flat decks against plain ngspice: scoping, multipliers, sources, and expressions."""

from __future__ import annotations

import math
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acs_assistant.errors import CircuitError
from acs_assistant.sim.cells import compile_cell
from acs_assistant.sim.expressions import ExpressionError, compile_expression, namespace
from acs_assistant.sim.flatten import Flattener
from acs_assistant.sim.models import EmptyLibrary
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
.op
.end
"""
NAMES = [f"v{i}" for i in range(1, 16)]


def test_flattening_agrees_with_ngspice(pool: Pool, tmp_path: Path) -> None:
    metrics = [metric(name, "supply_current", source=name) for name in NAMES]
    metrics += [metric("bb", "op_voltage", node="x11.bb"), metric("o", "op_voltage", node="o")]
    made = circuit(tmp_path, {"main": SCOPES}, metrics)
    ours = pool.simulate(SimulationRequest(made, {}, made.conditions))
    assert ours.status == "ok", ours.error
    prints = "\n".join(f"print -i({name})" for name in NAMES)
    text = SCOPES.replace(
        ".end\n",
        f".control\nset numdgt=12\nop\n{prints}\nprint v(x11.bb)\nprint v(o)\nquit\n.endc\n.end\n",
    )
    file = tmp_path / "plain.spice"
    file.write_text(text)
    done = subprocess.run(
        ["ngspice", "-b", str(file)], capture_output=True, text=True, timeout=30, cwd=tmp_path
    )
    printed = [float(v) for v in re.findall(r"^\S+ = (\S+)$", done.stdout, re.MULTILINE)]
    assert len(printed) == len(metrics), done.stdout + done.stderr
    for m, expected in zip(metrics, printed, strict=True):
        assert ours.metrics[m.name] == pytest.approx(expected, rel=1e-9), m.name


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
