"""Parameter expressions of ngspice ("numparam"), compiled once and evaluated fast.

Checked against ngspice 39, oddities included: ``^`` takes the magnitude of its base and binds to
the left, ``-2^2`` is -4, ``log`` is natural. An expression becomes Python byte code over names with
the prefix ``p_``; the grammar is parsed here, so nothing of a netlist reaches Python's own parser
unread. Random functions (``agauss``, ``gauss``, ``aunif``, ``unif``) give their nominal value
unless the evaluation's globals replace them with draws.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any


class ExpressionError(Exception):
    """An expression that cannot be read or evaluated; the message says why."""


_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?P<suffix>meg|mil|[tgkmunpfaµ])?[a-z_]*)"
    r"|(?P<name>[a-z_][a-z0-9_.]*)"
    r"|(?P<op>\*\*|\|\||&&|==|!=|<>|<=|>=|[-+*/^%\\?:(),<>!{}'\"]))",
    re.IGNORECASE,
)
_SUFFIXES = {
    "t": 1e12, "g": 1e9, "meg": 1e6, "k": 1e3, "m": 1e-3, "mil": 1e-3,
    "u": 1e-6, "µ": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15, "a": 1e-18,
}  # fmt: skip
_NUMBER = re.compile(
    r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(meg|mil|[tgkmunpfaµ])?[a-z_%]*\s*", re.IGNORECASE
)


def parse_number(text: str) -> float | None:
    """A number as expressions read it, or None. There "mil" is milli, as in ngspice."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    scale = _SUFFIXES[match[2].lower()] if match[2] else 1.0
    return float(match[1]) * scale


def _power(base: float, exponent: float) -> float:
    """``^``, ``**`` and ``pwr`` of ngspice: the sign of the base is lost."""
    return math.pow(abs(base), exponent)


def _sgn(x: float) -> float:
    return (x > 0) - (x < 0)


def _limit(nominal: float, variation: float) -> float:
    return nominal


def _nominal(nominal: float, *_spread: float) -> float:
    return nominal


FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "sqr": lambda x: x * x,
    "sqrt": math.sqrt,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "exp": math.exp,
    "ln": math.log,
    "log": math.log,
    "log10": math.log10,
    "arctan": math.atan,
    "atan": math.atan,
    "asin": math.asin,
    "acos": math.acos,
    "asinh": math.asinh,
    "acosh": math.acosh,
    "atanh": math.atanh,
    "sinh": math.sinh,
    "cosh": math.cosh,
    "tanh": math.tanh,
    "abs": abs,
    "pow": math.pow,
    "pwr": _power,
    "max": max,
    "min": min,
    "int": math.trunc,
    "floor": math.floor,
    "ceil": math.ceil,
    "nint": round,
    "sgn": _sgn,
    "limit": _limit,
    "ternary_fcn": lambda c, a, b: a if c else b,
    "agauss": _nominal,
    "gauss": _nominal,
    "aunif": _nominal,
    "unif": _nominal,
}
RANDOM = frozenset({"agauss", "gauss", "aunif", "unif"})
RUNTIME_NAMES = frozenset({"time", "temper", "hertz"})
_BINARY = {
    "||": 1, "&&": 2, "==": 3, "!=": 3, "<>": 3, "<": 4, ">": 4, "<=": 4, ">=": 4,
    "+": 5, "-": 5, "*": 6, "/": 6, "\\": 6, "%": 6, "^": 8, "**": 8,
}  # fmt: skip
_MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Expression:
    """Compiled. ``names`` are the parameters that it needs, lower case."""

    text: str
    code: CodeType
    names: frozenset[str]
    functions: frozenset[str]

    def __call__(self, local: Mapping[str, float], shared: dict[str, Any]) -> float:
        """Evaluates with ``local`` over ``shared`` names (both with the prefix ``p_``).

        Raises:
            ExpressionError: A name is undefined, or the arithmetic fails or is not finite.
        """
        try:
            value = float(eval(self.code, shared, local))
        except NameError as error:
            name = str(error).split("'")[1].removeprefix("p_")
            raise ExpressionError(f"undefined parameter '{name}' in '{self.text}'") from None
        except (ArithmeticError, ValueError, TypeError) as error:
            raise ExpressionError(f"'{self.text}' cannot be evaluated: {error}") from None
        if not math.isfinite(value):
            raise ExpressionError(f"'{self.text}' is not finite")
        return value


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str]] = []
        self.names: set[str] = set()
        self.functions: set[str] = set()
        self.place = 0
        position = 0
        stripped = text.rstrip()
        while position < len(stripped):
            match = _TOKEN.match(stripped, position)
            if match is None:
                raise ExpressionError(f"'{text}' is not an expression")
            kind = "number" if match["number"] else "name" if match["name"] else "op"
            self.tokens.append((kind, match[kind].lower()))
            position = match.end()

    def peek(self) -> str:
        return self.tokens[self.place][1] if self.place < len(self.tokens) else ""

    def take(self) -> tuple[str, str]:
        if self.place >= len(self.tokens):
            raise ExpressionError(f"'{self.text}' ends too early")
        self.place += 1
        return self.tokens[self.place - 1]

    def expect(self, symbol: str) -> None:
        if self.take()[1] != symbol:
            raise ExpressionError(f"'{self.text}' lacks a '{symbol}'")

    def whole(self) -> str:
        source = self.ternary(0)
        if self.place < len(self.tokens):
            raise ExpressionError(f"'{self.text}' has a stray '{self.peek()}'")
        return source

    def ternary(self, depth: int) -> str:
        if depth > _MAX_DEPTH:
            raise ExpressionError("an expression is nested too deeply")
        condition = self.binary(1, depth)
        if self.peek() != "?":
            return condition
        self.take()
        yes = self.ternary(depth + 1)
        self.expect(":")
        return f"(({yes}) if ({condition}) else ({self.ternary(depth + 1)}))"

    def binary(self, level: int, depth: int) -> str:
        left = self.unary(depth)
        while True:
            op = self.peek()
            rank = _BINARY.get(op, 0)
            if rank < level or not rank:
                return left
            self.take()
            right = self.binary(rank + 1, depth + 1)
            match op:
                case "^" | "**":
                    left = f"_power({left},{right})"
                case "||" | "&&":
                    left = f"float(bool({left}) {'or' if op == '||' else 'and'} bool({right}))"
                case "\\":
                    left = f"float(({left})//({right}))"
                case "<>":
                    left = f"(({left})!=({right}))"
                case "+" | "-" | "*" | "/" | "%":
                    left = f"{left}{op}{right}"  # ranks as in Python; it limits nested brackets
                case _:
                    left = f"(({left}){op}({right}))"

    def unary(self, depth: int) -> str:
        if depth > _MAX_DEPTH:
            raise ExpressionError("an expression is nested too deeply")
        op = self.peek()
        if op in ("+", "-"):
            self.take()
            return f"({op}({self.binary(7, depth + 1)}))"
        if op == "!":
            self.take()
            return f"float(not ({self.unary(depth + 1)}))"
        return self.primary(depth)

    def primary(self, depth: int) -> str:
        kind, token = self.take()
        if kind == "number":
            value = parse_number(token)
            assert value is not None
            return repr(value)
        if kind == "name":
            if self.peek() == "(":
                return self.call(token, depth)
            self.names.add(token)
            return "p_" + token.replace(".", "__")
        closing = {"(": ")", "{": "}", "'": "'", '"': '"'}.get(token)
        if closing is None:
            raise ExpressionError(f"'{self.text}' has a stray '{token}'")
        inner = self.ternary(depth + 1)
        self.expect(closing)
        return f"({inner})"

    def call(self, name: str, depth: int) -> str:
        if name not in FUNCTIONS:
            raise ExpressionError(f"unknown function '{name}' in '{self.text}'")
        self.functions.add(name)
        self.take()
        arguments = [self.ternary(depth + 1)]
        while self.peek() == ",":
            self.take()
            arguments.append(self.ternary(depth + 1))
        self.expect(")")
        return f"f_{name}({','.join(arguments)})"


@lru_cache(maxsize=20_000)
def compile_expression(text: str) -> Expression:
    """Reads one expression, with or without its braces or quotes.

    Raises:
        ExpressionError: It is not one.
    """
    if len(text) > 5_000:
        raise ExpressionError("an expression is too long")
    parser = _Parser(text)
    source = parser.whole()
    try:
        code = compile(source, "<expression>", "eval")
    except (SyntaxError, RecursionError, MemoryError):
        raise ExpressionError("an expression is nested too deeply") from None
    return Expression(text, code, frozenset(parser.names), frozenset(parser.functions))


def namespace(parameters: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Globals for evaluation: the functions, and parameters under their prefix."""
    shared: dict[str, Any] = {"__builtins__": {"float": float, "bool": bool}, "_power": _power}
    shared.update({f"f_{name}": function for name, function in FUNCTIONS.items()})
    for name, value in (parameters or {}).items():
        shared[f"p_{name}"] = value
    return shared


def key(name: str) -> str:
    """The name that a parameter has in an evaluation."""
    return "p_" + name.replace(".", "__")
