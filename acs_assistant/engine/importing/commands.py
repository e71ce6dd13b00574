"""``.control`` blocks: what is measured becomes cards, what is altered testbenches."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from acs_assistant.errors import CircuitError
from acs_assistant.sim.expressions import parse_number
from acs_assistant.sim.formulas import read_formula
from acs_assistant.sim.spice import Line

if TYPE_CHECKING:
    from acs_assistant.engine.importing.files import Report, Section, Source

ANALYSES = frozenset({"op", "dc", "ac", "tran", "noise", "tf"})
MEASURES = frozenset({".meas", ".measure", "meas", "measure"})
_QUIET = frozenset(
    {
        "run", "set", "unset", "destroy", "save", "option", "options", "setplot", "remzerovec",
        "rusage", "display", "listing", "status", "version", "quit", "exit", "setscale", "echo",
        "print", "show", "showmod", "settype", "linearize",
    }
)  # fmt: skip
_LOOPS = frozenset({"while", "foreach", "repeat", "dowhile", "if"})
_CHANGES = frozenset({"alter", "altermod", "alterparam", "reset"})
_REASONS = {
    "plot": "it only draws",
    "gnuplot": "it only draws",
    "hardcopy": "it only draws",
    "wrdata": "it only writes a file",
    "write": "it only writes a file",
    "shell": "commands of a shell are never run",
    "system": "commands of a shell are never run",
}
_ALTER = re.compile(
    r"alter\s+@?(?P<device>[\w.]+)\s*(?:\[\s*(?P<field>\w+)\s*\])?\s*(?P<kind>dc|ac|acmag)?\s*=?\s*"
    r"(?P<value>[^\s=\[\]]+)"
)
_FIELDS = {
    None: "", "dc": "", "ac": "ac", "acmag": "ac", "resistance": "", "capacitance": "", "r": "",
    "c": "", "inductance": "", "l": "", "current": "",
}  # fmt: skip
_ALTERPARAM = re.compile(r"alterparam\s+(?P<name>[a-z_]\w*)\s*=?\s*(?P<value>\S+)")
_PHASE = re.compile(r"\bvp\(([^()]*)\)")
_ANGLE = re.compile(r"\b(?:ph|phase|cph|cphase|vp)\(")
_UNITS = re.compile(r"set\s+units\s*=\s*(\w+)")


class Commands:
    """Takes the lines of ``.control`` blocks, one after another."""

    def __init__(self, source: Source, report: Report) -> None:
        self._source = source
        self._report = report
        self._depth = 0
        self._lost = False
        self._kind = ""
        self._degrees = False
        self._parameters: dict[str, str] = {}

    def take(self, line: Line) -> None:
        """One command."""
        first = line.text.split(None, 1)[0]
        if first in _LOOPS or (self._depth and first == "end"):
            self._depth += 1 if first in _LOOPS else -1
            self._report.drop(line, "loops are not supported")
        elif self._depth:
            self._report.drop(line, "inside a loop")
        elif first in _CHANGES:
            self._change(line, first)
        elif self._lost and first in ANALYSES | MEASURES | {"let"}:
            self._report.drop(line, "after a change of the circuit that cannot be imported")
        elif first in ANALYSES:
            self._analysis(line, first)
        elif first in MEASURES:
            self._measure(line)
        elif first == "let":
            self._formula(line)
        else:
            self._other(line, first)

    @property
    def _section(self) -> Section:
        return self._source.sections[-1]

    def _new_section(self, values: dict[tuple[str, str], str], parameters: dict[str, str]) -> None:
        from acs_assistant.engine.importing.files import Section

        if self._section.analyses or self._section.measures:
            self._source.sections.append(Section(values, parameters))
        else:
            self._section.values, self._section.parameters = values, parameters

    def _analysis(self, line: Line, kind: str) -> None:
        section = self._section
        if any(card.text.split()[0] == f".{kind}" for card in section.analyses):
            self._new_section(dict(section.values), dict(section.parameters))
        self._kind = kind
        self._section.analyses.append(Line(f".{line.text}", line.file, line.number))
        self._report.changed.append(f"{line.file}:{line.number}: '{line.text}' is a card now")

    def _measure(self, line: Line) -> None:
        text = "." + line.text.lstrip(".").replace("$&", "")
        if self._degrees and _PHASE.search(text):
            kind = text.split()[1]
            for node in dict.fromkeys(_PHASE.findall(text)):
                name = f"degrees_{re.sub(r'[^a-z0-9_]', '_', node)}"
                card = f".let {kind} {name} = 180/pi*vp({node})"
                if not any(known.text == card for known in self._section.measures):
                    self._section.measures.append(Line(card, line.file, line.number))
                text = text.replace(f"vp({node})", name)
            self._report.changed.append(
                f"{line.file}:{line.number}: vp() is in degrees, as 'set units=degrees' says"
            )
        self._section.measures.append(Line(text, line.file, line.number))

    def _change(self, line: Line, first: str) -> None:
        if first == "reset":
            self._new_section({}, dict(self._parameters))
            self._lost = False
            return
        if first == "alterparam":
            match = _ALTERPARAM.fullmatch(line.text)
            known = match is not None and match["name"] in self._source.parameters
            if match is not None and known and parse_number(match["value"]) is not None:
                self._parameters[match["name"]] = match["value"]
                self._report.changed.append(
                    f"{line.file}:{line.number}: '{line.text}' is a testbench after the next reset"
                )
                return
        match = _ALTER.fullmatch(line.text)
        cards = {card.text.split(None, 1)[0] for card in self._source.cards}
        field = match["field"] or match["kind"] if match else None
        if (
            match is None
            or match["device"] not in cards
            or field not in _FIELDS
            or parse_number(match["value"].strip("{}'")) is None
        ):
            self._lost = True
            self._report.drop(line, "this change of the circuit is not supported")
            return
        section = self._section
        values = {**section.values, (match["device"], _FIELDS[field]): match["value"]}
        self._new_section(values, dict(section.parameters))
        self._report.changed.append(f"{line.file}:{line.number}: '{line.text}' is a testbench now")

    def _formula(self, line: Line) -> None:
        """``let x = formula``: of measured figures it is a ``.meas``, of vectors a ``*.let``."""
        section = self._section
        name, equals, formula = line.text.removeprefix("let").replace("$&", "").partition("=")
        name, formula = name.strip(), formula.strip()
        measured = {x.text.split()[2] for x in section.measures if x.text.startswith(".meas")}
        read = set(re.findall(r"(?<![\w.@\[])[a-z_]\w*(?!\s*\()", formula))
        if equals and read and read <= measured and "(" not in formula:
            kind = section.measures[-1].text.split()[1]
            text = f".meas {kind} {name} param='{formula}'"
            section.measures.append(Line(text, line.file, line.number))
            return
        kind = self._kind or self._only_kind(section)
        if self._degrees:
            formula = _ANGLE.sub(lambda match: f"180/pi*{match[0]}", formula)
        card = Line(f".let {kind} {name} = {formula}", line.file, line.number)
        try:
            read_formula(card)
        except CircuitError:
            self._report.drop(line, "a formula that cannot be taken over")
            return
        section.measures.append(card)

    @staticmethod
    def _only_kind(section: Section) -> str:
        kinds = [card.text.split()[0].removeprefix(".") for card in section.analyses]
        return next((kind for kind in reversed(kinds) if kind != "op"), "op" if kinds else "")

    def _other(self, line: Line, first: str) -> None:
        units = _UNITS.fullmatch(line.text)
        if units:
            self._degrees = units[1].startswith("deg")
        elif first == "setplot":
            kind = line.text.split()[-1].rstrip("0123456789")
            self._kind = kind if kind in ANALYSES else self._kind
        if first in ("plot", "wrdata", "print", "write", "hardcopy", "gnuplot"):
            kind = self._kind or self._only_kind(self._section)
            self._section.shown.append((kind, line.text.partition(" ")[2]))
        if first not in _QUIET:
            self._report.drop(line, _REASONS.get(first, "a command, not part of the circuit"))
