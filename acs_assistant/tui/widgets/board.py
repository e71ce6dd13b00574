"""A scrolling panel whose body is drawn again, for the width that it has, when its data changes."""

from __future__ import annotations

from abc import abstractmethod

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from acs_assistant.tui.abstract import AbstractMeta


class Board(VerticalScroll, metaclass=AbstractMeta):
    """A titled panel of text. Subclasses give ``draw``; ``redraw`` is cheap to call often."""

    can_focus = True

    def __init__(self, title: str, *, id: str | None = None, classes: str = "") -> None:
        super().__init__(id=id, classes=f"panel {classes}".strip())
        self.border_title = title
        self._drawn: tuple[str, object] | None = None
        self._lines = -1

    def compose(self) -> ComposeResult:
        yield Static(markup=False, classes="board-body")

    @abstractmethod
    def draw(self, width: int) -> Content:
        """The body for a panel that is ``width`` cells wide."""

    def redraw(self) -> None:
        if not self.is_mounted or not self.display:
            return
        width = self.scrollable_content_region.width
        if width <= 0:
            return
        content = self.draw(width)
        drawn = (content.plain, content.spans)
        if drawn != self._drawn:
            self._drawn = drawn
            lines = content.plain.split("\n")
            # when no line wraps, only their number can move the layout
            layout = len(lines) != self._lines or max(map(cell_len, lines)) > width
            self._lines = len(lines)
            self.query_one(".board-body", Static).update(content, layout=layout)

    def on_resize(self, event: events.Resize) -> None:
        self._drawn = None
        self._lines = -1  # what was drawn for another width may have wrapped
        self.redraw()
