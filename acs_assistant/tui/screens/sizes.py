"""Edit sizes in place: engineering notation, bounds checked as they are typed, steps, undo."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Input, Static

from acs_assistant.domain import Circuit, Parameter, Sizing
from acs_assistant.engine.specs import parse_value
from acs_assistant.errors import AcsError
from acs_assistant.tui.keys import bindings
from acs_assistant.tui.screens.page import Bindings, Dialog
from acs_assistant.tui.text import change_percent, change_text
from acs_assistant.tui.widgets.key_bar import KeyBar
from acs_assistant.units import format_quantity


def read_size(parameter: Parameter, text: str) -> tuple[float | None, str]:
    """A typed size on its grid, or None and what is wrong with it."""
    try:
        value = parse_value(text, parameter.unit)
    except AcsError as error:
        return None, error.hint or error.message
    if not parameter.contains(value):
        low, high = parameter.format(parameter.min), parameter.format(parameter.max)
        return None, f"out of bounds: {low} to {high}"
    return parameter.snap(value), ""


class SizeRow(Horizontal):
    """Name, devices, value, change against the old sizing, bounds or what is wrong."""

    def __init__(self, parameter: Parameter, old: float | None, value: float) -> None:
        super().__init__(classes="size-row")
        self.parameter = parameter
        self.old = old
        self.start = value

    def compose(self) -> ComposeResult:
        yield Static(self.parameter.name, markup=False, classes="size-name")
        yield Static(" ".join(self.parameter.devices), markup=False, classes="size-devices")
        yield Input(self.parameter.format(self.start), compact=True, select_on_focus=True)
        yield Static(markup=False, classes="size-note")

    @property
    def input(self) -> Input:
        return self.query_one(Input)

    def judge(self) -> float | None:
        """Reads the field and says what it means; None when it cannot be used."""
        value, fault = read_size(self.parameter, self.input.value)
        self.input.set_class(value is None, "-invalid")
        note = self.query_one(".size-note", Static)
        if value is None:
            note.update(Content.styled(f"✗ {fault}", "$text-error"))
            return None
        low, high = (format_quantity(v) for v in (self.parameter.min, self.parameter.max))
        change = change_text(change_percent(self.old, value))
        typed = parse_value(self.input.value, self.parameter.unit)
        grid = "" if abs(typed - value) <= 1e-9 * abs(value) else f"  on grid {self.text(value)}"
        moved = change not in ("=", "new")
        note.update(
            Content.assemble(
                (f"{change:>9}", "$text-accent" if moved else "$foreground-muted"),
                (grid, "$text-warning"),
                (f"  {low} … {high} {self.parameter.unit}", "$foreground-muted"),
            )
        )
        return value

    def text(self, value: float) -> str:
        return self.parameter.format(value)


class SizesDialog(Dialog[dict[str, float]]):
    """Answers with a complete sizing on the grid."""

    CSS_PATH = "sizes.tcss"
    KEY_SCOPES: ClassVar[tuple[str, ...]] = ("sizes",)
    BINDINGS: ClassVar[Bindings] = bindings("sizes")
    BOX_TITLE = "Edit sizes"

    def __init__(self, circuit: Circuit, old: Sizing, start: Sizing) -> None:
        super().__init__()
        self.circuit = circuit
        self.old = old
        self.start = start
        self._undo: list[tuple[int, str]] = []
        self._last: dict[int, str] = {}
        self._typing: int | None = None

    def body(self) -> ComposeResult:
        for parameter in self.circuit.parameters:
            value = self.start.get(parameter.name, parameter.from_unit(0.5))
            yield SizeRow(parameter, self.old.get(parameter.name), value)
        yield Static(markup=False, classes="role hint")
        yield KeyBar()

    def subtitle(self) -> str:
        return "one field sizes all its devices"

    def on_mount(self) -> None:
        for n, row in enumerate(self.query(SizeRow)):
            self._last[n] = row.input.value
            row.judge()
        self.query(SizeRow).first().input.focus()

    def _rows(self) -> list[SizeRow]:
        return list(self.query(SizeRow))

    def _at(self) -> int:
        focused = self.focused
        return next((n for n, row in enumerate(self._rows()) if row.input is focused), 0)

    def on_descendant_focus(self) -> None:
        self._typing = None
        parameter = self._rows()[self._at()].parameter
        self.query_one(".role", Static).update(
            f"{parameter.role or parameter.name}, grid {format_quantity(parameter.grid)}"
        )

    def on_key(self, event: events.Key) -> None:
        step = {"up": -1, "down": 1}.get(event.key)
        if step is not None:
            rows = self._rows()
            rows[(self._at() + step) % len(rows)].input.focus()
            event.stop()
            event.prevent_default()

    def on_input_changed(self, event: Input.Changed) -> None:
        """What is typed into one field in one go is taken back in one go."""
        for n, row in enumerate(self._rows()):
            if row.input is event.input:
                if self._last[n] != event.value:
                    if self._typing != n:
                        self._undo.append((n, self._last[n]))
                    self._typing = n
                    self._last[n] = event.value
                row.judge()

    def action_step(self, direction: int) -> None:
        """Five percent more or less."""
        row = self._rows()[self._at()]
        value, _ = read_size(row.parameter, row.input.value)
        if value is not None:
            moved = self._inside(row, value * (1.05 if direction > 0 else 1 / 1.05))
            if moved == value:
                self.action_grid(direction)
            else:
                self._set(moved)

    def action_grid(self, direction: int) -> None:
        """One grid step more or less."""
        row = self._rows()[self._at()]
        value, _ = read_size(row.parameter, row.input.value)
        if value is not None:
            self._set(self._inside(row, value + direction * row.parameter.grid))

    def _inside(self, row: SizeRow, value: float) -> float:
        """On the grid, and at the bound where a step would pass it."""
        return row.parameter.snap(min(max(value, row.parameter.min), row.parameter.max))

    def _set(self, value: float) -> None:
        n = self._at()
        row = self._rows()[n]
        text = row.text(value)
        if text != self._last[n]:
            self._undo.append((n, self._last[n]))
            self._put(n, text)

    def _put(self, n: int, text: str) -> None:
        self._typing = None
        self._last[n] = text
        self._rows()[n].input.value = text

    def action_undo(self) -> None:
        if self._undo:
            n, text = self._undo.pop()
            self._put(n, text)
            self._rows()[n].input.focus()

    def action_accept(self) -> None:
        sizing: dict[str, float] = {}
        for row in self._rows():
            value = row.judge()
            if value is None:
                row.input.focus()
                return
            sizing[row.parameter.name] = value
        self.dismiss(sizing)
