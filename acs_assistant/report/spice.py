"""A sized circuit as one file that plain ``ngspice -b`` runs, measures and prints.

ngspice has one circuit a file, and a circuit folder has several testbenches. Together in one
circuit they would share the time steps of a transient, and a ``.if`` would keep ngspice from
dropping the device models that are not used. So the deck is the first testbench's circuit; its
``.control`` block measures, drops that circuit and enters the next one line by line (``remcirc``
and ``circbyline``, ngspice manual, "Interactive Interpreter"). Every testbench runs as if alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from acs_assistant import atomic
from acs_assistant.domain import Circuit, Conditions, Metric, Sizing, SpecResult
from acs_assistant.errors import CircuitError, InputError, PdkError
from acs_assistant.report.cards import Bench, by_line, read_bench
from acs_assistant.report.record import SessionRecord, evaluation_of, sizing_of
from acs_assistant.units import format_quantity

MeasureScript = Callable[[Metric], Sequence[str]]
"""Lines of a ``.control`` block, after the analyses, that print a metric as ``name = value``.

They name the plot they read as ngspice numbers it when the testbench runs alone (``setplot ac1``).
The deck writes those of ``.meas`` results itself.
"""


def deck(
    circuit: Circuit,
    sizing: Sizing,
    conditions: Conditions,
    library: Path | None,
    script: MeasureScript,
    notes: Iterable[str] = (),
) -> str:
    """The whole file as text.

    Args:
        library: The installed device models, of which the section ``conditions.corner`` is taken;
            None for a circuit that brings its own.
        script: Writes the lines that measure one metric.
        notes: Comment lines for the head of the file.

    Raises:
        InputError: The sizing is not complete or out of bounds.
        CircuitError: The circuit has no testbench, or one cannot be read; the message names the
            line.
        PdkError: The device models cannot be read.
    """
    if not circuit.testbenches:
        raise CircuitError(f"circuit {circuit.name} has no testbench.", file=circuit.path)
    given = _given(circuit, circuit.snap(sizing), conditions)
    known = {name.lower() for name in given}
    first, *others = [read_bench(circuit, bench, known) for bench in circuit.testbenches]
    temperature = f".temp {conditions.temperature:.12g}"
    lines = [
        _comment(f"{circuit.title} ({circuit.name})"),
        *map(_comment, notes),
        "*",
        "* ngspice -b <this file> prints every metric, in SI units, dB and degrees.",
        *_models(circuit, first, library, conditions.corner),
        temperature,
        "",
        "* Conditions and sizes: change them here.",
        *_parameter_lines(circuit, given),
        *(f".csparam acs_{name}={{{name}}}" for name in (given if others else ())),
        "",
        *first.body,
        "",
        ".control",
        "set numdgt=10",
        "set num_threads=1",
        "set noinit",
        *_run(circuit, first, script),
    ]
    for bench in others:
        entered = [
            *_models(circuit, bench, library, conditions.corner),
            temperature,
            *(f".param {name}=$&acs_{name}" for name in given),
            *bench.body,
        ]
        lines += ["", f"* testbench {bench.testbench.name}", "destroy all", "remcirc"]
        lines += [f"circbyline * {circuit.name}, {bench.testbench.name}"]
        lines += [*by_line(entered), "circbyline .end"]
        lines += _run(circuit, bench, script)
    return "\n".join([*lines, "", "quit 0", ".endc", ".end"]) + "\n"


def session_deck(record: SessionRecord, library: Path | None, script: MeasureScript) -> str:
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
    nominal = evaluation.nominal
    notes = [
        f"Session {record.id}, turn {turn.index}, made {record.created} by ACS Assistant "
        f"{made.app_version}".rstrip(),
        f"Measured there with {made.ngspice_version or 'ngspice'} at {nominal.conditions.corner}:",
        *_measured(record.task.circuit, nominal.metrics, evaluation.score.specs),
    ]
    return deck(record.task.circuit, sizing_of(turn), nominal.conditions, library, script, notes)


def write_deck(
    record: SessionRecord, library: Path | None, script: MeasureScript, path: Path
) -> None:
    """Writes ``session_deck`` atomically."""
    atomic.write_text(path, session_deck(record, library, script))


def _comment(text: str) -> str:
    """A comment line whatever the text holds: a line break in it would start a card."""
    return "* " + " ".join(text.split())


def _measured(
    circuit: Circuit, metrics: Mapping[str, float], results: Sequence[SpecResult]
) -> list[str]:
    """One line a metric, with the spec that it answers; the worst corner where it is another."""
    specs = {result.spec.metric: result for result in results}
    lines = []
    for metric in circuit.metrics:
        if metric.name not in metrics:
            continue
        text = f"{metric.name} = {format_quantity(metrics[metric.name], 6)} {metric.unit}".rstrip()
        if metric.name in specs:
            result = specs[metric.name]
            text += f", {result.spec}: {'met' if result.met else 'missed'}"
            if result.value is not None and result.value != metrics[metric.name]:
                text += f", worst {format_quantity(result.value, 6)} at {result.corner}"
        lines.append(text)
    return lines


def _given(circuit: Circuit, sizes: Sizing, conditions: Conditions) -> dict[str, str]:
    """The parameters that every testbench shares, in SPICE notation."""
    return {
        "supply": format_quantity(conditions.supply, 12),
        "load": format_quantity(conditions.load, 12),
        **{p.name: p.format(sizes[p.name]) for p in circuit.parameters},
    }


def _parameter_lines(circuit: Circuit, given: dict[str, str]) -> list[str]:
    roles = {p.name: ", ".join(filter(None, (p.role, " ".join(p.devices))))
             for p in circuit.parameters}  # fmt: skip
    return [
        f".param {name}={value}"
        + (f" $ {' '.join(roles[name].split())}" if roles.get(name) else "")
        for name, value in given.items()
    ]


def _run(circuit: Circuit, bench: Bench, script: MeasureScript) -> list[str]:
    lines = ["run", *bench.measures]
    for metric in circuit.metrics:
        if metric.testbench != bench.testbench.name:
            continue
        if metric.measure == "meas":
            source = str(metric.arguments.get("name", metric.name)).lower()
            renamed = [] if source == metric.name else [f"let {metric.name} = {source}"]
            lines += ["setplot const", *renamed, f"print {metric.name}"]
        else:
            lines += script(metric)
    return lines


def _models(circuit: Circuit, bench: Bench, library: Path | None, corner: str) -> list[str]:
    """The installed library in the place of the testbench's own line; others as they are."""
    lines: list[str] = []
    for file, section in bench.libraries:
        if library is not None and Path(file).name == library.name:
            lines += [
                "* The device models that ACS Assistant installed; for another PDK root write",
                f'*   .lib "<PDK_ROOT>/<PDK>/libs.tech/ngspice/{library.name}" {corner}',
                *_library(library, corner),
            ]
        else:
            lines += _library((circuit.path / file).resolve(), section)
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
