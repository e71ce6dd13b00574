"""A testbench file taken apart, so that it can become a subcircuit of a deck with others.

Inside the subcircuit instance ``xtb_ac`` node ``out`` is called ``xtb_ac.out`` and source ``vdd``
``v.xtb_ac.vdd``; ``Cards`` rewrites the cards that have to stay outside of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from acs_assistant.domain import Testbench
from acs_assistant.errors import CircuitError

ANALYSES = ("op", "dc", "ac", "tran", "tf", "noise")
"""In the order in which they are run: noise makes two plots, which would shift later numbers."""

_ASSIGNMENT = re.compile(r"([a-z_]\w*)\s*=(?!=)\s*", re.IGNORECASE)
_VOLTAGE = re.compile(r"\bv\(\s*([^()\s,]+)\s*(?:,\s*([^()\s,]+)\s*)?\)", re.IGNORECASE)
_EXPRESSION = re.compile(r"\{([^}]*)\}|'([^']*)'")
_DROPPED = {".end", ".temp", ".print", ".plot", ".save", ".probe", ".width", ".four"}
_SHARED = {".func", ".model", ".global", ".option", ".options", ".csparam"}
_TERMINALS = {"m": 4, "q": 3, "j": 3, "z": 3, "e": 4, "g": 4, "s": 4, "t": 4, "k": 0}
_GROUND = {"0", "gnd"}


@dataclass(frozen=True, slots=True)
class Card:
    """One card: its lines as written, and what they say on one line without comments."""

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
class Cards:
    """What a testbench says, by where it goes in a merged deck.

    Attributes:
        parameters: ``.param`` assignments, lower-case names, right-hand sides as written.
        elements: Elements and comments, as written: the body of the subcircuit.
        shared: Cards that hold for the whole deck: subcircuits, models, functions, options.
        starts: ``.nodeset`` and ``.ic`` cards.
        includes: Files of ``.include`` lines, as written.
        libraries: (file, section) of ``.lib`` lines.
        analyses: Analysis cards, in the order in which they are to run.
        measures: ``.meas`` cards.
        names: Names of the elements, lower case.
        nodes: Nodes that they touch, without ground, lower case.
    """

    testbench: Testbench
    parameters: dict[str, str] = field(default_factory=dict)
    elements: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    starts: list[Card] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)
    libraries: list[tuple[str, str]] = field(default_factory=list)
    analyses: list[Card] = field(default_factory=list)
    measures: list[Card] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)

    @property
    def instance(self) -> str:
        """The name of the instance that holds this testbench."""
        return f"xtb_{re.sub(r'[^a-z0-9_]', '_', self.testbench.name.lower())}"

    def node(self, name: str) -> str:
        """A node of the testbench, as the deck calls it."""
        return name if name.lower() in _GROUND else f"{self.instance}.{name.lower()}"

    def source(self, name: str) -> str:
        """An element of the testbench, as the deck calls it."""
        return f"{name[0].lower()}.{self.instance}.{name.lower()}"

    def outside(self, text: str) -> str:
        """Every ``v(node)`` and ``v(node,node)`` renamed."""

        def renamed(match: re.Match[str]) -> str:
            nodes = [self.node(name) for name in match.groups() if name]
            return f"v({','.join(nodes)})"

        return _VOLTAGE.sub(renamed, text)

    def inner(self, text: str) -> str:
        """Names below the testbench's instances (``xdut.d1``, ``@m.xdut.xm1.m0[gm]``) renamed."""
        instances = "|".join(sorted(re.escape(name) for name in self.names if name[0] == "x"))
        if not instances:
            return text
        return re.sub(rf"(?<![\w])({instances})\.", rf"{self.instance}.\1.", text, flags=re.I)

    def aliases(self, words: set[str]) -> list[str]:
        """``let`` lines that give nodes and sources their short names in the current plot."""
        lines = []
        for word in sorted(words & self.nodes):
            lines.append(f"let {word} = {self.node(word)}")
        for word in sorted(words & self.names):
            if word[0] in "vl":
                lines.append(f"let {word}#branch = {self.source(word)}#branch")
        return lines


def read_testbench(testbench: Testbench) -> Cards:
    """Sorts the file's cards.

    Raises:
        CircuitError: The file holds a ``.control`` block, a ``.if`` or an analysis that a deck with
            several testbenches cannot hold, or a card cannot be read.
    """
    cards = Cards(testbench)
    below = 0
    for card in _split(testbench.text):
        below += card.keyword == ".subckt"
        if below:
            cards.shared.append("\n".join(card.written))
            below -= card.keyword == ".ends"
        else:
            _sort(cards, card)
    cards.analyses.sort(key=lambda card: ANALYSES.index(card.keyword[1:]))
    return cards


def _sort(cards: Cards, card: Card) -> None:
    keyword = card.keyword
    if not keyword.startswith("."):
        cards.elements += card.written
        if keyword:
            cards.names.add(keyword)
            cards.nodes |= _nodes(card.text.lower()) - _GROUND
    elif keyword.startswith(".param"):
        cards.parameters |= _assignments(card.rest)
    elif keyword in (".include", ".inc"):
        cards.includes.append(_unquoted(card.rest))
    elif keyword == ".lib":
        cards.libraries.append(_library(cards.testbench.path, card))
    elif keyword in (".meas", ".measure"):
        cards.measures.append(card)
    elif keyword in (".nodeset", ".ic"):
        cards.starts.append(card)
    elif keyword in _SHARED:
        cards.shared.append("\n".join(card.written))
    elif keyword[1:] in ANALYSES:
        cards.analyses.append(card)
    elif keyword not in _DROPPED:
        raise CircuitError(
            f"a testbench that is exported may not hold {keyword}.",
            hint=f"Analyses that can be exported: {', '.join('.' + a for a in ANALYSES)}.",
            file=cards.testbench.path,
            line=card.line,
        )


def command(cards: Cards, card: Card, expressions: dict[str, str]) -> str:
    """An analysis card as a command of a ``.control`` block, with the deck's names.

    Args:
        expressions: Takes the card's ``{...}`` under the ``.csparam`` that the command quotes.
    """
    words = cards.outside(card.text[1:]).split()
    kind = words[0].lower()
    if kind in ("noise", "tf"):
        words[2] = cards.source(words[2])
    if kind == "dc":
        for at in range(1, len(words), 4):
            if words[at].lower() in cards.names:
                words[at] = cards.source(words[at])

    def quoted(match: re.Match[str]) -> str:
        name = f"acs_{len(expressions) + 1}"
        expressions[name] = match.group(1) or match.group(2)
        return f"$&{name}"

    return _EXPRESSION.sub(quoted, " ".join([kind, *words[1:]]))


def _split(text: str) -> list[Card]:
    """Cards with their continuation lines; the title becomes a comment."""
    groups: list[tuple[int, list[str]]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if number == 1:
            groups.append((1, [f"* {line.lstrip('* ').rstrip()}"]))
        elif line.lstrip().startswith("+"):
            groups[-1][1].append(line.rstrip())
        else:
            groups.append((number, [line.rstrip()]))
    return [Card(number, tuple(group), _joined(group)) for number, group in groups]


def _nodes(element: str) -> set[str]:
    """The nodes on an element line, lower case."""
    words = re.sub(r"\s*=\s*", "=", element).split()
    if words[0][0] == "x":
        plain = [word for word in words[1:] if "=" not in word and word != "params:"]
        return set(plain[:-1])
    return set(words[1 : 1 + _TERMINALS.get(words[0][0], 2)])


def _joined(group: list[str]) -> str:
    if group[0].lstrip().startswith(("*", "$", ";")):
        return ""
    pieces = (re.split(r";|\s\$\s|\s//", line, maxsplit=1)[0].strip() for line in group)
    return " ".join(piece.removeprefix("+").strip() for piece in pieces).strip()


def _assignments(body: str) -> dict[str, str]:
    """``a=1 b={a + 1}``: what stands in braces or quotes holds no names."""
    blank = _EXPRESSION.sub(lambda match: " " * len(match.group()), body)
    found = list(_ASSIGNMENT.finditer(blank))
    ends = [match.start() for match in found[1:]] + [len(body)]
    return {
        match.group(1).lower(): body[match.start(1) : end].partition("=")[2].strip().rstrip(", ")
        for match, end in zip(found, ends, strict=True)
    }


def _library(path: Path, card: Card) -> tuple[str, str]:
    match = re.fullmatch(r"(\"[^\"]+\"|'[^']+'|\S+)\s+(\S+)", card.rest)
    if match is None:
        raise CircuitError(
            f"'{card.text}' names no file and section.",
            hint='Write .lib "sky130.lib.spice" tt.',
            file=path,
            line=card.line,
        )
    return _unquoted(match.group(1)), match.group(2)


def _unquoted(text: str) -> str:
    return text.strip().strip("\"'")
