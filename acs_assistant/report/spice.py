"""A sized circuit as one file that plain ``ngspice -b`` runs, measures and prints.

ngspice has one circuit a file, and a circuit folder has several testbenches. The deck makes each
testbench a subcircuit of its own, without ports, so that they share the device models and nothing
else; its ``.control`` block runs the analyses of one after the other. A ``.if`` would keep them
further apart, but ngspice then no longer drops the device models that are not used, and takes ten
times as long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from acs_assistant import atomic
from acs_assistant.domain import Circuit, Conditions, Metric, Sizing, SpecResult
from acs_assistant.errors import CircuitError, InputError, PdkError
from acs_assistant.report.cards import Cards, command, read_testbench
from acs_assistant.report.record import SessionRecord, evaluation_of, sizing_of
from acs_assistant.units import format_quantity

MeasureScript = Callable[[Metric], Sequence[str]]
"""Lines of a ``.control`` block, after the analyses, that print a metric as ``name = value``.

They name the plot they read as ngspice numbers it when the testbench runs alone (``setplot ac1``)
and nodes and sources as the testbench does; the deck gives them those names.
"""


def deck(
    circuit: Circuit,
    sizing: Sizing,
    conditions: Conditions,
    library: Path,
    script: MeasureScript,
    notes: Iterable[str] = (),
) -> str:
    """The whole file as text.

    Args:
        library: The installed device models; ``conditions.corner`` is the section taken from them.
        script: Writes the lines that measure one metric.
        notes: Comment lines for the head of the file.

    Raises:
        InputError: The sizing is not complete or out of bounds.
        CircuitError: A testbench holds what cannot be merged; the message names the line.
    """
    sizes = circuit.snap(sizing)
    benches = [read_testbench(testbench) for testbench in circuit.testbenches]
    given = _given(circuit, sizes, conditions)
    own = _own_parameters(benches, given)
    expressions: dict[str, str] = {}
    control = _control(circuit, benches, script, expressions)
    lines = [
        _comment(f"{circuit.title} ({circuit.name})"),
        *map(_comment, notes),
        "*",
        "* ngspice -b <this file> prints every metric, in SI units, dB and degrees.",
        *_models(circuit, benches, library, conditions.corner),
        f".temp {conditions.temperature:.12g}",
        "",
        "* Conditions and sizes: change them here.",
        *_parameter_lines(circuit, given),
        *(f".param {name}={text}" for name, text in own.items()),
        "",
        *_netlist(circuit, benches),
        *_shared(benches),
        *(line for cards in benches for line in _testbench(cards, {*given, *own})),
        *(f".csparam {name}={{{text}}}" for name, text in expressions.items()),
        "",
        *control,
        ".end",
    ]
    return "\n".join(lines) + "\n"


def session_deck(record: SessionRecord, library: Path, script: MeasureScript) -> str:
    """The deck of the session's best turn at the first of its corners.

    Raises:
        InputError: Nothing was simulated yet.
    """
    turn = record.best_turn
    if turn is None:
        raise InputError(
            f"session {record.id} has no simulated turn to export.",
            hint="Simulate at least one turn first.",
        )
    evaluation = evaluation_of(turn)
    made = record.provenance
    notes = [
        f"Session {record.id}, turn {turn.index}, made {record.created} by ACS Assistant "
        f"{made.app_version}".rstrip(),
        f"Measured there with {made.ngspice_version or 'ngspice'}:",
        *(_result_note(record.task.circuit, result) for result in evaluation.score.specs),
    ]
    conditions = evaluation.nominal.conditions
    return deck(record.task.circuit, sizing_of(turn), conditions, library, script, notes)


def write_deck(record: SessionRecord, library: Path, script: MeasureScript, path: Path) -> None:
    """Writes ``session_deck`` atomically."""
    atomic.write_text(path, session_deck(record, library, script))


def _comment(text: str) -> str:
    """A comment line whatever the text holds: a line break in it would start a card."""
    return "* " + " ".join(text.split())


def _result_note(circuit: Circuit, result: SpecResult) -> str:
    unit = circuit.metric(result.spec.metric).unit
    value = "not measured" if result.value is None else f"{format_quantity(result.value, 6)} {unit}"
    where = f" at {result.corner}" if result.corner else ""
    return f"  {result.spec} {unit}: {value}{where}, {'met' if result.met else 'missed'}"


def _given(circuit: Circuit, sizes: Sizing, conditions: Conditions) -> dict[str, str]:
    """The parameters that every testbench shares, in SPICE notation."""
    return {
        "supply": format_quantity(conditions.supply, 12),
        "load": format_quantity(conditions.load, 12),
        **{p.name: p.format(sizes[p.name]) for p in circuit.parameters},
    }


def _parameter_lines(circuit: Circuit, given: dict[str, str]) -> list[str]:
    roles = {p.name: ", ".join(part for part in (p.role, " ".join(p.devices)) if part)
             for p in circuit.parameters}  # fmt: skip
    return [
        f".param {name}={value}"
        + (f" $ {' '.join(roles[name].split())}" if roles.get(name) else "")
        for name, value in given.items()
    ]


def _models(circuit: Circuit, benches: Sequence[Cards], library: Path, corner: str) -> list[str]:
    named = [entry for cards in benches for entry in cards.libraries]
    installed = [(file, section) for file, section in named if _is_installed(file, library)]
    others = dict.fromkeys(entry for entry in named if entry not in installed)
    lines = []
    if installed or not named:
        lines += [
            "* The device models that ACS Assistant installed. For another PDK root write:",
            f'*   .lib "<PDK_ROOT>/{circuit.pdk}A/libs.tech/ngspice/{library.name}" {corner}',
            *_library(library, corner),
        ]
    lines += [f'.lib "{_beside(circuit, file)}" {section}' for file, section in others]
    return lines


def _library(library: Path, corner: str) -> list[str]:
    """The ``.lib`` line, or the section itself: ngspice's ``.lib`` takes no path with a space."""
    if not re.search(r"\s", str(library)):
        return [f'.lib "{library}" {corner}']
    try:
        text = library.read_text(encoding="utf-8", errors="replace")
    except OSError as fault:
        raise PdkError(
            f"the device models cannot be read: {fault.strerror}.",
            hint="Install them with: acs-assistant pdk install sky130",
            file=library,
        ) from fault
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        words = line.split()
        keyword = words[0].lower() if words else ""
        if keyword == ".lib" and len(words) == 2:
            inside = words[1].lower() == corner
        elif keyword == ".endl":
            inside = False
        elif inside and keyword in (".include", ".inc", ".lib"):
            lines += _named_there(library, line)
        elif inside:
            lines.append(line)
    return lines


def _named_there(library: Path, line: str) -> list[str]:
    """A file card of the library, whose relative names are relative to the library."""
    match = re.fullmatch(r"\s*(\.\w+)\s+(\"[^\"]+\"|'[^']+'|\S+)\s*(\S*)\s*", line)
    if match is None:
        return [line]
    keyword, file, section = match.groups()
    path = library.parent / file.strip("\"'")
    return _library(path, section.lower()) if keyword.lower() == ".lib" else [f'.include "{path}"']


def _is_installed(file: str, library: Path) -> bool:
    return Path(file).name == library.name


def _beside(circuit: Circuit, file: str) -> Path:
    """A library's place: relative names are relative to the circuit folder."""
    return (circuit.path / file).resolve()


def _own_parameters(benches: Sequence[Cards], given: dict[str, str]) -> dict[str, str]:
    """Parameters of the testbenches themselves, for the cards that stay outside of them.

    A name with another value in each testbench is left to each alone.
    """
    taken = {name.lower() for name in given}
    values: dict[str, set[str]] = {}
    for cards in benches:
        for name, text in cards.parameters.items():
            if name not in taken:
                values.setdefault(name, set()).add(text)
    return {name: texts.pop() for name, texts in values.items() if len(texts) == 1}


def _netlist(circuit: Circuit, benches: Sequence[Cards]) -> list[str]:
    """The device under test and every other file that a testbench includes, as written."""
    seen: set[str] = set()
    names = ["netlist.spice", *(file for cards in benches for file in cards.includes)]
    return [line for name in names for line in _file(circuit, name, seen)]


def _file(circuit: Circuit, name: str, seen: set[str]) -> list[str]:
    """One included file with the files that it includes; a ``.end`` there would end the deck."""
    if name in seen:
        return []
    seen.add(name)
    path = circuit.path / name
    if name == "netlist.spice":
        text = circuit.netlist
    else:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as fault:
            raise CircuitError(f"cannot be read: {fault.strerror}.", file=path) from fault
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        keyword = line.split(maxsplit=1)[0].lower() if line.strip() else ""
        if keyword in (".control", ".if"):
            raise CircuitError(f"a netlist may not hold {keyword}.", file=path, line=number)
        if keyword in (".include", ".inc"):
            lines += _file(circuit, line.split(maxsplit=1)[1].strip().strip("\"'"), seen)
        elif keyword != ".end":
            lines.append(line)
    return lines


def _shared(benches: Sequence[Cards]) -> list[str]:
    """What holds for the whole deck; equal cards of two testbenches become one."""
    return list(dict.fromkeys(card for cards in benches for card in cards.shared))


def _testbench(cards: Cards, known: set[str]) -> list[str]:
    name = cards.instance.removeprefix("x")
    return [
        "",
        f".subckt {name}",
        *(f".param {word}={text}" for word, text in cards.parameters.items() if word not in known),
        *(line for line in cards.elements if line),
        f".ends {name}",
        f"{cards.instance} {name}",
        *(cards.outside(card.text) for card in cards.starts),
    ]


def _control(
    circuit: Circuit,
    benches: Sequence[Cards],
    script: MeasureScript,
    expressions: dict[str, str],
) -> list[str]:
    """Runs one testbench after the other; plots are numbered from 1 in each."""
    lines = [".control", "set numdgt=10", "set num_threads=1", "set noinit"]
    for cards in benches:
        metrics = [m for m in circuit.metrics if m.testbench == cards.testbench.name]
        if metrics:
            lines += ["", f"* testbench {cards.testbench.name}", "destroy all"]
            lines += _analyses(cards, metrics, expressions)
            for metric in metrics:
                lines += [cards.inner(line) for line in script(metric)]
    return [*lines, "", "quit 0", ".endc"]


def _analyses(cards: Cards, metrics: Sequence[Metric], expressions: dict[str, str]) -> list[str]:
    spoken = " ".join(
        [str(value) for metric in metrics for value in metric.arguments.values()]
        + [card.text for card in cards.measures]
    )
    aliases = cards.aliases(set(re.findall(r"[a-z_]\w*", spoken.lower())))
    lines = []
    for card in cards.analyses:
        lines.append(command(cards, card, expressions))
        if card.keyword != ".noise":
            lines += aliases
        lines += [
            cards.inner("meas " + own.rest)
            for own in cards.measures
            if own.rest.lower().startswith(card.keyword[1:])
        ]
    return lines
