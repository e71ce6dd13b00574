"""Testbenches: which subcircuit they test, and the same bench in the folder's form."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from acs_assistant.engine.importing.expressions import (
    bare,
    inlined,
    replace_in_line,
    replace_names,
    value_of,
)
from acs_assistant.engine.importing.files import Report, Section, Source, Subcircuit
from acs_assistant.engine.importing.flat import take_out
from acs_assistant.engine.importing.netlist import Netlist
from acs_assistant.engine.importing.servo import buffered
from acs_assistant.engine.importing.technology import library_card
from acs_assistant.errors import CircuitError, nearest
from acs_assistant.sim.expressions import parse_number
from acs_assistant.sim.spice import Line, split_words
from acs_assistant.units import format_quantity

_SUPPLY_NODE = re.compile(r"a?v?(dd|cc)a?$|supply|vin$|vdda|avdd")
_GROUNDS = frozenset({"0", "gnd", "vss", "gnda", "avss", "vssa"})
_LARGEST_LOAD = 1e-6  # farads; a larger capacitor only blocks dc


@dataclass(frozen=True, slots=True)
class Bench:
    """One testbench.

    Attributes:
        supply, load: None when it has none that could be recognised.
        shown: What was plotted, printed or written after which kind of analysis.
        power_source: The voltage source that supplies the first copy of the circuit and its net;
            None when there is no single one.
    """

    name: str
    text: str
    cards: tuple[Line, ...]
    analyses: tuple[Line, ...]
    measures: tuple[Line, ...]
    shown: tuple[tuple[str, str], ...]
    power_source: tuple[str, str] | None
    supply: float | None
    load: float | None
    temperature: str
    corner: str


def choose_circuit(
    netlist: Source, benches: Sequence[Source], name: str, report: Report
) -> Subcircuit:
    """The subcircuit to size: the one that is named, or that the testbenches instantiate, or what
    stands in them without one.

    Raises:
        CircuitError: There is none, or it is not clear which.
    """
    found = netlist.subcircuits
    taken = None if found else take_out(netlist, benches, name, report)
    if taken is not None:
        return taken
    if not found:
        raise CircuitError(
            "there is no .subckt in the netlist, and no transistor.",
            hint="Put the circuit to be sized into a .subckt with its ports.",
            file=f"{netlist.name}",
        )
    if name:
        if name.lower() not in found:
            raise CircuitError(f"there is no subcircuit '{name}'.", hint=nearest(name, found))
        return found[name.lower()]
    used = {word for bench in benches for line in bench.cards for word in _instance(line)[-1:]}
    candidates = [sub for sub in found.values() if sub.name in used]
    if not candidates:
        inner = {word for s in found.values() for line in s.body for word in _instance(line)[-1:]}
        candidates = [sub for sub in found.values() if sub.name not in inner]
        if len(candidates) == 1:
            _substitute(candidates[0], benches, report)
    if len(candidates) != 1:
        listed = ", ".join(sub.name for sub in candidates) or "none"
        raise CircuitError(
            f"it is not clear which subcircuit to size: {listed}.", hint="Choose with --name NAME."
        )
    return candidates[0]


def _substitute(circuit: Subcircuit, benches: Sequence[Source], report: Report) -> None:
    """A bench that was written for another circuit of the same ports serves this one."""
    for bench in benches:
        for number, line in enumerate(bench.cards):
            words = _instance(line)
            if not words or words[-1] == circuit.name:
                continue
            if len(words) - 2 == len(circuit.ports):
                text = re.sub(rf"(?<!\S){re.escape(words[-1])}(?!\S)", circuit.name, line.text)
                bench.cards[number] = Line(text, line.file, line.number)
                report.changed.append(
                    f"{line.file}:{line.number}: tests {circuit.name} now, not {words[-1]}"
                )


def _instance(line: Line) -> list[str]:
    """Name, nodes and subcircuit of an X card; empty for any other."""
    if line.text[0] != "x":
        return []
    return [word for word in split_words(line.text) if "=" not in word]


def read_benches(source: Source, made: Netlist, report: Report) -> list[Bench]:
    """One testbench file in the folder's form: a testbench for each of its sections.

    Raises:
        CircuitError: It does not instantiate the circuit, or has no analysis.
    """
    if not any(_instance(line)[-1:] == [made.circuit] for line in source.cards):
        used = [words[-1] for line in source.cards if (words := _instance(line))]
        raise CircuitError(
            f"does not instantiate '{made.circuit}'; it has: {', '.join(used) or 'no X cards'}.",
            file=f"{source.name}",
        )
    sections = [section for section in source.sections if section.analyses]
    if not sections:
        raise CircuitError(
            "has no analysis (op, dc, ac, tran, noise).",
            hint="Add one, such as .ac dec 20 1 1g",
            file=f"{source.name}",
        )
    fixed = {
        name: value
        for name, value in {
            **(made.known if source.missing else made.definitions),
            **source.parameters,
        }.items()
        if name not in made.parameters
    }
    return [
        _bench(source, section, made, {**fixed, **section.parameters}, report, number)
        for number, section in enumerate(sections, start=1)
    ]


def _bench(
    source: Source,
    section: Section,
    made: Netlist,
    fixed: dict[str, str],
    report: Report,
    number: int,
) -> Bench:
    cards = [_altered(line, section.values) for line in source.cards]
    others = [*source.other, *section.analyses, *section.measures]
    cards = buffered(cards, others, made, fixed, report)
    supply = _condition(cards, fixed, "supply", report)
    load = _condition(cards, fixed, "load", report)
    name = _bench_name(source.name)
    kinds = {line.text.split()[0] for line in section.analyses}
    if ".op" not in kinds and kinds & {".ac", ".tran"}:
        # Every device's operating point is wanted; beside an ac analysis it costs nothing.
        section.analyses.insert(0, Line(".op", source.name, 0))
    return Bench(
        name if number == 1 else f"{name}_{number}",
        _text(source, section, made, cards, fixed, supply, load),
        tuple(cards),
        tuple(section.analyses),
        tuple(section.measures),
        tuple(section.shown),
        _power_source(cards, made),
        supply,
        load,
        source.temperature,
        source.corner,
    )


def _altered(line: Line, values: Mapping[tuple[str, str], str]) -> Line:
    """The card with the values that ``alter`` commands gave it."""
    words = split_words(line.text)
    for (device, field), value in values.items():
        if device == words[0]:
            words = _with_ac(words, value) if field == "ac" else _with_value(words, value)
    text = " ".join(words)
    return line if text == line.text else Line(text, line.file, line.number)


def _with_value(words: list[str], value: str) -> list[str]:
    place = next((i for i, w in enumerate(words) if i >= 3 and w not in ("dc", "ac")), None)
    if place is None or words[place - 1] == "ac":
        return [*words[:3], value, *words[3:]]
    key = words[place].partition("=")[0] + "=" if "=" in words[place] else ""
    return [*words[:place], f"{key}{value}", *words[place + 1 :]]


def _with_ac(words: list[str], value: str) -> list[str]:
    place = next((i for i, w in enumerate(words) if i >= 3 and w.partition("=")[0] == "ac"), None)
    if place is None:
        return [*words, "ac", value]
    after = place + 1 if "=" in words[place] else place + 2
    return [*words[:place], "ac", value, *words[after:]]


def _power_source(cards: Sequence[Line], made: Netlist) -> tuple[str, str] | None:
    first = next((w for card in cards if (w := _instance(card))[-1:] == [made.circuit]), [])
    found = [
        (words[0], words[1])
        for card in cards
        if (words := split_words(card.text))[0][0] == "v"
        and words[1] in first[1:-1]
        and _SUPPLY_NODE.search(words[1])
        and len(words) > 3
    ]
    return found[0] if len(found) == 1 else None


def _bench_name(stem: str) -> str:
    name = re.sub(r"\W+", "_", stem.lower()).strip("_")
    return re.sub(r"^tb_", "", name) or "main"


def _condition(
    cards: list[Line], fixed: dict[str, str], condition: str, report: Report
) -> float | None:
    """Finds supply or load, makes the bench read it from ``condition``, returns its value."""
    for line in list(cards):
        words = split_words(line.text)
        written = _supply_value(words) if condition == "supply" else _load_value(words)
        if not written:
            continue
        expression = bare(written)
        value = value_of(expression, fixed)
        if value is None or value <= 0 or (condition == "load" and value > _LARGEST_LOAD):
            continue
        if expression in fixed:
            fixed[expression] = condition
            report.changed.append(f"{line.file}:{line.number}: {expression} is {condition}")
        elif parse_number(expression) is not None:
            for place, other in enumerate(cards):
                cards[place] = _with_condition(other, written, condition)
            report.changed.append(f"{line.file}:{line.number}: {written} is {condition}")
        else:
            continue
        return value
    return None


def _supply_value(words: list[str]) -> str:
    if words[0][0] != "v" or len(words) < 4 or not _SUPPLY_NODE.search(words[1]):
        return ""
    return words[4] if words[3] == "dc" and len(words) > 4 else words[3].removeprefix("dc=")


def _load_value(words: list[str]) -> str:
    if words[0][0] != "c" or len(words) < 4 or not _GROUNDS & set(words[1:3]):
        return ""
    return words[3].removeprefix("c=")


def _with_condition(line: Line, written: str, condition: str) -> Line:
    words = split_words(line.text)
    value = _supply_value(words) if condition == "supply" else _load_value(words)
    if value != written:
        return line
    place = next(i for i, word in enumerate(words) if i >= 3 and word.endswith(written))
    words[place] = words[place].removesuffix(written) + f"{{{condition}}}"
    return Line(" ".join(words), line.file, line.number)


def _text(
    source: Source,
    section: Section,
    made: Netlist,
    cards: Sequence[Line],
    fixed: Mapping[str, str],
    supply: float | None,
    load: float | None,
) -> str:
    keep = frozenset({"supply", "load", *made.parameters})
    measured = frozenset(line.text.split()[2] for line in section.measures)

    def change(expression: str) -> str:
        return replace_names(expression, made.micro)

    def written_out(expression: str) -> str:
        return change(inlined(expression, fixed, keep | measured))

    known = {**fixed, **dict.fromkeys(made.parameters, "")}
    lines = [f"* {source.name}: imported"]
    library = library_card(made.pdk, source.corner)
    if library:
        lines.append(library)
    lines.append(".include netlist.spice")
    conditions = [f"supply={format_quantity(supply, 9)}"] if supply is not None else []
    conditions += [f"load={format_quantity(load, 9)}"] if load is not None else []
    if conditions:
        lines.append(f".param {' '.join(conditions)}")
    given = [f"{n}={f.parameter.format(f.value)}" for n, f in made.parameters.items()]
    lines += [f".param {' '.join(given[start : start + 4])}" for start in range(0, len(given), 4)]
    lines += [f".param {name}={{{written_out(value)}}}" for name, value in fixed.items()]
    lines.append(f".temp {source.temperature or '27'}")
    lines += [_card(line, made, change, known) for line in cards]
    for line in (*source.other, *section.analyses):
        lines.append(replace_in_line(line.text, written_out, known))
    for line in section.measures:
        if line.text.startswith(".let "):
            lines.append(f"*{line.text}")
        else:
            lines.append(replace_in_line(line.text, written_out, fixed))
    return "\n".join([*lines, ".end"]) + "\n"


def _card(line: Line, made: Netlist, change: Callable[[str], str], known: Mapping[str, str]) -> str:
    words = _instance(line)
    if words and words[-1] == made.circuit:
        given = [f"{name}={{{name}}}" for name in made.parameters]
        return "\n+ ".join(
            [" ".join(words), *(" ".join(given[i : i + 4]) for i in range(0, len(given), 4))]
        )
    return replace_in_line(line.text, change, known)
