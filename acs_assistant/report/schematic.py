"""The circuit's text drawing with what the best turn made of each device."""

from __future__ import annotations

import re
from itertools import zip_longest

from acs_assistant.domain import Circuit, OperatingPoint, Turn
from acs_assistant.report.record import sizing_of
from acs_assistant.units import format_quantity


def annotated(circuit: Circuit, turn: Turn | None) -> str:
    """The drawing as the circuit folder holds it, and below it one line a device.

    Without a turn, or for a circuit without a drawing, the part that is missing is left out.
    """
    drawing = circuit.schematic.rstrip("\n")
    legend = device_lines(circuit, turn) if turn is not None else []
    return "\n\n".join(part for part in (drawing, "\n".join(legend)) if part)


def device_lines(circuit: Circuit, turn: Turn) -> list[str]:
    """``M1  w_in=20u l_in=500n  10.2uA  gm/Id 15.1  saturation``: transistors first, by name."""
    sizes = device_sizes(circuit, sizing_of(turn))
    found = {d.name.upper(): d for d in turn.evaluation.nominal.devices} if turn.evaluation else {}
    spoken = {name.upper() for name in sizes}
    names = [*sizes, *(d.name for d in found.values() if d.name.upper() not in spoken)]
    names.sort(key=lambda name: (name.upper() not in found, _natural(name)))
    return _table([[name, sizes.get(name, ""), *_state(found.get(name.upper()))] for name in names])


def device_sizes(circuit: Circuit, sizing: dict[str, float]) -> dict[str, str]:
    """The sizes that each device takes, in SPICE notation."""
    sizes: dict[str, list[str]] = {}
    for parameter in circuit.parameters:
        if parameter.name in sizing:
            text = f"{parameter.name}={parameter.format(sizing[parameter.name])}"
            for device in parameter.devices:
                sizes.setdefault(device, []).append(text)
    return {device: " ".join(parts) for device, parts in sizes.items()}


def _state(device: OperatingPoint | None) -> list[str]:
    if device is None:
        return []
    return [f"{format_quantity(device.id, 3)}A", f"gm/Id {device.gm_over_id:.1f}", device.region]


def _natural(name: str) -> list[tuple[int, str]]:
    """M2 before M10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    ]
