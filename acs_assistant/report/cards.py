"""A testbench file taken apart, so that its circuit can be written into an exported deck."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from acs_assistant.domain import Circuit, Testbench
from acs_assistant.errors import CircuitError, UnsafeNetlistError
from acs_assistant.textfile import read_text

_ASSIGNMENT = re.compile(r"([a-z_]\w*)\s*=(?!=)\s*", re.IGNORECASE)
_EXPRESSION = re.compile(r"\{[^}]*\}|'[^']*'|\"[^\"]*\"")
_DROPPED = {".end", ".temp", ".print", ".plot", ".save", ".probe", ".width", ".four"}
_INCLUDES = (".include", ".inc")
_SPOKEN = {
    "&&": " and ", "||": " or ", "<>": " ne ", "!=": " ne ", ">=": " ge ", "<=": " le ",
    "==": " eq ", ">": " gt ", "<": " lt ", "!": " not ",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Card:
    """One card: its lines as written, and what they say on one line without comments."""

    file: Path
    line: int
    written: tuple[str, ...]
    text: str

    @property
    def keyword(self) -> str:
        return self.text.split(maxsplit=1)[0].lower() if self.text else ""

    @property
    def rest(self) -> str:
        return self.text.partition(" ")[2].strip()


@dataclass(slots=True)
class Bench:
    """One testbench as a circuit of its own, without title, device models and end.

    Attributes:
        body: Every card and comment, the netlist included, in the file's order.
        libraries: (file, section) of ``.lib`` lines.
        measures: Its ``.meas`` cards as commands of a ``.control`` block; each leaves a vector of
            its name in the plot ``const``.
        parameters: Every ``.param`` name of its own, lower case.
    """

    testbench: Testbench
    body: list[str] = field(default_factory=list)
    libraries: list[tuple[str, str]] = field(default_factory=list)
    measures: list[str] = field(default_factory=list)
    parameters: set[str] = field(default_factory=set)

    def spoken(self, expression: str) -> str:
        """An expression of parameters as a vector that the ``.control`` block may name."""
        name = f"acs_{self.testbench.name}_{sum('.csparam' in line for line in self.body) + 1}"
        self.body.append(f".csparam {name}={{{expression}}}")
        return name


def read_bench(circuit: Circuit, testbench: Testbench, given: Collection[str]) -> Bench:
    """Reads a testbench with the files that it includes.

    Args:
        given: Parameters that the deck defines itself, lower case; they are taken out.

    Raises:
        CircuitError: A file cannot be read, or a card cannot be understood.
        UnsafeNetlistError: A file holds commands.
    """
    bench = Bench(testbench)
    title, *cards = _split(testbench.text, testbench.path)
    bench.body.append(f"* {title.written[0].lstrip('* ')}")
    measures: list[Card] = []
    _take(bench, measures, circuit, cards, given, {testbench.path.name})
    for card in measures:
        bench.measures += _measure(bench, card, {*given, *bench.parameters})
    return bench


def by_line(lines: list[str]) -> list[str]:
    """The commands that enter a circuit line by line, without comments and continuation lines.

    The command line takes a pair of quotes away and makes capitals small: expressions in single
    quotes are written in braces, names in double quotes go through a variable that keeps them.
    """
    commands = []
    for card in _split("*\n" + "\n".join(lines), Path("netlist.spice")):
        if not card.text:
            continue
        text = re.sub(r"'([^']*)'", r"{\1}", card.text)
        name = re.search(r"\"[^\"]*\"", text)
        if name and card.keyword in (".lib", *_INCLUDES):
            commands.append(f"setcs acs_file={name.group()}")
            text = text.replace(name.group(), "'\"$acs_file\"'")
        commands.append(f"circbyline {text}")
    return commands


def _take(
    bench: Bench,
    measures: list[Card],
    circuit: Circuit,
    cards: list[Card],
    given: Collection[str],
    seen: set[str],
) -> None:
    for card in cards:
        keyword = card.keyword
        if keyword in (".control", ".endc") or "`" in card.text:
            word = "back quote" if "`" in card.text else keyword
            raise UnsafeNetlistError(
                f"a circuit that is exported may hold no {word}.",
                hint="Write the analyses as dot cards: .op, .ac, .tran, .noise, .dc.",
                file=card.file,
                line=card.line,
            )
        if keyword.startswith(".param"):
            bench.parameters |= {name.lower() for name in _assignments(card.rest)}
            bench.body += _without(card, given)
        elif keyword in _INCLUDES:
            name = _unquoted(card.rest)
            if name not in seen:
                seen.add(name)
                _take(bench, measures, circuit, _included(circuit, name, card), given, seen)
        elif keyword == ".lib":
            bench.libraries.append(_library(card))
        elif keyword in (".meas", ".measure"):
            measures.append(card)
        elif keyword not in _DROPPED:
            bench.body += card.written


def _measure(bench: Bench, card: Card, parameters: Collection[str]) -> list[str]:
    """A ``.meas`` card as commands. ``param=`` becomes a ``let``, which commands know instead."""
    words = card.rest.split(maxsplit=2)
    if len(words) < 3:
        raise CircuitError(
            "this .meas names no analysis, result and condition.", file=card.file, line=card.line
        )
    kind, name, what = words[0].lower(), words[1].lower(), words[2]
    derived = re.fullmatch(r"param\s*=\s*(.*)", what, re.IGNORECASE)
    if derived:
        expression = re.sub(
            r"\b[a-z_]\w*\b(?!\s*\()",
            lambda word: bench.spoken(word.group()) if word.group() in parameters else word.group(),
            derived.group(1).strip("'\"{} ").lower(),
        )
        for sign, word in _SPOKEN.items():  # commands take "a > b" for a file to be written
            expression = expression.replace(sign, word)
        command = f"let {name} = {expression}"
    else:
        told = _EXPRESSION.sub(lambda part: f"$&{bench.spoken(part.group()[1:-1])}", what)
        command = f"meas {kind} {name} {told}"
    return [f"setplot {kind}1", command, "setplot const", f"let {name} = {kind}1.{name}"]


def _included(circuit: Circuit, name: str, card: Card) -> list[Card]:
    path = circuit.path / name
    if name == "netlist.spice":
        return _split(circuit.netlist, path)
    try:
        return _split(read_text(path, errors="replace"), path)
    except OSError as fault:
        raise CircuitError(
            f"cannot read '{name}': {fault.strerror}.", file=card.file, line=card.line
        ) from fault


def _split(text: str, file: Path) -> list[Card]:
    """Cards with their continuation lines."""
    groups: list[tuple[int, list[str]]] = []
    for number, line in enumerate(text.splitlines() or [""], start=1):
        if line.lstrip().startswith("+") and groups:
            groups[-1][1].append(line.rstrip())
        else:
            groups.append((number, [line.rstrip()]))
    return [Card(file, number, tuple(group), _joined(group)) for number, group in groups]


def _joined(group: list[str]) -> str:
    if group[0].lstrip().startswith(("*", "$", ";")):
        return ""
    pieces = (re.split(r";|\s\$\s|\s//", line, maxsplit=1)[0].strip() for line in group)
    return " ".join(piece.removeprefix("+").strip() for piece in pieces).strip()


def _without(card: Card, given: Collection[str]) -> list[str]:
    """A ``.param`` card without the parameters that the deck defines."""
    own = _assignments(card.rest)
    kept = {name: text for name, text in own.items() if name.lower() not in given}
    if len(kept) == len(own):
        return list(card.written)
    return [".param " + " ".join(f"{n}={t}" for n, t in kept.items())] if kept else []


def _assignments(body: str) -> dict[str, str]:
    """``a=1 b={a + 1}``: what stands in braces or quotes holds no names."""
    blank = _EXPRESSION.sub(lambda match: " " * len(match.group()), body)
    found = list(_ASSIGNMENT.finditer(blank))
    ends = [match.start() for match in found[1:]] + [len(body)]
    return {
        match.group(1): body[match.start(1) : end].partition("=")[2].strip().rstrip(", ")
        for match, end in zip(found, ends, strict=True)
    }


def _library(card: Card) -> tuple[str, str]:
    match = re.fullmatch(r"(\"[^\"]+\"|'[^']+'|\S+)\s+(\S+)", card.rest)
    if match is None:
        raise CircuitError(
            f"'{card.text}' names no file and section.",
            hint='Write .lib "sky130.lib.spice" tt.',
            file=card.file,
            line=card.line,
        )
    return _unquoted(match.group(1)), match.group(2)


def _unquoted(text: str) -> str:
    return text.strip().strip("\"'")
