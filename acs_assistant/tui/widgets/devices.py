"""Operating points: one row per device; the selected one in detail below."""

from __future__ import annotations

from rich.text import Text
from textual.app import App, ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import DataTable

from acs_assistant.domain import OperatingPoint
from acs_assistant.tui.state import FAILED, SessionState
from acs_assistant.tui.widgets.schematic import REGION_STYLE
from acs_assistant.tui.widgets.themed import themed
from acs_assistant.tui.widgets.words import Words
from acs_assistant.units import format_quantity

_COLUMNS = ("device", "region", "   id", "   gm", "  gds", "gm/id", "  vds", "vdsat", " room")
_SIGN = {"saturation": "✓", "subthreshold": "~", "linear": "!", "off": "✗"}


class DeviceTable(Vertical):
    """Arrow keys select a device; headroom and inversion are read out for it."""

    def __init__(self, state: SessionState) -> None:
        super().__init__(id="devices", classes="panel")
        self.state = state
        self.border_title = "Operating points"
        self._shown: tuple[OperatingPoint, ...] | None = None

    def compose(self) -> ComposeResult:
        table: DataTable[Text] = DataTable(cursor_type="row", zebra_stripes=False)
        table.add_columns(*_COLUMNS)
        yield table
        yield Words(markup=False, id="device-detail")

    def redraw(self) -> None:
        if not self.is_mounted or not self.display:
            return
        turn = self.state.viewed
        points: tuple[OperatingPoint, ...] = ()
        if turn is not None and turn.evaluation is not None and turn.evaluation.measurements:
            points = turn.evaluation.nominal.devices
        if points == self._shown:
            return
        self._shown = points
        where = "" if turn is None else f" · turn {turn.index}"
        self.border_title = f"Operating points{where}"
        table = self.query_one(DataTable)
        row = table.cursor_row
        table.clear()
        for point in points:
            table.add_row(*_cells(self.app, point))
        if points:
            table.move_cursor(row=min(row, len(points) - 1))
        self._detail()

    @property
    def selected(self) -> int:
        """Row of the device under the cursor."""
        return max(self.query_one(DataTable).cursor_row, 0)

    def forget(self) -> None:
        """Draws again next time: the theme changed."""
        self._shown = None

    def on_data_table_row_highlighted(self) -> None:
        self._detail()

    def _detail(self) -> None:
        detail = self.query_one("#device-detail", Words)
        table = self.query_one(DataTable)
        if not self._shown or not 0 <= table.cursor_row < len(self._shown):
            text = "No operating point yet: it comes with the first simulation."
            if self.state.viewed_failed:
                text = FAILED
            text = "" if self._shown else text
            detail.update(Content.styled(text, "$foreground-muted"))
            return
        point = self._shown[table.cursor_row]
        headroom = point.vds - point.vdsat
        sign, style = ("+", "$text-success") if headroom >= 0 else ("−", "$text-error")
        detail.update(
            Content.assemble(
                (f"{point.name} ", "bold"),
                f"{point.kind}  headroom vds−vdsat ",
                (f"{sign}{abs(headroom) * 1e3:.0f} mV", style),
                f"  vgs {1e3 * point.vgs:.0f} mV  overdrive {1e3 * (point.vgs - point.vth):.0f} mV"
                f"  gm/id {point.gm_over_id:.1f} /V ({inversion(point.gm_over_id)})"
                f"  gain gm/gds {point.gm / point.gds if point.gds else 0:.0f}\n",
                ("strong ", "$foreground-muted"),
                (inversion_bar(point.gm_over_id), "$primary"),
                (" weak inversion", "$foreground-muted"),
                ("   d: its gm/Id chart", "$foreground-muted"),
            )
        )


def inversion(gm_over_id: float) -> str:
    """The designer's word for a gm/Id in 1/V."""
    return "weak" if gm_over_id > 20 else "moderate" if gm_over_id > 10 else "strong"


def inversion_bar(gm_over_id: float, width: int = 24, low: float = 4.0, high: float = 28.0) -> str:
    """Where a device lies between strong and weak inversion; one cell is 1 /V."""
    place = round((min(max(gm_over_id, low), high) - low) / (high - low) * (width - 1))
    return "├" + "─" * place + "●" + "─" * (width - 1 - place) + "┤"


def _cells(app: App[object], point: OperatingPoint) -> list[Text]:
    region = f"{_SIGN.get(point.region, '?')} {point.region}"

    def number(value: float, digits: int = 3) -> Text:
        return Text(f"{format_quantity(value, digits):>5}")

    return [
        Text(point.name, "bold"),
        themed(app, (region, REGION_STYLE.get(point.region, "$foreground"))),
        number(point.id),
        number(point.gm),
        number(point.gds),
        Text(f"{point.gm_over_id:5.1f}"),
        number(point.vds),
        number(point.vdsat),
        number(point.vds - point.vdsat),
    ]
