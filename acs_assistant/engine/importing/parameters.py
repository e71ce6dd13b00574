"""Which sizes a netlist leaves open: W, L, multipliers, capacitors, resistors, bias currents."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

from acs_assistant.domain import Parameter
from acs_assistant.engine.importing.expressions import bare, names, value_of
from acs_assistant.engine.importing.files import Subcircuit
from acs_assistant.engine.importing.technology import (
    in_micrometres,
    is_passive,
    least_size,
    pdk_of_device,
)
from acs_assistant.sim.expressions import parse_number
from acs_assistant.sim.spice import Line, split_parameters, split_words
from acs_assistant.units import format_quantity

_MICRO = 1e-6
_KINDS = {
    "w": "width", "l": "length", "m": "copies", "mult": "copies", "nf": "fingers",
    "c_width": "width", "c_length": "length", "r_width": "width", "r_length": "length",
}  # fmt: skip
_WITH_WIDTH = ("ad", "as", "pd", "ps")
_AGAINST_WIDTH = ("nrd", "nrs")
_ELEMENTS = {"c": ("F", "capacitor"), "r": ("Ohm", "resistor"), "i": ("A", "current")}
_LARGEST = {"width": 100e-6, "length": 8e-6, "copies": 64.0, "fingers": 16.0}
_NEARLY = 0.85
"""Some devices have models a little below their rule: memory cells."""


@dataclass(frozen=True, slots=True)
class Use:
    """One place where a size stands.

    Attributes:
        kind: "width", "length", "copies", "fingers", "capacitor", "resistor" or "current".
        word: The key of ``key=value``; empty for a plain value.
        micro: The models read micrometres there.
        fingers: How many share the width.
    """

    device: str
    model: str
    kind: str
    word: str
    text: str
    micro: bool
    nodes: tuple[str, ...]
    fingers: float = 1.0


@dataclass(frozen=True, slots=True)
class Found:
    """A parameter with its reference, SI.

    Attributes:
        micro: The netlist writes it in micrometres.
        note: What is remarkable about its value; empty for nothing.
    """

    parameter: Parameter
    value: float
    micro: bool
    note: str = ""


def uses(body: list[Line]) -> Iterator[Use]:
    """Every size in a subcircuit."""
    for line in body:
        words = split_words(line.text)
        device, first = words[0], words[0][0]
        plain = [word for word in words[1:] if "=" not in word]
        pairs = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        if first in "xm" and plain:
            model = plain[-1]
            if len(plain) == 5 and plain[1] == plain[2] == plain[3]:
                continue  # a dummy: its gate is tied to source and bulk
            if first == "x" and not pdk_of_device(model):
                continue
            micro = first == "x" and in_micrometres(model)
            fingers = parse_number(bare(pairs.get("nf", "1"))) or 1.0
            for key, value in pairs.items():
                if key in _KINDS:
                    kind = _KINDS[key]
                    scaled = micro and kind in ("width", "length")
                    yield Use(device, model, kind, key, value, scaled, tuple(plain[:-1]), fingers)
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
    sizes = list(uses([line for line in subcircuit.body if not line.text.startswith(".")]))
    defined = {**outside, **local}
    shortest = _shortest(value_of(u.text, defined) for u in sizes if u.kind == "length")
    found: dict[str, list[Use]] = {}
    for use in sizes:
        for name in _bases(use.text, local, outside):
            found.setdefault(name, []).append(use)
    parameters: dict[str, Found] = {}
    for name, places in found.items():
        value = value_of(name, outside)
        if value is not None and value > 0:
            parameters[name] = _parameter(name, value, places, shortest)
    return parameters


def _shortest(lengths: Iterable[float | None]) -> float:
    return min((length for length in lengths if length), default=math.inf)


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

    Transistors of one model and one size that share a gate, or a source that is no supply, get one
    parameter. Numbers of copies are parameters where there is more than one copy.
    """
    body = list(subcircuit.body)
    places = {split_words(line.text)[0]: number for number, line in enumerate(body)}
    groups: dict[tuple[object, ...], list[Use]] = {}
    sizes = list(uses([line for line in body if not line.text.startswith(".")]))
    twins = _twins(sizes, subcircuit.ports)
    shortest = _shortest(parse_number(bare(u.text)) for u in sizes if u.kind == "length")
    for use in sizes:
        value = parse_number(bare(use.text))
        if value is None or value <= 0 or use.kind == "fingers":
            continue
        if use.kind == "copies" and (value < 2 or is_passive(use.model)):
            continue
        key: tuple[object, ...] = (use.kind, use.model, value, use.device)
        for known, members in groups.items():
            same = any(
                _matched(use, member, subcircuit.ports)
                or frozenset((use.device, member.device)) in twins
                for member in members
            )
            if known[:3] == key[:3] and (same or known[3] == use.device):
                key = known
                break
        groups.setdefault(key, []).append(use)
    parameters: dict[str, Found] = {}
    for members in groups.values():
        first = members[0]
        name = _name(first, set(parameters))
        value = parse_number(bare(first.text))
        assert value is not None
        parameters[name] = _parameter(name, value, members, shortest)
        for use in members:
            number = places[use.device]
            text = _renamed(body[number].text, use, name)
            if use.kind == "width":
                text = _junctions_scaled(text, name, value)
            body[number] = replace(body[number], text=text)
    return parameters, body


def _matched(one: Use, other: Use, ports: tuple[str, ...]) -> bool:
    """Transistors that a designer would match: one gate, or one source that is no supply."""
    if len(one.nodes) < 4 or len(other.nodes) < 4:
        return False
    source = one.nodes[2]
    inner = source not in ports and source not in ("0", "gnd")
    return one.nodes[1] == other.nodes[1] or (inner and source == other.nodes[2])


def _twins(sizes: list[Use], ports: tuple[str, ...]) -> set[frozenset[str]]:
    """Pairs of transistors on the two sides of a symmetric circuit.

    Gates and drains of a differential pair are mirror images of each other; two transistors of one
    model whose nets are mirror images are twins, and so are then all of their nets.
    """
    devices = {use.device: use for use in sizes if len(use.nodes) == 4}
    pairs = [
        (one, other)
        for one, other in combinations(devices.values(), 2)
        if one.model == other.model and one.nodes != other.nodes
    ]
    image: dict[str, str] = {}
    for one, other in pairs:
        source = one.nodes[2]
        inner = source not in ports and source not in ("0", "gnd")
        if inner and source == other.nodes[2] and not set(one.nodes[:2]) & set(other.nodes[:2]):
            _reflect(one, other, image)
    twins: set[frozenset[str]] = set()
    for _ in devices:
        found = [(one, other) for one, other in pairs if _images(one, other, image)]
        for one, other in found:
            _reflect(one, other, image)
        new = {frozenset((one.device, other.device)) for one, other in found}
        if new <= twins:
            break
        twins |= new
    return twins


def _images(one: Use, other: Use, image: Mapping[str, str]) -> bool:
    """Gate and source of one are the images of the other's, and no drain says otherwise."""
    ends = zip(one.nodes[1:3], other.nodes[1:3], strict=True)
    drains = one.nodes[0], other.nodes[0]
    free = not set(drains) & set(image)
    return (
        one.nodes[1:3] != other.nodes[1:3]
        and all(image.get(a, a) == b for a, b in ends)
        and (free or image.get(drains[0]) == drains[1])
    )


def _reflect(one: Use, other: Use, image: dict[str, str]) -> None:
    for a, b in zip(one.nodes[:3], other.nodes[:3], strict=True):
        if a != b and a not in image and b not in image:
            image[a], image[b] = b, a


def _junctions_scaled(text: str, width: str, value: float) -> str:
    """Areas, perimeters and squares of the junctions, given as numbers, follow the width."""
    words = split_words(text)
    before = format_quantity(value, 9)
    for place, word in enumerate(words):
        key, _, number = word.partition("=")
        if parse_number(number) in (None, 0.0):
            continue
        if key in _WITH_WIDTH:
            words[place] = f"{key}={{{number}*{width}/{before}}}"
        elif key in _AGAINST_WIDTH:
            words[place] = f"{key}={{{number}*{before}/{width}}}"
    return " ".join(words)


def _name(use: Use, taken: set[str]) -> str:
    device = label(use.device).lower()
    short = {"width": "w", "length": "l", "copies": "m"}.get(use.kind, use.word)
    name = f"{short}_{device}" if use.model else device
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


def _parameter(name: str, value: float, places: list[Use], shortest: float = math.inf) -> Found:
    kind, micro = places[0].kind, any(use.micro for use in places)
    if micro:
        value *= _MICRO
    devices = tuple(dict.fromkeys(label(use.device) for use in places))
    unit = {"capacitor": "F", "resistor": "Ohm", "current": "A"}.get(kind, "m")
    if kind in ("copies", "fingers"):
        unit = ""
    note = ""
    floor = max((_least(use, kind) or 0.0 for use in places), default=0.0)
    if value < floor * _NEARLY:
        note = (
            f"{name} = {format_quantity(value)} is less than the {format_quantity(floor)} that "
            "the device models begin at: it starts there"
        )
        value = floor
    low, high, grid = _bounds(kind, value, places)
    if kind == "length" and not floor and not is_passive(places[0].model):
        low = min(shortest * (_MICRO if micro else 1.0), value)  # nobody says what holds below
    role = f"{kind} of {' '.join(devices[:4])}" + (" and others" if len(devices) > 4 else "")
    scale = "log" if high / low > 8 else "linear"
    made = Parameter(name, unit, low, high, grid, scale, role, devices)  # type: ignore[arg-type]
    return Found(made, made.snap(value), micro, note)


def current_parameter(name: str, value: float, devices: list[str]) -> Found:
    """A bias current that the testbenches drive into a port."""
    return _parameter(name, value, [Use(d, "", "current", "", "", False, ()) for d in devices])


def _least(use: Use, kind: str) -> float | None:
    """The device's rule; it holds for each finger."""
    least = least_size(use.model, kind)
    return least * use.fingers if least is not None and kind == "width" else least


def current_of(words: list[str]) -> str:
    """The constant value of a current source that does nothing else; "" for any other card."""
    if words[0][0] != "i" or len(words) not in (4, 5) or "(" in words[-1]:
        return ""
    if len(words) == 5 and words[3] != "dc":
        return ""
    key, equals, value = words[-1].partition("=")
    return value if equals and key == "dc" else "" if equals else words[-1]


def with_current(words: list[str], name: str) -> str:
    """The card with ``name`` for its value."""
    return " ".join([*words[:3], "dc", f"{{{name}}}"])


def _bounds(kind: str, value: float, places: list[Use]) -> tuple[float, float, float]:
    """Minimum, maximum and grid: the device's own rules, widened to hold the value."""
    if kind in ("copies", "fingers"):
        return 1.0, max(_LARGEST[kind], _round_up(2 * value)), 1.0
    if kind in _LARGEST:
        rules = [rule for use in places if (rule := _least(use, kind)) is not None]
        grid = next((g for g in (1e-8, 5e-9) if _on_grid(value, g)), 1e-9)
        if any(is_passive(use.model) for use in places):
            return _round_down(value / 5), _round_up(value * 5), grid
        if rules:
            return min(max(rules), value), max(_LARGEST[kind], _round_up(2 * value)), grid
        if kind == "length":
            return value, _round_up(20 * value), grid
        return max(_round_down(value / 10), 10 * grid), _round_up(value * 100), grid
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
