"""The schematic as text, exactly as the circuit folder draws it, with sizes at its devices."""

from __future__ import annotations

import re
import textwrap

from textual.content import Content

from acs_assistant.domain import Circuit, OperatingPoint
from acs_assistant.tui.state import SessionState, sizing_of
from acs_assistant.tui.text import plain
from acs_assistant.tui.widgets.board import Board
from acs_assistant.tui.widgets.columns import Cell, Column, columns
from acs_assistant.units import format_quantity

REGION_STYLE = {
    "saturation": "$text-success",
    "subthreshold": "$text-primary",
    "linear": "$text-warning",
    "off": "$text-error",
}


def drawing(circuit: Circuit) -> str:
    text = textwrap.dedent(plain(circuit.schematic).expandtabs().strip("\n"))
    # wrapping drops leading blanks; these it keeps
    return text.replace(" ", "\N{NO-BREAK SPACE}")


class SchematicBoard(Board):
    """Drawing first, then one line per parameter with the devices that it sizes."""

    def __init__(self, state: SessionState) -> None:
        super().__init__("Schematic", id="schematic")
        self.state = state

    def draw(self, width: int) -> Content:
        circuit = self.state.task.circuit
        turn = self.state.viewed
        sizing = sizing_of(turn) if turn is not None else circuit.reference
        points: dict[str, OperatingPoint] = {}
        if turn is not None and turn.evaluation is not None and turn.evaluation.measurements:
            points = {p.name.lower(): p for p in turn.evaluation.nominal.devices}
        rows: list[list[Cell]] = []
        for device, names in device_parameters(circuit).items():
            point = points.get(device.lower())
            sizes = " ".join(f"{n}={circuit.parameter(n).format(sizing[n])}" for n in names
                             if n in sizing)  # fmt: skip
            region: Cell = (
                ""
                if point is None
                else (
                    point.region,
                    REGION_STYLE.get(point.region, "$foreground"),
                )
            )
            current = "" if point is None else f"{format_quantity(point.id, 3)}A"
            rows.append([(device, "bold"), sizes, current, region])
        parts = [_by_region(drawing(circuit) or "This circuit folder has no drawing.", points)]
        if rows:
            table = [Column("device"), Column("sizes", shrink=12), Column("id", "right"),
                     Column("region")]  # fmt: skip
            parts += [Content(""), columns(table, rows, width)]
        return Content("\n").join(parts)


def _by_region(drawn: str, points: dict[str, OperatingPoint]) -> Content:
    """The drawing with every device's name in the colour of its region; the table says the word."""
    content = Content(drawn)
    for match in re.finditer(r"\b[A-Za-z]+\d+\b", drawn):
        point = points.get(match[0].lower())
        if point is not None:
            style = f"bold {REGION_STYLE.get(point.region, '$foreground')}"
            content = content.stylize(style, match.start(), match.end())
    return content


def device_parameters(circuit: Circuit) -> dict[str, list[str]]:
    """Parameters by device, in the order in which the circuit names them."""
    devices: dict[str, list[str]] = {}
    for parameter in circuit.parameters:
        for device in parameter.devices:
            devices.setdefault(device, []).append(parameter.name)
    return dict(sorted(devices.items(), key=lambda item: (len(item[0]), item[0])))
