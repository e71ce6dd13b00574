"""``.func`` cards: a netlist's own functions, written out where they are called as in ngspice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from acs_assistant.errors import CircuitError

_CARD = re.compile(r"\.func\s+([a-z_]\w*)\s*\(([^()]*)\)\s*=?\s*(\S.*)")
_NAME = re.compile(r"(?<![\w.])[a-z_]\w*(?![\w.])")
_CALL = re.compile(r"(?<![\w.])([a-z_]\w*)\s*\(")
_MAX_DEPTH = 30
_MAX_LENGTH = 20_000


@dataclass(frozen=True, slots=True)
class Function:
    """``.func name(arguments) {body}``; everything is lower case."""

    name: str
    arguments: tuple[str, ...]
    body: str


def read_function(text: str) -> Function:
    """Reads a ``.func`` card.

    Raises:
        CircuitError: It is not one.
    """
    match = _CARD.fullmatch(text.strip())
    if match is None:
        raise CircuitError("a .func line is written .func name(x, y) {expression}.")
    arguments = tuple(word.strip() for word in match[2].split(",") if word.strip())
    body = match[3].strip()
    if body[0] + body[-1] in ("{}", "''", '""'):
        body = body[1:-1]
    return Function(match[1], arguments, body.strip())


def write_out(text: str, functions: Mapping[str, Function], depth: int = 0) -> str:
    """The text with every call replaced by the function's body.

    Raises:
        CircuitError: A call has the wrong number of arguments, or functions call each other without
            end.
    """
    out = ""
    place = 0
    for match in _CALL.finditer(text):
        function = functions.get(match[1])
        if function is None or match.start() < place:
            continue
        if depth >= _MAX_DEPTH:
            raise CircuitError(f"the function '{function.name}' calls itself without end.")
        end = _closing(text, match.end() - 1)
        given = list(_arguments(text[match.end() : end]))
        if len(given) != len(function.arguments):
            raise CircuitError(
                f"'{function.name}' takes {len(function.arguments)} arguments, not {len(given)}."
            )
        values = {
            name: f"({write_out(value, functions, depth + 1)})"
            for name, value in zip(function.arguments, given, strict=True)
        }
        body = write_out(function.body, functions, depth + 1)
        body = _NAME.sub(lambda word, v=values: v.get(word[0], word[0]), body)  # type: ignore[misc]
        out += f"{text[place : match.start()]}({body})"
        place = end + 1
        if len(out) > _MAX_LENGTH:
            raise CircuitError(f"the function '{function.name}' makes too long an expression.")
    return out + text[place:]


def _closing(text: str, opening: int) -> int:
    depth = 0
    for place in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if not depth:
            return place
    raise CircuitError("a call of a function is not closed.")


def _arguments(text: str) -> Iterator[str]:
    depth = 0
    current = ""
    for char in text:
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == "," and not depth:
            yield current.strip()
            current = ""
        else:
            current += char
    if current.strip():
        yield current.strip()
