"""Reads SPICE text: logical lines with their origin, subcircuits, parameters, models, dot cards.

Nothing is evaluated here. Everything is lower case except file names and titles.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from acs_assistant.errors import CircuitError
from acs_assistant.sim.functions import Function, read_function, write_out

_ASSIGNMENT = re.compile(r"\s*([a-z_][\w.]*)\s*=\s*")
_FILE_CARDS = (".include", ".inc", ".lib")
_MAX_NESTING = 30
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Line:
    """One logical line: continuations joined, comments gone, lower case.

    Attributes:
        guard: What must hold for the line to count, from the ``.if`` cards around it.
    """

    text: str
    file: str
    number: int
    guard: str = ""

    def error(self, message: str, hint: str = "") -> CircuitError:
        return CircuitError(message, hint=hint, file=self.file, line=self.number)


@dataclass(slots=True)
class Scope:
    """A subcircuit, or the top of a netlist.

    Attributes:
        header: Parameters on the ``.subckt`` line, with default expressions.
        parameters: ``.param`` lines inside, in order.
        cards: Element lines, in order.
        models: ``.model`` lines by name.
        choices: ``.model`` lines inside ``.if``, which may share a name.
        functions: ``.func`` lines, by name.
    """

    name: str
    ports: tuple[str, ...] = ()
    header: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    cards: list[Line] = field(default_factory=list)
    models: dict[str, Line] = field(default_factory=dict)
    choices: list[tuple[str, Line]] = field(default_factory=list)
    functions: dict[str, Function] = field(default_factory=dict)
    subckts: dict[str, Scope] = field(default_factory=dict)
    parent: Scope | None = None
    origin: Line | None = None

    def find(self, name: str) -> Scope | None:
        """A subcircuit that is visible from here."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.subckts:
                return scope.subckts[name]
            scope = scope.parent
        return None


@dataclass(slots=True)
class Netlist:
    """A whole file: its top scope and the dot cards that are not structure."""

    top: Scope
    dots: list[Line]
    globals: frozenset[str]


def logical_lines(text: str, file: str, *, title: bool = False) -> list[Line]:
    """Joins continuations and drops comments, but for ``*.let`` cards (see ``sim.formulas``).

    Args:
        title: The first line is a title, as in a file that ngspice runs.
    """
    parts: list[tuple[list[str], int]] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        if number == 1 and title:
            continue
        stripped = raw.strip()
        if stripped[:6].lower() == "*.let ":
            stripped = stripped[1:]
        if not stripped or stripped[0] in "*#":
            continue
        stripped = _without_comment(stripped)
        if not stripped:
            continue
        if stripped[0] != "+":
            parts.append(([_lower(stripped)], number))
        elif parts:
            parts[-1][0].append(_lower(stripped[1:].strip()))
    return [Line(" ".join(words), file, number) for words, number in parts]


def file_card(line: Line) -> tuple[str, str] | None:
    """(file, section) of an ``.include`` or ``.lib`` line, None for any other."""
    words = line.text.split(None, 1)
    first = words[0].lower()
    if first not in _FILE_CARDS or len(words) < 2:
        return None
    if first == ".lib" and len(words[1].split()) == 1 and words[1][0] not in "\"'":
        return None
    rest = words[1].strip()
    match = re.fullmatch(r"(\"[^\"]*\"|'[^']*'|\S+)(?:\s+(\S+))?", rest)
    if match is None:
        raise line.error("a file card needs one file name.")
    return match[1].strip("\"'"), (match[2] or "") if first == ".lib" else ""


def _without_comment(text: str) -> str:
    for mark in (";", " $ ", "\t$ ", " //"):
        place = text.find(mark)
        if place >= 0:
            text = text[:place]
    return text.strip()


def _lower(text: str) -> str:
    first = text.split(None, 1)[0].lower() if text.split() else ""
    if first in _FILE_CARDS:
        return first + text[len(first) :]
    return text.lower()


def split_parameters(text: str, line: Line) -> dict[str, str]:
    """``a=1 b = {x + 1} c='y'`` as names and expressions.

    An unbraced value ends at the next blank that is not beside an operator.
    """
    pairs: dict[str, str] = {}
    place = 0
    while place < len(text):
        match = _ASSIGNMENT.match(text, place)
        if match is None:
            rest = text[place:].strip(" ,")
            if not rest:
                break
            raise line.error(f"'{rest}' is not of the form name=value.")
        value, place = _value(text, match.end(), line)
        pairs[match[1]] = value
        while place < len(text) and text[place] in " \t,":
            place += 1
    return pairs


_CLOSING = {"{": "}", "(": ")"}


def _value(text: str, start: int, line: Line) -> tuple[str, int]:
    """One value from ``start``; ends at a blank outside of brackets that begins a new word."""
    depth = 0
    place = start
    quote = ""
    while place < len(text):
        char = text[place]
        if quote:
            if char == quote:
                quote = ""
        elif char in "'\"":
            quote = char
        elif char in "{(":
            depth += 1
        elif char in "})":
            depth -= 1
        elif depth == 0 and (char in " \t" or char == ","):
            rest = text[place:].lstrip(" \t")
            before = text[start:place].rstrip()
            if char == "," or not before or (before[-1] not in "+-*/^" and not _continues(rest)):
                break
        place += 1
    if depth or quote:
        raise line.error("a bracket or quote is not closed.")
    value = text[start:place].strip()
    if not value:
        raise line.error("a parameter has no value.")
    return value, place


def _continues(rest: str) -> bool:
    return bool(rest) and (rest[0] in "*/^?:" or (rest[0] in "+-" and rest[1:2] in (" ", "{", "'")))


def split_words(text: str) -> list[str]:
    """Words between blanks; a bracketed or quoted part stays whole, ``a = b`` is joined."""
    words: list[str] = []
    place = 0
    current = ""
    depth = 0
    quote = ""
    while place < len(text):
        char = text[place]
        if quote:
            current += char
            if char == quote:
                quote = ""
        elif char in "'\"":
            quote = char
            current += char
        elif char in " \t," and depth == 0:
            if current:
                words.append(current)
            current = ""
        else:
            if char in "{(":
                depth += 1
            elif char in "})":
                depth -= 1
            current += char
        place += 1
    if current:
        words.append(current)
    return _join_assignments(words)


def _join_assignments(words: list[str]) -> list[str]:
    joined: list[str] = []
    for word in words:
        if joined and (joined[-1].endswith("=") or word.startswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


Includer = Callable[[Line], Iterable[Line]]


def parse(lines: Iterable[Line], include: Includer) -> Netlist:
    """Builds the scopes.

    Args:
        include: Gives the lines for an ``.include`` or ``.lib`` card.

    Raises:
        CircuitError: A subcircuit is not closed, or a line cannot be read.
    """
    top = Scope("")
    dots: list[Line] = []
    nets: set[str] = {"0", "gnd"}
    scope = top
    depth = 0
    conditions = _Conditions()
    for raw in _expand(lines, include, 0):
        first, _, rest = raw.text.partition(" ")
        if conditions.take(raw):
            continue
        line = conditions.guarded(raw, first)
        if not first.startswith("."):
            scope.cards.append(line)
        elif first in (".subckt", ".macro"):
            depth += 1
            if depth > _MAX_NESTING:
                raise line.error("subcircuits are defined inside each other too deeply.")
            scope = _open(scope, line)
        elif first in (".ends", ".eom"):
            if scope.parent is None:
                raise line.error("'.ends' without '.subckt'.")
            depth -= 1
            scope = scope.parent
        elif first in (".param", ".parameter", ".csparam"):
            scope.parameters.update(split_parameters(rest, line))
        elif first == ".func":
            function = located(line, read_function, line.text)
            scope.functions[function.name] = function
        elif first == ".model":
            words = rest.split(None, 1)
            if len(words) < 2:
                raise line.error("a .model line needs a name and a type.")
            if line.guard:
                scope.choices.append((words[0], line))
            else:
                scope.models[words[0]] = line
        elif first == ".global":
            nets.update(rest.split())
        elif first == ".end":
            break
        else:
            dots.append(line)
    if scope.parent is not None:
        origin = scope.origin or Line("", "netlist", 0)
        raise origin.error(f"subcircuit '{scope.name}' is not closed with .ends.")
    conditions.check_closed()
    _write_out_functions(top, {})
    dots = [_written_out(line, top.functions) for line in dots]
    return Netlist(top, dots, frozenset(nets))


CONDITION = re.compile(r"(\.(?:if|elseif|else|endif))\b\s*(.*)")
"""A card of a condition, and what it says."""


class _Conditions:
    """The ``.if`` blocks around the current line.

    As in ngspice a block chooses elements and models, in subcircuits by the instance's own
    parameters. ngspice takes ``.param`` and ``.subckt`` lines whatever the condition says, so here
    they are refused inside a block.
    """

    def __init__(self) -> None:
        self._blocks: list[tuple[Line, list[str], str]] = []

    def take(self, line: Line) -> bool:
        """Handles an ``.if``, ``.elseif``, ``.else`` or ``.endif`` card; False for any other."""
        match = CONDITION.match(line.text)
        if match is None:
            return False
        card, condition = match[1], match[2]
        if card in (".if", ".elseif") and not condition:
            raise line.error(f"'{card}' needs a condition.")
        if card == ".if":
            if len(self._blocks) >= _MAX_NESTING:
                raise line.error("'.if' blocks stand inside each other too deeply.")
            self._blocks.append((line, [condition], f"({condition})"))
            return True
        if not self._blocks:
            raise line.error(f"'{card}' without '.if'.")
        opening, earlier, _ = self._blocks.pop()
        if card != ".endif":
            parts = [f"!({other})" for other in earlier]
            if card == ".elseif":
                parts.append(f"({condition})")
                earlier.append(condition)
            self._blocks.append((opening, earlier, "&&".join(parts)))
        return True

    def guarded(self, line: Line, card: str) -> Line:
        """The line with its condition."""
        if not self._blocks:
            return line
        if card.startswith(".") and card != ".model":
            raise line.error(
                f"'{card}' inside '.if' is not decided by the condition.",
                hint="Only elements and .model lines are. For a parameter write "
                ".param p = {condition ? one : other}.",
            )
        guard = "&&".join(f"({guard})" for _, _, guard in self._blocks)
        return replace(line, guard=guard)

    def check_closed(self) -> None:
        if self._blocks:
            raise self._blocks[-1][0].error("'.if' is not closed with '.endif'.")


def _write_out_functions(scope: Scope, outer: Mapping[str, Function]) -> None:
    """Calls of a netlist's own functions become their bodies; inner functions hide outer ones."""
    functions = {**outer, **scope.functions}
    scope.functions = functions
    for inner in scope.subckts.values():
        _write_out_functions(inner, functions)
    if not functions:
        return
    origin = scope.origin or Line("", "netlist", 0)
    for values in (scope.header, scope.parameters):
        for name, text in values.items():
            values[name] = located(origin, write_out, text, functions)
    scope.cards = [_written_out(line, functions) for line in scope.cards]
    scope.models = {name: _written_out(line, functions) for name, line in scope.models.items()}
    scope.choices = [(name, _written_out(line, functions)) for name, line in scope.choices]


def _written_out(line: Line, functions: Mapping[str, Function]) -> Line:
    if not functions:
        return line
    return replace(
        line,
        text=located(line, write_out, line.text, functions),
        guard=located(line, write_out, line.guard, functions),
    )


def located(line: Line, action: Callable[..., _T], *arguments: object) -> _T:
    """Runs ``action``; its error names the line."""
    try:
        return action(*arguments)
    except CircuitError as error:
        raise line.error(error.message) from None


def _expand(lines: Iterable[Line], include: Includer, depth: int) -> Iterator[Line]:
    for line in lines:
        if line.text.split(None, 1)[0] in _FILE_CARDS:
            if depth > 20:
                raise line.error("files include each other without end.")
            yield from _expand(include(line), include, depth + 1)
        else:
            yield line


def _open(parent: Scope, line: Line) -> Scope:
    words = split_words(line.text.partition(" ")[2].replace("params:", " "))
    if not words:
        raise line.error("a .subckt line needs a name.")
    ports = [word for word in words[1:] if "=" not in word]
    header: dict[str, str] = {}
    for word in words[1:]:
        if "=" in word:
            name, _, value = word.partition("=")
            if not value:
                raise line.error(f"parameter '{name}' has no default.")
            header[name.strip()] = value.strip()
    scope = Scope(words[0], tuple(ports), header, parent=parent, origin=line)
    parent.subckts[words[0]] = scope
    return scope
