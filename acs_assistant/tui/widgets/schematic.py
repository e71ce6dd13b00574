"""The schematic as text, exactly as the circuit folder draws it, with sizes at its devices."""

from __future__ import annotations

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
    text = plain(circuit.schematic).strip("\n")
    # wrapping drops leading blanks; these it keeps
    return text.expandtabs().replace(" ", "\N{NO-BREAK SPACE}")


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
            region: Cell = "" if point is None else (point.region, REGION_STYLE[point.region])
            current = "" if point is None else f"{format_quantity(point.id, 3)}A"
            rows.append([(device, "bold"), sizes, current, region])
        parts = [Content(drawing(circuit) or "This circuit folder has no drawing.")]
        if rows:
            table = [Column("device"), Column("sizes", shrink=12), Column("id", "right"),
                     Column("region")]  # fmt: skip
            parts += [Content(""), columns(table, rows, width)]
        return Content("\n").join(parts)


def device_parameters(circuit: Circuit) -> dict[str, list[str]]:
    """Parameters by device, in the order in which the circuit names them."""
    devices: dict[str, list[str]] = {}
    for parameter in circuit.parameters:
        for device in parameter.devices:
            devices.setdefault(device, []).append(parameter.name)
    return dict(sorted(devices.items(), key=lambda item: (len(item[0]), item[0])))
