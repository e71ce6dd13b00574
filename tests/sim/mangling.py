"""Mangled netlists: parts lost, doubled and moved, and pieces that mean something put in."""

from __future__ import annotations

import random

PIECES = (
    "{", "}", "'", '"', "(", ")", "=", "*", "+", "\n", "\n+ ", "\n.", "0", "1e400", "-1", "nan",
    "m=0", "w=", "$", ";", "`", "> x", "\n.if (", "\n.else\n", "\n.endif\n", "\n.ends\n",
    "\n.subckt x a\n",
    "\n.func f(x) {x*x}\n", "param", "temper", "v(out)", "i(vdd)", "\x00", "\u2028", "µ", "1/0",
    "agauss(0,1,1)", "pwl(", "file=", "\n.include netlist.spice\n", "\n.lib x tt\n",
    "\n.model m nmos level=54\n", "\n.dc vin 0 1 1e-9\n", "\n.tran 1p 1\n", "\n.ac dec 1 1 2\n",
    "\nb1 out 0 v=v(out)*1e9\n", "\nquit\n", "l=0", "nf=0", "\n.option gmin=0 reltol=0\n",
    "\n.temp 1e9\n", "\n.control\n", "\n.endc\n", "\nalter v1=2\n", "\nmeas ac q when vdb(out)=0\n",
    "\n.meas tran x param='y'\n", "\nwhile 1\n", "\nlet x=v(out)\n", "@m1[w]",
)  # fmt: skip


def mangle(text: str, generator: random.Random) -> str:
    """One to six changes."""
    for _ in range(generator.choice((1, 1, 1, 2, 3, 6))):
        place, other = generator.randrange(len(text)), generator.randrange(len(text))
        kind = generator.random()
        if kind < 0.25:
            text = text[:place] + text[place + generator.randrange(1, 30) :]
        elif kind < 0.75:
            text = text[:place] + generator.choice(PIECES) + text[place:]
        else:
            text = text[:other] + text[place : place + generator.randrange(1, 60)] + text[other:]
    return text
