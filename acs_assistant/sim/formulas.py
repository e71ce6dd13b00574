"""``*.let`` cards: vectors and figures computed from an analysis, for ``.meas`` lines to read.

``*.let ac gain_db = db(v(out))`` is to a testbench what ``let`` is to a ``.control`` block; plain
ngspice takes it for a comment. ngspice's command interpreter computes it, so nothing but names,
numbers, operators and known functions may stand in one.
"""

from __future__ import annotations

import re

from acs_assistant.errors import UnsafeNetlistError
from acs_assistant.sim.spice import Line

_CARD = re.compile(r"\.let\s+(op|dc|ac|tran|noise)\s+([a-z_]\w*)\s*=\s*(\S.*)")
_TOKEN = re.compile(
    r"\s+|(?P<call>[a-z_]\w*)\s*\(|[a-z_][\w.#]*|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?[a-z]*"
    r"|@[\w.]+\[\w+\]|[-+*/^%(),\[\]]"
)
_FUNCTIONS = frozenset(
    {
        "abs", "mag", "magnitude", "ph", "phase", "cph", "cphase", "unwrap", "real", "re", "imag",
        "im", "conj", "j", "db", "log", "log10", "ln", "exp", "sqrt", "sin", "cos", "tan", "atan",
        "sinh", "cosh", "tanh", "floor", "ceil", "round", "mean", "avg", "stddev", "deriv", "integ",
        "vecmax", "maximum", "vecmin", "minimum", "length", "norm", "pos", "min", "max",
        "group_delay", "v", "i", "vm", "vp", "vr", "vi", "vdb", "sgn",
    }
)  # fmt: skip


def read_formula(line: Line) -> tuple[str, str, str]:
    """Analysis, name and expression of a ``.let`` card.

    Raises:
        CircuitError: It is not of that form.
        UnsafeNetlistError: It holds what is no expression.
    """
    match = _CARD.fullmatch(line.text.strip())
    if match is None:
        raise line.error(
            "a .let card is written *.let analysis name = expression.",
            hint="The analysis is op, dc, ac, tran or noise.",
        )
    kind, name, expression = match.groups()
    place = 0
    while place < len(expression):
        token = _TOKEN.match(expression, place)
        if token is None:
            raise _refusal(line, expression[place])
        if token["call"] and token["call"] not in _FUNCTIONS:
            raise _refusal(line, token["call"])
        place = token.end()
    return kind, name, expression


def _refusal(line: Line, word: str) -> UnsafeNetlistError:
    return UnsafeNetlistError(
        f"'{word}' is not allowed in a .let card.",
        hint="Names, numbers, operators and functions such as db, mag, ph, cph are.",
        file=line.file,
        line=line.number,
    )
