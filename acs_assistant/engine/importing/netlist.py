"""The device under test: parameters in SI on its ``.subckt`` line, everything else as it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from acs_assistant.engine.importing.expressions import (
    bare,
    names,
    replace_in_line,
    replace_names,
    value_of,
)
from acs_assistant.engine.importing.files import Report, Source, Subcircuit
from acs_assistant.engine.importing.hierarchy import write_out_cells
from acs_assistant.engine.importing.parameters import (
    Found,
    current_of,
    current_parameter,
    literal,
    symbolic,
    with_current,
)
from acs_assistant.engine.importing.technology import pdk_of_device, renamed
from acs_assistant.errors import CircuitError
from acs_assistant.sim.expressions import parse_number
from acs_assistant.sim.spice import CONDITION, Line, split_words


@dataclass(frozen=True, slots=True)
class Netlist:
    """``netlist.spice`` and what the testbenches must know of it.

    Attributes:
        circuit: The subcircuit's name as the testbenches instantiate it.
        definitions: Top-level parameters of the netlist's own files, as written.
        known: Those of the testbenches as well.
        micro: Replacements for parameters that were micrometres and are metres now.
    """

    name: str
    circuit: str
    ports: tuple[str, ...]
    text: str
    parameters: Mapping[str, Found]
    definitions: Mapping[str, str]
    known: Mapping[str, str]
    micro: Mapping[str, str]
    pdk: str


def make_netlist(
    subcircuit: Subcircuit, shared: Sequence[Source], benches: Sequence[Source], report: Report
) -> Netlist:
    """The device under test.

    Args:
        shared: The netlist's file and those that every testbench includes.

    Raises:
        CircuitError: Nothing in the subcircuit can be sized.
    """
    sources = [*shared, *benches]
    definitions: dict[str, str] = {}
    for source in reversed(sources):
        definitions.update(source.parameters)
    for source in benches:
        _take_instance_values(source, subcircuit, definitions)
    write_out_cells(subcircuit, sources, report)
    subcircuit.body = [_with_known_models(line, report) for line in subcircuit.body]
    parameters, body = symbolic(subcircuit, definitions), list(subcircuit.body)
    if not parameters:
        parameters, body = literal(subcircuit)
        report.changed += [
            f"{name} = {found.parameter.format(found.value)} stands for a number in "
            f"{' '.join(found.parameter.devices)}"
            for name, found in parameters.items()
        ]
    if not parameters:
        raise subcircuit.origin.error(
            f"subcircuit '{subcircuit.name}' has no transistor, capacitor, resistor or current "
            "source whose size could be changed."
        )
    for name, current in _bias_currents(subcircuit, benches, definitions, report).items():
        parameters.setdefault(name, current)
    report.changed += [found.note for found in parameters.values() if found.note]
    micro = {name: f"({name}/1u)" for name, found in parameters.items() if found.micro}
    if micro:
        report.changed.append(
            f"{', '.join(sorted(micro))}: metres now; the netlist divides by 1u, because the "
            "device models read micrometres"
        )
    text = _text(subcircuit, parameters, body, definitions, micro, sources)
    pdk = _check_models(subcircuit, sources)
    return Netlist(
        subcircuit.name,
        subcircuit.name,
        subcircuit.ports,
        text,
        parameters,
        {name: value for source in reversed(shared) for name, value in source.parameters.items()},
        definitions,
        micro,
        pdk,
    )


def _with_known_models(line: Line, report: Report) -> Line:
    words = split_words(line.text)
    plain = [word for word in words if "=" not in word]
    model = plain[-1]
    known = renamed(model) if words[0][0] == "x" else model
    if known == model:
        return line
    report.changed.append(f"{line.file}:{line.number}: {model} is {known} in the installed library")
    return replace(line, text=" ".join(known if word == model else word for word in words))


def _check_models(subcircuit: Subcircuit, sources: Sequence[Source]) -> str:
    """The PDK that the circuit's devices come from; "none" when the files bring their own.

    Raises:
        CircuitError: A transistor's model is in none of the files and in no PDK.
    """
    own = {line.text.split()[1] for source in sources for line in source.models}
    own |= {line.text.split()[1] for line in subcircuit.body if line.text.startswith(".model ")}
    cells = {name for source in sources for name in source.subcircuits}
    pdk = "none"
    for cell in (subcircuit, *_helpers(subcircuit, sources)):
        for line in cell.body:
            words = [word for word in split_words(line.text) if "=" not in word]
            if line.text[0] not in "xm" or len(words) < 2 or words[-1] in own | cells:
                continue
            found = pdk_of_device(words[-1]) if line.text[0] == "x" else ""
            if not found:
                raise line.error(
                    f"there is no model '{words[-1]}': not in these files, and not in a PDK that "
                    "can be installed here.",
                    hint="Give the file with its .model or .subckt: --include FILE.",
                )
            pdk = found
    return pdk


def _bias_currents(
    subcircuit: Subcircuit,
    benches: Sequence[Source],
    definitions: Mapping[str, str],
    report: Report,
) -> dict[str, Found]:
    """Constant currents that testbenches drive into a port: the circuit's own bias, so to be sized.

    A current that is written as a number gets the name of its port, in every testbench.
    """
    found: dict[str, tuple[float, list[str]]] = {}
    for source in benches:
        ports = _port_nets(source, subcircuit)
        supplies = {words[1] for c in source.cards if (words := split_words(c.text))[0][0] == "v"}
        for number, line in enumerate(source.cards):
            words = split_words(line.text)
            value = current_of(words)
            port = next((ports[n] for n in words[1:3] if n in ports and n not in supplies), "")
            if not value or not port:
                continue
            amperes = value_of(value, {**definitions, **source.parameters})
            if amperes is None or amperes <= 0:
                continue
            name = bare(value)
            if parse_number(name) is not None:
                name = f"i_{port}"
                if name in found and found[name][0] != amperes:
                    continue
                source.cards[number] = replace(line, text=with_current(words, name))
                report.changed.append(f"{line.file}:{line.number}: {value} is {name}")
            elif name not in {**definitions, **source.parameters}:
                continue
            found.setdefault(name, (amperes, []))[1].append(words[0].upper())
    return {
        name: current_parameter(name, value, list(dict.fromkeys(devices)))
        for name, (value, devices) in found.items()
    }


def _port_nets(source: Source, subcircuit: Subcircuit) -> dict[str, str]:
    """Nets of a testbench that are ports of a copy of the circuit, and the port's name."""
    nets: dict[str, str] = {}
    for line in source.cards:
        words = [word for word in split_words(line.text) if "=" not in word]
        if words[0][0] == "x" and words[-1] == subcircuit.name:
            nets.update(zip(words[1:-1], subcircuit.ports, strict=False))
    return {net: port for net, port in nets.items() if net not in ("0", "gnd")}


def _take_instance_values(
    source: Source, subcircuit: Subcircuit, definitions: Mapping[str, str]
) -> None:
    """Sizes that a testbench passes to the instance are the real ones, not the defaults."""
    for line in source.cards:
        words = split_words(line.text)
        if words[0][0] != "x" or subcircuit.name not in words:
            continue
        for word in words:
            key, equals, value = word.partition("=")
            if equals and key in subcircuit.header:
                number = value_of(value, {**definitions, **source.parameters})
                if number is not None:
                    subcircuit.header[key] = repr(number)


def _text(
    subcircuit: Subcircuit,
    parameters: Mapping[str, Found],
    body: Sequence[Line],
    definitions: Mapping[str, str],
    micro: Mapping[str, str],
    sources: Sequence[Source],
) -> str:
    fixed = {k: v for k, v in {**definitions, **subcircuit.header}.items() if k not in parameters}
    known = {**fixed, **dict.fromkeys(parameters, "")}

    def change(expression: str) -> str:
        return replace_names(expression, micro)

    lines = [f"* {subcircuit.name}: imported; parameters are SI"]
    lines += [line.text for line in _distinct(model for s in sources for model in s.models)]
    for helper in _helpers(subcircuit, sources):
        ports = " ".join(helper.ports)
        header = " ".join(f"{k}={v}" for k, v in helper.header.items())
        lines.append(f".subckt {helper.name} {ports} {header}".rstrip())
        lines += [line.text for line in helper.body]
        lines.append(f".ends {helper.name}")
    lines.append(f".subckt {subcircuit.name} {' '.join(subcircuit.ports)}")
    given = [f"{n}={f.parameter.format(f.value)}" for n, f in parameters.items()]
    lines += [f"+ {' '.join(given[start : start + 4])}" for start in range(0, len(given), 4)]
    lines += [
        f".param {name}={{{change(bare(fixed[name]))}}}"
        for name in _needed(body, fixed, parameters)
    ]
    for line in body:
        condition = CONDITION.match(line.text)
        if condition is None:
            lines.append(replace_in_line(line.text, change, known))
        else:
            lines.append(f"{condition[1]} {change(condition[2])}".rstrip())
    lines.append(f".ends {subcircuit.name}")
    return "\n".join(lines) + "\n"


def _needed(
    body: Sequence[Line], fixed: Mapping[str, str], parameters: Mapping[str, Found]
) -> list[str]:
    """Fixed parameters that the body reads, each after those that it reads itself."""
    order: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise CircuitError(f"parameters define each other in a circle: {', '.join(above)}")
        if name in order or name not in fixed or name in parameters:
            return
        for inner in sorted(names(fixed[name])):
            visit(inner, (*above, name))
        order.append(name)

    for line in body:
        condition = CONDITION.match(line.text)
        words = [condition[2]] if condition else line.text.split()
        read = " ".join(words if condition else (w.partition("=")[2] or w for w in words))
        for name in sorted(names(read)):
            visit(name, ())
    return order


def _helpers(subcircuit: Subcircuit, sources: Sequence[Source]) -> list[Subcircuit]:
    """Subcircuits that this one instantiates, inner ones first."""
    known = {name: sub for source in reversed(sources) for name, sub in source.subcircuits.items()}
    order: list[Subcircuit] = []

    def visit(sub: Subcircuit) -> None:
        for line in sub.body:
            if line.text[0] == "x":
                for word in split_words(line.text)[1:]:
                    inner = known.get(word)
                    if inner is not None and inner.name != sub.name and inner not in order:
                        visit(inner)
                        order.append(inner)

    visit(subcircuit)
    return order


def _distinct(lines: Iterable[Line]) -> list[Line]:
    return list({line.text: line for line in lines}.values())
