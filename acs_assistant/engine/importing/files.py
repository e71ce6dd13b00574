"""Reads SPICE files as people have them: includes elsewhere, ``.control`` blocks, PDK switches."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from acs_assistant.engine.importing.commands import ANALYSES, MEASURES, Commands
from acs_assistant.engine.importing.expressions import value_of
from acs_assistant.engine.importing.technology import corner_of, pdk_of_file
from acs_assistant.errors import InputError
from acs_assistant.sim.functions import Function, read_function, write_out
from acs_assistant.sim.safety import check_text
from acs_assistant.sim.spice import (
    CONDITION,
    Line,
    located,
    logical_lines,
    split_parameters,
    split_words,
)
from acs_assistant.textfile import read_text

_SWITCH = re.compile(r"^(mc_(mm|pr)_switch|mc_switch|process_switch|mismatch_switch)$")
_COMMENTED = re.compile(r"^\*+\s*(\.subckt[ \t]+\w+[ \t]+\S)", re.IGNORECASE | re.MULTILINE)
_COMMENTED_END = re.compile(r"^\*+\s*(\.ends)\b", re.IGNORECASE | re.MULTILINE)
_MEAS_WORDS = 4
_SHOWN = frozenset({".save", ".print", ".plot", ".probe", ".four", ".width", ".title", ".end"})


@dataclass(slots=True)
class Report:
    """What was taken over as it is, what was changed, and what was left out and why."""

    taken: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def drop(self, line: Line, why: str) -> None:
        self.dropped.append(f"{line.file}:{line.number}: {line.text[:60]} ({why})")


@dataclass(slots=True)
class Subcircuit:
    """One ``.subckt``; ``header`` holds its parameters with their default expressions."""

    name: str
    ports: tuple[str, ...]
    header: dict[str, str]
    body: list[Line]
    origin: Line


@dataclass(slots=True)
class Section:
    """Analyses and measurements of one state of the circuit; of each kind of analysis one.

    Attributes:
        values: Value of each altered element, by its name and "" or "ac".
        parameters: Value of each parameter that ``alterparam`` changed.
        measures: ``.meas`` cards, and ``.let`` cards for formulas of vectors.
        shown: What was plotted, printed or written after which kind of analysis.
    """

    values: dict[tuple[str, str], str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    analyses: list[Line] = field(default_factory=list)
    measures: list[Line] = field(default_factory=list)
    shown: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Source:
    """One file with everything that it includes, sorted by what it is.

    Attributes:
        parameters: Top-level ``.param`` lines, the last of a name.
        cards: Top-level elements.
        sections: Analyses as dot cards, also those of a ``.control`` block; a section for every
            state that ``alter`` commands make of the circuit.
        other: ``.ic``, ``.nodeset``, ``.options``, ``.global``.
        corner: The section that a device library was asked for; empty without one.
        missing: Includes that lead nowhere or too far away, with the file that they name.
    """

    name: str
    subcircuits: dict[str, Subcircuit] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    models: list[Line] = field(default_factory=list)
    cards: list[Line] = field(default_factory=list)
    sections: list[Section] = field(default_factory=lambda: [Section()])
    other: list[Line] = field(default_factory=list)
    temperature: str = ""
    corner: str = ""
    missing: list[tuple[Line, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Given:
    """The files that a person named, and what includes may lead to.

    A netlist from a stranger could include any file of this machine, and its text would end up in
    the new folder: so an include stays among the files that were named.

    Attributes:
        files: By lower-case name; they stand in for includes whose path leads nowhere.
        folders: What lies in one of them may be included.
    """

    files: Mapping[str, Path]
    folders: tuple[Path, ...]

    @classmethod
    def of(cls, netlist: Path, testbenches: Sequence[Path], include: Sequence[Path]) -> Given:
        """The folder of each file, and the one around them all unless it is a whole home."""
        homes = [path.resolve().parent for path in (netlist, *testbenches, *include)]
        around = Path(os.path.commonpath(homes))
        own = Path.home().resolve()
        if not own.is_relative_to(around) and around != Path(around.anchor):
            homes.append(around)
        return cls({path.name.lower(): path for path in (netlist, *include)}, tuple(homes))

    def find(self, above: Path, name: str) -> Path:
        """The file that an include in ``above`` names; it need not be there."""
        target = above.parent / name.replace("\\", "/")
        if target.is_file() and any(target.resolve().is_relative_to(f) for f in self.folders):
            return target
        return self.files.get(target.name.lower(), target)

    def allows(self, path: Path) -> bool:
        """It is there, and may be read."""
        named = path in self.files.values()
        return path.is_file() and (
            named or any(path.resolve().is_relative_to(f) for f in self.folders)
        )


def read_source(path: Path, report: Report, given: Given, *, title: bool) -> Source:
    """Reads a file.

    Args:
        title: The first line is a title, as in a file that ngspice runs.

    Raises:
        InputError: The file cannot be read.
        CircuitError: A line makes no sense; names file and line.
    """
    source = Source(path.stem)
    lines = _expand(path, source, report, given, title, ())
    inside: Subcircuit | None = None
    control = False
    commands = Commands(source, report)
    branches = _Branches(source, report)
    for line in _without_functions(list(lines), report):
        first, _, rest = line.text.partition(" ")
        if inside is None and not control and branches.leave_out(line):
            continue
        if first in (".control", ".endc"):
            control = first == ".control"
        elif control:
            commands.take(line)
        elif first in (".subckt", ".macro"):
            if inside is not None:
                raise line.error("a subcircuit inside a subcircuit cannot be imported.")
            inside = _open(line)
        elif first in (".ends", ".eom"):
            if inside is None:
                raise line.error("'.ends' without '.subckt'.")
            source.subcircuits[inside.name] = inside
            inside = None
        elif inside is not None:
            if not line.text.startswith("."):
                _check_element(line)
            inside.body.append(line)
        else:
            _top(line, first, rest, source, report)
    if inside is not None:
        raise inside.origin.error(f"subcircuit '{inside.name}' is not closed with .ends.")
    for line in (card for section in source.sections for card in section.measures):
        if len(line.text.split()) < _MEAS_WORDS:
            raise line.error("a measurement needs an analysis, a name and what is measured.")
    return source


def _check_element(line: Line) -> None:
    """Raises CircuitError when a line that should be an element has no name or too few nodes."""
    words = split_words(line.text)
    bare = next((n for n, word in enumerate(words) if "=" in word), len(words))
    if not words or not words[0][0].isalpha() or bare < (2 if words[0][0] == "x" else 3):
        raise line.error(f"'{line.text[:40]}' is no element: it needs a name and its nodes.")


def _without_functions(lines: list[Line], report: Report) -> list[Line]:
    """The lines with calls of ``.func`` functions written out, and without the functions."""
    functions: dict[str, Function] = {}
    others: list[Line] = []
    for line in lines:
        if not line.text.startswith(".func "):
            others.append(line)
            continue
        function = located(line, read_function, line.text)
        functions[function.name] = function
        report.changed.append(
            f"{line.file}:{line.number}: the function {function.name} is written out where it is "
            "called"
        )
    return [replace(x, text=located(x, write_out, x.text, functions)) for x in others]


class _Branches:
    """``.if`` blocks outside of subcircuits: decided once, by the parameters given before them."""

    def __init__(self, source: Source, report: Report) -> None:
        self._source = source
        self._report = report
        self._blocks: list[tuple[bool, bool]] = []  # is active, has been decided

    def leave_out(self, line: Line) -> bool:
        """The line is a condition, or lies in a branch that is not taken."""
        match = CONDITION.match(line.text)
        outer = all(active for active, _ in self._blocks[:-1])
        if match is None:
            if self._blocks and not (outer and self._blocks[-1][0]):
                self._report.drop(line, "in a branch of .if that is not taken")
                return True
            return False
        card, condition = match[1], match[2]
        if card == ".if":
            reached = all(active for active, _ in self._blocks)
            holds = reached and self._holds(line, condition)
            self._blocks.append((holds, holds or not reached))
            return True
        if not self._blocks:
            raise line.error(f"'{card}' without '.if'.")
        _, decided = self._blocks.pop()
        if card != ".endif":
            holds = not decided and (card == ".else" or self._holds(line, condition))
            self._blocks.append((holds, decided or holds))
        return True

    def _holds(self, line: Line, condition: str) -> bool:
        value = value_of(condition, self._source.parameters)
        if value is None:
            raise line.error(
                f"the condition '{condition}' reads something that is not set before it.",
                hint="Set its parameters above it, or keep the branch that you want.",
            )
        self._report.changed.append(
            f"{line.file}:{line.number}: '{line.text}' is {'true' if value else 'false'}, decided "
            "for good"
        )
        return bool(value)


def _top(line: Line, first: str, rest: str, source: Source, report: Report) -> None:
    if not first.startswith("."):
        _check_element(line)
        source.cards.append(line)
    elif first in (".param", ".parameter", ".csparam"):
        for name, value in split_parameters(rest, line).items():
            if _SWITCH.match(name):
                report.drop(line, "the device library sets this switch itself")
            else:
                source.parameters[name] = value
    elif first == ".model":
        source.models.append(line)
    elif first == ".temp":
        source.temperature = rest.strip()
    elif first.removeprefix(".") in ANALYSES:
        source.sections[0].analyses.append(line)
    elif first in MEASURES:
        source.sections[0].measures.append(line)
    elif first in (".ic", ".nodeset", ".option", ".options", ".global"):
        source.other.append(line)
    elif first not in _SHOWN:
        report.drop(line, "this card is not supported")


def _open(line: Line) -> Subcircuit:
    words = [word for word in split_words(line.text)[1:] if word not in ("params:", "param:")]
    plain = [word for word in words if "=" not in word]
    if not plain:
        raise line.error("a .subckt line needs a name.")
    header = split_parameters(" ".join(word for word in words if "=" in word), line)
    return Subcircuit(plain[0], tuple(plain[1:]), header, [], line)


def _expand(
    path: Path,
    source: Source,
    report: Report,
    given: Given,
    title: bool,
    above: tuple[tuple[Path, str], ...],
    section: str = "",
) -> Iterator[Line]:
    """The lines of a file and of those that it includes.

    Args:
        section: Only the lines between ``.lib section`` and ``.endl``.
    """
    here = (path.resolve(), section)
    if here in above:
        raise InputError("the file includes itself.", file=path)
    try:
        text = read_text(path, errors="replace")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}.", file=path) from error
    check_text(text, str(path))
    if not title:
        text = _with_commented_subcircuit(text)
    lines = logical_lines(text, path.name, title=title)
    control = False
    for line in _section(lines, section) if section else lines:
        first, _, rest = line.text.partition(" ")
        if first == ".end":
            return
        if first in (".control", ".endc"):
            control = first == ".control"
        if first not in (".include", ".inc", ".lib"):
            yield line
            continue
        words = rest.split()
        if not words:
            raise line.error("a file card needs a file name.")
        name = words[0].strip("\"'")
        inner = words[1].lower() if first == ".lib" and len(words) > 1 else ""
        target = given.find(path, name)
        if pdk_of_file(name) is not None and target.name.lower() not in given.files:
            source.corner = source.corner or corner_of(inner or name)
            report.changed.append(
                f"{line.file}:{line.number}: '{name}' is the installed device library now"
            )
        elif given.allows(target):
            yield from _expand(target, source, report, given, False, (*above, here), inner)
        elif control:
            report.drop(line, "commands that are not there")
        else:
            source.missing.append((line, name))


def _section(lines: list[Line], name: str) -> Iterator[Line]:
    inside = False
    for line in lines:
        words = line.text.lower().split()
        if words[0] == ".lib" and len(words) == 2:
            inside = words[1] == name
        elif words[0] == ".endl":
            inside = False
        elif inside:
            yield line


def _with_commented_subcircuit(text: str) -> str:
    """xschem comments out the ``.subckt`` of the sheet that is on top; the circuit needs it."""
    if not _COMMENTED.search(text):
        return text
    return _COMMENTED_END.sub(r"\1", _COMMENTED.sub(r"\1", text, count=1), count=1)
