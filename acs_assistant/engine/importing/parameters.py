"""Which sizes a netlist leaves open: W, L, multipliers, capacitors, resistors, bias currents."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from acs_assistant.domain import Parameter
from acs_assistant.engine.importing.expressions import bare, names, value_of
from acs_assistant.engine.importing.files import Subcircuit
from acs_assistant.sim.expressions import parse_number
from acs_assistant.sim.pdk import SKY130
from acs_assistant.sim.spice import Line, split_parameters, split_words

_MICRO = 1e-6
_KINDS = {"w": "width", "l": "length", "m": "copies", "mult": "copies", "nf": "fingers"}
_ELEMENTS = {"c": ("F", "capacitor"), "r": ("Ohm", "resistor"), "i": ("A", "current")}
_LARGEST = {"width": 100e-6, "length": 8e-6, "copies": 64.0, "fingers": 16.0}
_SMALLEST = {"width": 0.42e-6, "length": 0.15e-6, "copies": 1.0, "fingers": 1.0}
_GRIDS = {"width": 1e-8, "length": 1e-8, "copies": 1.0, "fingers": 1.0}


@dataclass(frozen=True, slots=True)
class Use:
    """One place where a size stands.

    Attributes:
        kind: "width", "length", "copies", "fingers", "capacitor", "resistor" or "current".
        word: The key of ``key=value``; empty for a plain value.
        micro: The models read micrometres there.
    """

    device: str
    model: str
    kind: str
    word: str
    text: str
    micro: bool
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A parameter with its reference, SI. ``micro``: the netlist writes it in micrometres."""

    parameter: Parameter
    value: float
    micro: bool


def uses(body: list[Line]) -> Iterator[Use]:
    """Every size in a subcircuit."""
    for line in body:
        words = split_words(line.text)
        device, first = words[0], words[0][0]
        plain = [word for word in words[1:] if "=" not in word]
        pairs = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        if first in "xm" and plain:
            model = plain[-1]
            micro = first == "x" and model.startswith("sky130_fd_pr__")
            if first == "x" and not micro:
                continue
            for key, value in pairs.items():
                if key in _KINDS:
                    kind = _KINDS[key]
                    scaled = micro and kind in ("width", "length")
                    yield Use(device, model, kind, key, value, scaled, tuple(plain[:-1]))
        elif first in _ELEMENTS and len(plain) + len(pairs) >= 3:
            key = "dc" if "dc" in pairs else first if first in pairs else ""
            value = pairs[key] if key else _plain_value(plain[2:])
            if value:
                kind = _ELEMENTS[first][1]
                yield Use(device, "", kind, key, value, False, tuple(plain[:2]))


def _plain_value(words: list[str]) -> str:
    """The value of a capacitor, a resistor or a current source; "" when it has none."""
    return next((word for word in words if word not in ("dc", "ac")), "")


def symbolic(subcircuit: Subcircuit, defined: Mapping[str, str]) -> dict[str, Found]:
    """Parameters that the netlist already has: in its header, or defined outside of it.

    A name that only other parameters read is followed to the sizes that those set.
    """
    local: dict[str, str] = {}
    for line in subcircuit.body:
        if line.text.startswith(".param"):
            local.update(split_parameters(line.text.partition(" ")[2], line))
    outside = {**defined, **subcircuit.header}
    found: dict[str, list[Use]] = {}
    for use in uses([line for line in subcircuit.body if not line.text.startswith(".")]):
        for name in _bases(use.text, local, outside):
            found.setdefault(name, []).append(use)
    parameters: dict[str, Found] = {}
    for name, places in found.items():
        value = value_of(name, outside)
        if value is not None and value > 0:
            parameters[name] = _parameter(name, value, places)
    return parameters


def _bases(
    text: str, local: Mapping[str, str], outside: Mapping[str, str], depth: int = 0
) -> set[str]:
    """Names outside of the subcircuit that a size depends on and that are plain numbers there."""
    bases: set[str] = set()
    for name in names(text):
        if name in local and depth < 20:
            bases |= _bases(local[name], local, outside, depth + 1)
        elif name in outside:
            if parse_number(bare(outside[name])) is None and depth < 20:
                bases |= _bases(outside[name], local, outside, depth + 1)
            else:
                bases.add(name)
    return bases


def literal(subcircuit: Subcircuit) -> tuple[dict[str, Found], list[Line]]:
    """Parameters for a netlist that writes its sizes as numbers, and the body that reads them.

    Transistors of one model and one size that share a gate or a source get one parameter.
    """
    body = list(subcircuit.body)
    places = {split_words(line.text)[0]: number for number, line in enumerate(body)}
    groups: dict[tuple[object, ...], list[Use]] = {}
    for use in uses(body):
        value = parse_number(bare(use.text))
        if value is None or value <= 0 or use.kind in ("copies", "fingers"):
            continue
        key: tuple[object, ...] = (use.kind, use.model, value, use.device)
        for known, members in groups.items():
            if known[:3] == key[:3] and any(_matched(use, member) for member in members):
                key = known
                break
        groups.setdefault(key, []).append(use)
    parameters: dict[str, Found] = {}
    for members in groups.values():
        first = members[0]
        name = _name(first, set(parameters))
        value = parse_number(bare(first.text))
        assert value is not None
        parameters[name] = _parameter(name, value, members)
        for use in members:
            number = places[use.device]
            body[number] = replace(body[number], text=_renamed(body[number].text, use, name))
    return parameters, body


def _matched(one: Use, other: Use) -> bool:
    """Transistors that a designer would match: same gate or same source net."""
    if len(one.nodes) < 3 or len(other.nodes) < 3:
        return False
    return one.nodes[1] == other.nodes[1] or one.nodes[2] == other.nodes[2]


def _name(use: Use, taken: set[str]) -> str:
    device = label(use.device).lower()
    name = f"{use.word}_{device}" if use.model else device
    while name in taken:
        name += "_"
    return name


def _renamed(text: str, use: Use, name: str) -> str:
    words = split_words(text)
    for number, word in enumerate(words):
        if use.word and word == f"{use.word}={use.text}":
            words[number] = f"{use.word}={{{name}}}"
        elif not use.word and number >= 3 and word == use.text:
            words[number] = f"{{{name}}}"
    return " ".join(words)


def label(device: str) -> str:
    """What the simulator calls an instance: XM1 is M1."""
    return (device[1:] if device.startswith("x") and len(device) > 1 else device).upper()


def _parameter(name: str, value: float, places: list[Use]) -> Found:
    kind, micro = places[0].kind, any(use.micro for use in places)
    if micro:
        value *= _MICRO
    devices = tuple(dict.fromkeys(label(use.device) for use in places))
    unit = {"capacitor": "F", "resistor": "Ohm", "current": "A"}.get(kind, "m")
    if kind in ("copies", "fingers"):
        unit = ""
    low, high, grid = _bounds(kind, value, places)
    role = f"{kind} of {' '.join(devices[:4])}" + (" and others" if len(devices) > 4 else "")
    scale = "log" if high / low > 8 else "linear"
    made = Parameter(name, unit, low, high, grid, scale, role, devices)  # type: ignore[arg-type]
    return Found(made, made.snap(value), micro)


def _bounds(kind: str, value: float, places: list[Use]) -> tuple[float, float, float]:
    """Minimum, maximum and grid: the device's own rules, widened to hold the value."""
    if kind in _LARGEST:
        low, high, grid = _SMALLEST[kind], _LARGEST[kind], _GRIDS[kind]
        rules = [SKY130.rules[use.model] for use in places if use.model in SKY130.rules]
        if rules and kind in ("width", "length"):
            low = max(rule[0 if kind == "width" else 1] for rule in rules)
        if kind in ("width", "length") and not _on_grid(value, grid):
            grid = 5e-9 if _on_grid(value, 5e-9) else 1e-9
        return min(low, value), max(high, _round_up(2 * value)), grid
    low, high = _round_down(value / 10), _round_up(value * 10)
    grid = 10.0 ** (math.floor(math.log10(value)) - 3)
    while not _on_grid(value, grid) and grid > value * 1e-6:
        grid /= 10
    return low, high, grid


def _on_grid(value: float, grid: float) -> bool:
    steps = value / grid
    return math.isclose(steps, round(steps), rel_tol=1e-6)


def _round_up(value: float) -> float:
    unit = 10.0 ** math.floor(math.log10(value))
    return math.ceil(round(value / unit, 9)) * unit


def _round_down(value: float) -> float:
    unit = 10.0 ** math.floor(math.log10(value))
    return math.floor(round(value / unit, 9)) * unit
