"""From a circuit's files to what ngspice reads: one flat deck per testbench."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from acs_assistant.domain import Circuit, Metric
from acs_assistant.errors import CircuitError, UnitError
from acs_assistant.sim.expressions import ExpressionError, compile_expression, namespace
from acs_assistant.sim.flatten import CellLibrary, DeckError, Draws, FlatDevice, Flattener
from acs_assistant.sim.formulas import read_formula
from acs_assistant.sim.measures import check, find_measure
from acs_assistant.sim.pdk import PACKAGES
from acs_assistant.sim.safety import check_lines, check_text, inside
from acs_assistant.sim.spice import (
    Line,
    Netlist,
    file_card,
    logical_lines,
    parse,
    split_words,
)
from acs_assistant.textfile import read_text
from acs_assistant.units import parse_quantity

_ANALYSES = ("op", "dc", "ac", "tran", "noise", "tf", "pz")
_MAX_POINTS = 2_000_000
_NETLIST_NAMES = ("netlist.spice",)
FORMULA = re.compile(r"\bparam\s*=\s*")
"""Where the formula of a ``.meas`` line begins that has one."""
_WITHOUT_EFFECT = frozenset(
    {"meas", "measure", "let", "temp", "save", "print", "plot", "width", "title"}
)
_PARAMETER = re.compile(r"(?:v|i|vm|vp|vr|vi|vdb)\([^()]*\)|(?<![\w.@#\[])([a-z_]\w*)(?![\w.#(])")


@dataclass(frozen=True, slots=True)
class BenchSource:
    """One testbench with every file that it includes: plain text, fit to send to a worker.

    Attributes:
        library: Base name of the device library that it asks for, "" for none.
    """

    name: str
    text: str
    file: str
    includes: Mapping[str, str]
    library: str = ""


def gather(circuit: Circuit) -> tuple[BenchSource, ...]:
    """Reads and checks every testbench of a circuit, and the files that they include.

    Raises:
        CircuitError: A file is missing or refused; it names the file and the line.
    """
    sources = []
    for bench in circuit.testbenches:
        includes: dict[str, str] = {}
        libraries: list[str] = []
        _collect(bench.text, str(bench.path), True, circuit, includes, libraries, 0)
        sources.append(
            BenchSource(
                bench.name, bench.text, str(bench.path), includes, libraries[0] if libraries else ""
            )
        )
    if not sources:
        raise CircuitError(f"circuit {circuit.name} has no testbench.", file=circuit.path)
    return tuple(sources)


def _collect(
    text: str,
    file: str,
    title: bool,
    circuit: Circuit,
    includes: dict[str, str],
    libraries: list[str],
    depth: int,
) -> None:
    check_text(text, file)
    lines = logical_lines(text, file, title=title)
    check_lines(lines)
    for line in lines:
        card = file_card(line)
        if card is None:
            continue
        name, section = card
        if section and _is_device_library(circuit, name):
            libraries.append(_base(name))
            continue
        if name in includes:
            continue
        if depth > 10:
            raise line.error("files include each other without end.")
        if name in _NETLIST_NAMES:
            includes[name] = circuit.netlist
        else:
            path = inside(circuit.path, name, line)
            try:
                includes[name] = read_text(path, errors="replace")
            except OSError as error:
                raise line.error(
                    f"cannot read '{name}': {error.strerror}.",
                    hint="Put the file into the circuit's folder.",
                ) from None
        _collect(
            includes[name], str(circuit.path / name), False, circuit, includes, libraries, depth + 1
        )


def _is_device_library(circuit: Circuit, name: str) -> bool:
    """It is called as the library of the circuit's PDK, and the circuit does not bring its own."""
    package = PACKAGES.get(circuit.pdk)
    known = {_base(place) for place in (package.library, *package.places)} if package else set()
    path = (circuit.path / name).resolve()
    own = path.is_relative_to(circuit.path.resolve()) and path.is_file()
    return _base(name) in known and not own


def _base(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name


def _section(lines: Sequence[Line], name: str) -> list[Line]:
    """The lines between ``.lib name`` and ``.endl``."""
    kept: list[Line] = []
    inside = False
    for line in lines:
        words = line.text.split()
        if words[0] == ".lib" and len(words) == 2:
            inside = words[1].lower() == name.lower()
        elif words[0] == ".endl":
            inside = False
        elif inside:
            kept.append(line)
    return kept


@dataclass(frozen=True, slots=True)
class Analysis:
    """One analysis to run: the command, and the ``.meas`` and ``*.let`` lines that follow it.

    Attributes:
        op: Lines that follow the operating point which an ac analysis leaves.
    """

    kind: str
    command: str
    meas: tuple[tuple[str, str], ...] = ()
    op: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Deck:
    """What the worker gives to ngspice.

    Attributes:
        keep_op: The ac analysis also leaves the operating point, so "op" need not be run.
        devices: The transistors of the circuit under test, with the names to report.
        area: Of the circuit under test, square metres.
    """

    lines: list[str]
    analyses: list[Analysis]
    keep_op: bool
    devices: list[tuple[str, FlatDevice]] = field(default_factory=list)
    area: float = 0.0


class Testbench:
    """One testbench, parsed once; decks for any sizing come quickly.

    Args:
        metrics: The metrics that are taken here; analyses that none needs are not run.
        names: The circuit's parameters.

    Raises:
        CircuitError: The netlist cannot be read, or asks for something that is not allowed.
    """

    __test__ = False  # not a pytest class

    def __init__(
        self, source: BenchSource, metrics: Sequence[Metric], names: Sequence[str]
    ) -> None:
        self.source = source
        lines = logical_lines(source.text, source.file, title=True)
        check_lines(lines)
        netlist = parse(lines, self._include)
        self._netlist = netlist
        self._circuit = _main_subckt(netlist, names)
        self._flattener = Flattener(netlist.top, netlist.globals)
        self._dots = [line for line in netlist.dots if _kind(line) not in _ANALYSES]
        self._cards = [line for line in netlist.dots if _kind(line) in _ANALYSES]
        self._wanted = {find_measure(metric.measure).analysis for metric in metrics}
        for metric in metrics:
            check(metric)
        if any(metric.measure == "meas" for metric in metrics) or not metrics:
            self._wanted |= set(_ANALYSES)

    def _include(self, line: Line) -> list[Line]:
        card = file_card(line)
        text = self.source.includes.get(card[0]) if card else None
        if card is None or (text is None and card[1]):
            return []
        if text is None:
            raise line.error(f"cannot read '{card[0]}'.")
        lines = logical_lines(text, PurePosixPath(card[0]).name)
        check_lines(lines)
        return _section(lines, card[1]) if card[1] else lines

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of analysis that the file asks for."""
        return frozenset(_kind(line) for line in self._cards)

    def deck(
        self,
        values: Mapping[str, float],
        temperature: float,
        library: CellLibrary,
        *,
        draws: Draws | None = None,
        everything: bool = False,
        devices: bool = True,
        last_bin: bool = False,
    ) -> Deck:
        """The deck for one sizing under one set of conditions.

        Args:
            values: Every parameter and condition by name, SI.
            everything: Run every analysis of the file, also those that no metric needs.
            devices: Operating points are wanted from this testbench.
            last_bin: See ``Flattener.flatten``.

        Raises:
            DeckError: The sizing gives no deck; the message says why.
        """
        for name, value in values.items():
            if not math.isfinite(value):
                raise DeckError(f"{name} is not a finite number")
        flat = self._flattener.flatten(values, library, draws, temperature, last_bin)
        analyses = self._analyses(values, everything, devices)
        keep_op = _merges(analyses)
        if keep_op:
            own = next(a.meas for a in analyses if a.kind == "op")
            analyses = [replace(a, op=own) if a.kind == "ac" else a for a in analyses]
            analyses = [a for a in analyses if a.kind != "op"]
        lines = [f"* {self.source.name}", f".temp {temperature!r}"]
        if library.scale != 1.0:
            lines.append(f".option scale={library.scale!r}")
        if keep_op:
            lines.append(".option keepopinfo")
        lines += flat.lines
        lines += [f".model {name} {text}" for text, name in flat.models.items()]
        lines += self._other_cards(values)
        lines.append(".end")
        copy = _first_copy(flat.devices, self._copies())
        found = [
            (_label(device.instance, copy), device)
            for device in flat.devices
            if device.instance[: len(copy)] == copy
        ]
        area = sum(size for path, size in flat.areas if path[: len(copy)] == copy)
        return Deck(lines, analyses, keep_op, found, area)

    def _copies(self) -> list[str]:
        if self._circuit is None:
            return []
        return [
            words[0]
            for words in (split_words(line.text) for line in self._netlist.top.cards)
            if words[0][0] == "x" and self._circuit in words
        ]

    def _analyses(
        self, values: Mapping[str, float], everything: bool, devices: bool
    ) -> list[Analysis]:
        chosen = []
        meas = [
            line
            for line in self._dots
            if _kind(line) in ("meas", "measure", "let") and len(line.text.split()) > 3
        ]
        for line in self._cards:
            kind = _kind(line)
            needed = kind in self._wanted or (kind == "op" and devices)
            if not (everything or needed):
                continue
            text = " ".join(_evaluated(split_words(line.text[1:]), values, line))
            check_sweep(text.split(), line)
            own = tuple(_meas(card, values) for card in meas if card.text.split()[1] == kind)
            chosen.append(Analysis(kind, text, own))
        if not chosen:
            raise DeckError(f"{self.source.file}: the testbench has no analysis that is needed")
        return chosen

    def _other_cards(self, values: Mapping[str, float]) -> list[str]:
        kept = []
        saved = [line.text for line in self._dots if _kind(line) == "save" and "@" in line.text]
        if saved:
            kept += [".save all", *saved]
        for line in self._dots:
            kind = _kind(line)
            if kind in ("ic", "nodeset", "option", "options", "opt"):
                words = split_words(line.text)
                if kind.startswith("opt") and any(w.startswith("scale") for w in words):
                    continue
                kept.append(" ".join(_evaluated(words, values, line)))
            elif kind not in _WITHOUT_EFFECT:
                raise DeckError(f"{line.file}:{line.number}: '.{kind}' is not supported")
        return kept


def _kind(line: Line) -> str:
    return line.text.split(None, 1)[0].removeprefix(".")


def _meas(line: Line, values: Mapping[str, float]) -> tuple[str, str]:
    """Name and command of a ``.meas`` or ``*.let`` line; a ``param=`` formula is left as it is."""
    if _kind(line) == "let":
        _, name, expression = read_formula(line)
        return name, f"let {name} = {_with_numbers(expression, values)}"
    words = line.text.split()
    if FORMULA.search(line.text):
        return words[2], " ".join(words).removeprefix(".")
    return words[2], "meas " + " ".join(_evaluated(split_words(line.text)[1:], values, line))


def _with_numbers(expression: str, values: Mapping[str, float]) -> str:
    """Parameters become numbers; what stands in brackets names nodes and stays."""
    return _PARAMETER.sub(
        lambda match: repr(values[match[1]]) if match[1] in values else match[0], expression
    )


def _merges(analyses: Sequence[Analysis]) -> bool:
    """One operating point serves .op and .ac, when there is one of each."""
    kinds = [analysis.kind for analysis in analyses]
    return kinds.count("op") == 1 and kinds.count("ac") == 1


def _evaluated(words: Sequence[str], values: Mapping[str, float], line: Line) -> list[str]:
    """Words of a dot card with braced expressions and parameter names made numbers."""
    shared = namespace(values)
    out = []
    for word in words:
        text = word
        for part in re.findall(r"\{[^{}]*\}|'[^']*'", word):
            try:
                text = text.replace(part, repr(compile_expression(part)({}, shared)))
            except ExpressionError as error:
                raise DeckError(f"{line.file}:{line.number}: {error}") from None
        out.append(repr(values[text]) if text in values else text)
    return out


def check_sweep(words: Sequence[str], line: Line) -> None:
    """Refuses sweeps without end: ngspice loops on them and eats memory.

    Raises:
        DeckError: With the file and the line.
    """
    kind = words[0]
    where = f"{line.file}:{line.number}"
    try:
        if kind in ("ac", "noise"):
            place = next((i for i, w in enumerate(words) if w in ("dec", "oct", "lin")), None)
            if place is None or len(words) < place + 4:
                raise DeckError(f"{where}: .{kind} needs dec, oct or lin, points, start and stop")
            count, start, stop = (_quantity(w, where) for w in words[place + 1 : place + 4])
            _check_frequencies(words[place], count, start, stop, where)
        elif kind == "tran":
            step, stop = (_quantity(w, where) for w in words[1:3])
            if step <= 0 or stop <= 0 or stop / step > _MAX_POINTS:
                raise DeckError(f"{where}: .tran needs a positive step and fewer than 2e6 steps")
        elif kind == "dc":
            if len(words) < 5:
                raise DeckError(f"{where}: .dc needs a source, start, stop and step")
            points = 1.0
            for i in range(1, len(words) - 3, 4):
                start, stop, step = (_quantity(w, where) for w in words[i + 1 : i + 4])
                if step == 0 or (stop - start) / step < 0:
                    raise DeckError(f"{where}: .dc has a step that never reaches the end")
                points *= (stop - start) / step + 1
            if points > _MAX_POINTS:
                raise DeckError(f"{where}: .dc has more than 2e6 points")
    except ValueError:
        raise DeckError(f"{where}: .{kind} lacks a number") from None


def _check_frequencies(mode: str, count: float, start: float, stop: float, where: str) -> None:
    if count < 1 or start <= 0 or stop < start:
        raise DeckError(f"{where}: the sweep needs points, and 0 < start <= stop")
    if mode == "lin":
        points = count
    else:
        points = count * math.log(stop / start) / math.log(10 if mode == "dec" else 2)
        if 0 < points < 1:
            raise DeckError(f"{where}: the sweep has a step larger than its range")
    if points > _MAX_POINTS:
        raise DeckError(f"{where}: the sweep has more than 2e6 points")


def _quantity(word: str, where: str) -> float:

    try:
        return parse_quantity(word)
    except UnitError:
        raise DeckError(f"{where}: '{word}' is not a number") from None


def _main_subckt(netlist: Netlist, names: Sequence[str]) -> str | None:
    """The subcircuit under test: the one whose parameters are the circuit's."""
    best, most = None, 0
    for name, scope in netlist.top.subckts.items():
        shared = len(set(scope.header) & set(names))
        if shared > most:
            best, most = name, shared
    if best is None and netlist.top.subckts and not names:
        return next(iter(netlist.top.subckts))
    return best


def _first_copy(devices: Sequence[FlatDevice], copies: Sequence[str]) -> tuple[str, ...]:
    for name in copies:
        if any(device.instance[:1] == (name,) for device in devices):
            return (name,)
    return (copies[0],) if copies else ()


def _label(instance: tuple[str, ...], copy: tuple[str, ...]) -> str:
    """ "xm1" below the copy reads M1, as a designer calls it."""
    inner = instance[len(copy) :]
    last = inner[-1] if inner else instance[-1]
    short = last[1:] if last[0] == "x" and len(last) > 1 else last
    return ".".join((*inner[:-1], short)).upper()
