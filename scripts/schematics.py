"""Draws every bundled circuit from its netlist: ``schematic.svg`` and ``schematic.txt``.

The netlist says what is connected; the layouts below only say where each device stands. Terminals
that meet on one line and carry the same net are joined, all others are labelled with their net.

Run ``python scripts/schematics.py`` after a netlist changed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

CIRCUITS = Path(__file__).parent.parent / "circuits"

# One line of devices per row, from the left: name@column; ">" turns the gate to the right, "^" puts
# a two-terminal device upside down.
LAYOUTS = {
    "ota_5t": """
        Ibias@0 M3@1.5> M4@3
        -       M1@1.5  M2@3>
        M6@0>   M5@2.25
    """,
    "two_stage_miller": """
        Ibias@0 M3@1.5> M4@3    RZ@4.25 M6@5.5
        -       M1@1.5  M2@3>   CC@4.25
        M8@0>   M5@2.25         M7@5.5
    """,
    "current_mirror_ota": """
        Ibias@0 M5@1.25> M3@2.5  M4@4>   M6@5.25
        -       M1@2.5   M2@4>
        M10@0>  M7@1.25> M9@3.25 M8@5.25
    """,
    "telescopic_ota": """
        Ibias@0 Ibn@1.25  M7@2.75> M8@4.25 M12@5.75
        -       M5@2.75>  M6@4.25
        -       M3@2.75>  M4@4.25
        -       M1@2.75   M2@4.25>
        M10@0>  M11@1.25> M9@3.5   Ibp@5.75
    """,
    "folded_cascode_ota": """
        Ibias@0 M13@1.25> M3@3.25 M4@4.75> M15@6.5 Ibn@7.75
        -       M1@2.5    M2@5.5>
        -       M5@3.25>  M6@4.75
        -       M7@3.25>  M8@4.75
        M12@0>  Ipb@1.25  M11@2.5 M9@3.5> M10@4.75 Ibp@6.5 M14@7.75
    """,
    "nested_miller_ota": """
        Ibias@0 M3@1.5> M4@3    M6@4.5 M9@6    M11@9.25 M12@10.75>
        -       M1@1.5  M2@3>   CM2@7  CM1@8
        M13@0>  M5@2.25 M7@4.5> M8@6   M10@9.25 Ipb@10.75
    """,
    "ldo": """
        Ibias@0 M3@1.5> M4@3    RZ@4.25 M7@5.5  R1@6.75
        -       M1@1.5  M2@3>   CC@4.25
        M6@0>   M5@2.25         XR2@6.75
    """,
    "bandgap": """
        M11@0   M1@1.5  M2@3    M3@4.5  M4@6   M9@7.5> M10@9   CC@10.25
        -       R1@3    R2@4.5  M7@7.5  M8@9>
        -       M12@0   Q1@1.5  Q2@3    Q3@4.5 M5@6>   M6@8.25 M13@10.25
    """,
    "recycling_folded_cascode": """
        Ibias@0 M5@1.25 M7@3.25> M8@5   M6@7>    M18@8.5 Ibn@9.75
        -       M9@3.25> M10@5
        -       M11@1.25> M1@2.25 M4@3.25> M3@5 M2@6> M12@7
        -       M13@1.25> M15@4.25 M14@7
        M16@0>  M19@1.25> M20@7 Ibp@8.5 M17@9.75
    """,
    "class_ab_two_stage": """
        Ibias@0 M3@1.5> M4@3    RZ1@5.75 M6@7    M11@8.25> Ian@9.5
        -       M9@2.5  M10@4>  CC1@5.75 M12@8.25> M14@9.5
        -       M1@1.5  M2@3.5> CC2@5.75^ M13@9.5
        M8@0>   M5@2.5          RZ2@5.75^ M7@7    Iap@8.25
    """,
    "strongarm_comparator": """
        M7@0    M5@1.5> M6@3    M8@4.5> M12@6   M14@7.25>
        -       M3@1.5> M4@3
        M9@0    M1@1.5  M2@3>   M10@4.5>
        -       M0@2.25         M11@6   M13@7.25>
    """,
    "ring_oscillator": """
        Ibias@0 M3@1.25>  M14@2.75 M24@4.25 M34@5.75 M44@7.25 M54@8.75 M5@10.25
        -       M12@2.75  M22@4.25 M32@5.75 M42@7.25 M52@8.75
        -       M11@2.75  M21@4.25 M31@5.75 M41@7.25 M51@8.75
        M1@0>   M2@1.25   M13@2.75 M23@4.25 M33@5.75 M43@7.25 M53@8.75 M4@10.25
    """,
}


@dataclass(frozen=True, slots=True)
class Device:
    """``top`` and ``bottom`` are nets as drawn: a pmos stands on its drain, a pnp on its base."""

    name: str
    kind: str
    top: str
    bottom: str
    gate: str = ""


@dataclass(frozen=True, slots=True)
class Placed:
    device: Device
    column: float
    row: int
    mirrored: bool


def devices(netlist: str) -> dict[str, Device]:
    """Every device of the netlist by its name without the subcircuit's X."""
    found = {}
    for card in re.sub(r"\n\+", " ", netlist).splitlines():
        words = card.split()
        if not words or words[0][0] in "*.":
            continue
        name = words[0][1:] if words[0][0] == "X" else words[0]
        model = next((w for w in words if w.startswith("sky130")), "")
        if "nfet" in model:
            found[name] = Device(name, "nmos", words[1], words[3], words[2])
        elif "pfet" in model:
            found[name] = Device(name, "pmos", words[3], words[1], words[2])
        elif "pnp" in model:
            found[name] = Device(name, "pnp", words[3], words[1], words[2])
        else:
            kind = "capacitor" if "cap" in model else "resistor" if model else "current"
            found[name] = Device(name, kind, words[1], words[2])
    return found


def place(circuit: str) -> list[Placed]:
    """The layout of a circuit, every device of its netlist once.

    Raises:
        ValueError: A device is not in the netlist, or a device of the netlist has no place.
    """
    known = devices((CIRCUITS / circuit / "netlist.spice").read_text(encoding="utf-8"))
    placed = []
    for row, line in enumerate(LAYOUTS[circuit].strip().splitlines()):
        for word in line.split():
            if word == "-":
                continue
            name, _, where = word.partition("@")
            device = known.pop(name if name in known else name.removeprefix("X"), None)
            if device is None:
                raise ValueError(f"{circuit}: {name} is not in the netlist")
            if where.endswith("^"):
                device = replace(device, top=device.bottom, bottom=device.top)
            placed.append(Placed(device, float(where.rstrip(">^")), row, where.endswith(">")))
    if known:
        raise ValueError(f"{circuit}: no place for {', '.join(known)}")
    return placed


def levels(placed: list[Placed]) -> dict[float, list[tuple[float, str]]]:
    """The nets on every horizontal line: (column, net), sorted; even levels are rows' tops."""
    lines: dict[float, list[tuple[float, str]]] = {}
    for p in placed:
        lines.setdefault(p.row, []).append((p.column, p.device.top))
        lines.setdefault(p.row + 1, []).append((p.column, p.device.bottom))
    return {level: sorted(set(points)) for level, points in lines.items()}


def wires(placed: list[Placed]) -> Iterator[tuple[int, float, float]]:
    """Horizontal wires: (level, from column, to column) between neighbours of one net."""
    for level, points in levels(placed).items():
        for (left, net), (right, other) in pairwise(points):
            if net == other and left != right and net not in ("vdd", "vss"):
                yield int(level), left, right


def risers(placed: list[Placed]) -> Iterator[tuple[float, int, int]]:
    """Vertical wires: (column, from level, to level) across rows that a column leaves out."""
    for column in {p.column for p in placed}:
        stack = sorted((p for p in placed if p.column == column), key=lambda p: p.row)
        for upper, lower in pairwise(stack):
            if lower.row > upper.row + 1 and upper.device.bottom == lower.device.top:
                yield column, upper.row + 1, lower.row


WIDTH, HEIGHT = 12, 4
_DEVICE = "#1f4e8c"


def text(circuit: str) -> str:
    """The drawing for a terminal: plain characters, one net name where lines meet."""
    placed = place(circuit)
    columns = int(max(p.column for p in placed) * WIDTH) + 2 * WIDTH + 4
    rows = (max(p.row for p in placed) + 1) * HEIGHT + 1
    canvas = [[" "] * columns for _ in range(rows)]

    def put(x: int, y: int, string: str) -> None:
        for i, character in enumerate(string):
            if 0 <= x + i < columns:
                canvas[y][x + i] = character

    def at(column: float) -> int:
        return int(column * WIDTH) + WIDTH

    for level, left, right in wires(placed):
        put(at(left), level * HEIGHT, "─" * (at(right) - at(left)))
    for column, upper, lower in risers(placed):
        for y in range(upper * HEIGHT, lower * HEIGHT):
            put(at(column), y, "│")
    for level, points in levels(placed).items():
        for column in {c for c, _ in points}:
            names = list(dict.fromkeys(net for c, net in points if c == column))
            label = "/".join(names)
            put(at(column) - len(label) // 2, int(level) * HEIGHT, label)
    for p in placed:
        x, y, device = at(p.column), p.row * HEIGHT + 2, p.device
        put(x, y - 1, "│")
        put(x, y + 1, "│")
        if device.kind in ("nmos", "pmos", "pnp"):
            lead = "o" if device.kind == "pmos" else "─"
            if p.mirrored:
                put(x, y, f"├{lead}─ {device.gate}")
                put(x - len(device.name), y, device.name)
            else:
                gate = f"{device.gate} ─{lead}┤"
                put(x - len(gate) + 1, y, gate)
                put(x + 1, y, device.name)
        else:
            put(x, y, {"resistor": "▯", "capacitor": "╪", "current": "↓"}[device.kind])
            put(x + 2, y, device.name)
    return "\n".join("".join(line).rstrip() for line in canvas).rstrip("\n") + "\n"


def svg(circuit: str) -> bytes:
    """The drawing for a page, by schemdraw."""
    import schemdraw
    from schemdraw import elements as elm

    schemdraw.use("svg")
    placed = place(circuit)
    step_x, step_y = 2.6, 3.0
    drawing = schemdraw.Drawing(show=False)
    drawing.config(fontsize=11, bgcolor="white")

    def spot(column: float, level: float) -> tuple[float, float]:
        return column * step_x, -level * step_y

    def line(*points: tuple[float, float]) -> None:
        for start, end in pairwise(points):
            drawing.add(elm.Line().endpoints(start, end))

    def note(x: float, y: float, words: str, side: int, colour: str = "black") -> None:
        align = "left" if side > 0 else "right"
        label = elm.Label().at((x, y))
        drawing.add(label.label(words, halign=align, valign="center", ofst=0, color=colour))

    for p in placed:
        device = p.device
        top, bottom = spot(p.column, p.row), spot(p.column, p.row + 1)
        middle = (top[1] + bottom[1]) / 2
        side = 1 if p.mirrored else -1
        if device.kind in ("nmos", "pmos", "pnp"):
            kinds = {"nmos": elm.NFet, "pmos": elm.PFet, "pnp": elm.BjtPnp}
            element = kinds[device.kind]().theta(0).anchor("center").at((top[0], middle))
            if device.kind == "pnp":
                upper, lower, control = "emitter", "collector", "base"
            else:
                control = "gate"
                upper, lower = ("drain", "source") if device.kind == "nmos" else ("source", "drain")
            # schemdraw draws a gate on the right and a base on the left
            if (device.kind == "pnp") == p.mirrored:
                element = element.reverse()
            anchors = drawing.add(element).absanchors
            line(anchors[upper], (top[0], anchors[upper][1]), top)
            line(anchors[lower], (bottom[0], anchors[lower][1]), bottom)
            gate = anchors[control]
            note(gate[0] + side * 0.15, gate[1], device.gate, side)
            note(top[0] - side * 0.15, middle, device.name, -side, _DEVICE)
        else:
            kinds = {"resistor": elm.ResistorIEC, "capacitor": elm.Capacitor}
            element = kinds.get(device.kind, elm.SourceI)()
            drawing.add(element.endpoints(top, bottom))
            note(top[0] + 0.6, middle, device.name, 1, _DEVICE)
    joined = set()
    for level, left, right in wires(placed):
        line(spot(left, level), spot(right, level))
        joined.add((level, right))
    for column, upper, lower in risers(placed):
        line(spot(column, upper), spot(column, lower))
        joined.add((lower, column))
    for level, points in levels(placed).items():
        for column, net in points:
            x, y = spot(column, level)
            if net == "vdd":
                drawing.add(elm.Vdd().at((x, y)))
            elif net == "vss":
                drawing.add(elm.Ground().at((x, y)))
            elif (level, column) not in joined:
                note(x + 0.1, y + 0.2, net, 1)
    return bytes(drawing.get_imagedata("svg"))


def main() -> None:
    for circuit in sys.argv[1:] or LAYOUTS:
        (CIRCUITS / circuit / "schematic.txt").write_text(text(circuit), encoding="utf-8")
        (CIRCUITS / circuit / "schematic.svg").write_bytes(svg(circuit))


if __name__ == "__main__":
    main()
