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
from acs_assistant.tui.widgets.panel import Panel


class _Body(Static):
    """Its width follows the panel's scroll bar, of which the panel is told nothing."""

    def on_resize(self) -> None:
        board = self.parent
        assert isinstance(board, Board)
        board.redraw()


class Board(VerticalScroll, Panel, metaclass=AbstractMeta):
    """A titled panel of text. Subclasses give ``draw``; ``redraw`` is cheap to call often."""

    can_focus = True

    def __init__(self, title: str, *, id: str | None = None, classes: str = "") -> None:
        super().__init__(id=id, classes=f"panel {classes}".strip())
        self.entitle(title)
        self._drawn: tuple[str, object] | None = None

    def compose(self) -> ComposeResult:
        yield _Body(markup=False, classes="board-body")

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
            body = self.query_one(_Body)
            fits = max(map(cell_len, lines)) <= min(width, body.size.width)
            body.update(content, layout=not fits or len(lines) != body.size.height)

    def on_resize(self, event: events.Resize) -> None:
        self._drawn = None
        self.redraw()
