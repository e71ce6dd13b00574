"""The tree of turns. Nothing is ever deleted: undo, redo and fork only move the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from acs_assistant.domain import Turn
from acs_assistant.tui.state import SessionState, cut_off, verdict
from acs_assistant.tui.widgets.themed import themed

_SIGN = {"met": "✓", "failed": "✗", "rejected": "✗", "invalid": "✗", "waiting": "?"}
_STYLE = {
    "met": "$text-success",
    "failed": "$text-error",
    "rejected": "$foreground-muted",
    "regenerated": "$foreground-muted",
    "invalid": "$text-error",
    "waiting": "$text-warning",
}


class HistoryTree(Tree[int], inherit_bindings=False):
    """A chain of turns is drawn flat; only a fork makes a branch. Enter looks at a turn.

    Of a tree's own keys it has only those that the design screen has no use for: nothing folds.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "cursor_up", show=False),
        Binding("down", "cursor_down", show=False),
        Binding("left", "scroll_left", show=False),
        Binding("right", "scroll_right", show=False),
        Binding("home", "scroll_home", show=False),
        Binding("end", "scroll_end", show=False),
        Binding("pageup", "page_up", show=False),
        Binding("pagedown", "page_down", show=False),
        Binding("enter", "select_cursor", show=False),
    ]
    _restyling = False

    @dataclass
    class Chosen(Message):
        """A turn was chosen to be looked at."""

        turn: int

    def __init__(self, state: SessionState) -> None:
        super().__init__("start", id="history", classes="panel")
        self.state = state
        self.show_root = False
        self.guide_depth = 2
        self.border_title = "History"
        self._drawn: tuple[object, ...] = ()
        self._by_turn: dict[int, TreeNode[int]] = {}
        self._best: int | None = None

    def redraw(self) -> None:
        if not self.is_mounted or not self.display:
            return
        turns = self.state.in_order()
        mark = tuple((turn.id, verdict(turn)) for turn in turns)
        best = self.state.best
        self._best = None if best is None else best.id
        signature = (mark, self.state.head, self.state.shown, self._best)
        if signature == self._drawn:
            return
        self._drawn = signature
        on_path = {turn.id for turn in self.state.path()}
        known = [turn.id for turn in turns]
        if list(self._by_turn) == known[: len(self._by_turn)] and self._by_turn:
            self._update_labels(turns, on_path)
        else:
            self.clear()
            self._by_turn = {}
        for turn in turns:
            if turn.id not in self._by_turn:
                self._add(turn, on_path)
        self.border_title = f"History · {len(turns)} turn{'' if len(turns) == 1 else 's'}"
        if self.state.head in self._by_turn and not self.has_focus:
            self.move_cursor(self._by_turn[self.state.head])

    def forget(self) -> None:
        """Draws again next time: the theme changed."""
        self._drawn = ()

    def notify_style_update(self) -> None:
        """Another style, as with the focus, moves nothing: only the lines are drawn again."""
        self._restyling = True
        super().notify_style_update()
        self._restyling = False

    def refresh(
        self,
        *regions: Region,
        repaint: bool = True,
        layout: bool = False,
        recompose: bool = False,
    ) -> Self:
        layout = layout and not self._restyling
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def _update_labels(self, turns: list[Turn], on_path: set[int]) -> None:
        for turn in turns:
            if turn.id in self._by_turn:
                self._by_turn[turn.id].set_label(self._label(turn, on_path))

    def _add(self, turn: Turn, on_path: set[int]) -> None:
        """The first child of a turn stands beside it; later children open a branch.

        What was set aside for another proposal stands beside that one.
        """
        parent = self._by_turn.get(turn.parent) if turn.parent is not None else None
        siblings = [
            t
            for t in self.state.in_order()
            if t.parent == turn.parent and t.id < turn.id and verdict(t) != "regenerated"
        ]
        place = self.root if parent is None else parent if siblings else parent.parent or self.root
        node = place.add(self._label(turn, on_path), data=turn.id, expand=True)
        node.allow_expand = False
        place.expand()
        self._by_turn[turn.id] = node

    def _label(self, turn: Turn, on_path: set[int]) -> Text:
        word = verdict(turn)
        style = _STYLE.get(word, "$foreground")
        score = "" if turn.evaluation is None else f"  {turn.evaluation.score.value:.3f}"
        here = "▸" if turn.id == self.state.head else " "
        star = "  ★ best" if self._best == turn.id else ""
        dim = "" if turn.id in on_path or word == "regenerated" else "  (other branch)"
        return themed(
            self.app,
            (here, "$text-accent"),
            f" turn {turn.index}  ",
            (f"{_SIGN.get(word, '·')} {'stopped' if cut_off(turn) else word}", style),
            score,
            (star, "$text-accent"),
            (dim, "$foreground-muted"),
        )

    def on_tree_node_selected(self, event: Tree.NodeSelected[int]) -> None:
        event.stop()
        if event.node.data is not None:
            self.post_message(self.Chosen(event.node.data))
