"""What a screen or a board must bring is asked for when it is made, not when it is used."""

from __future__ import annotations

import pytest
from textual.app import ComposeResult
from textual.content import Content

from acs_assistant.tui.screens.design import DesignScreen
from acs_assistant.tui.screens.page import Dialog
from acs_assistant.tui.widgets.board import Board


class Bodyless(Dialog[str]):
    """Forgot its body."""


class Whole(Dialog[str]):
    def body(self) -> ComposeResult:
        yield from ()


class Blank(Board):
    """Forgot to draw."""


class Drawn(Board):
    def draw(self, width: int) -> Content:
        return Content("")


def test_a_part_that_is_not_whole_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="body"):
        Bodyless()  # type: ignore[abstract]
    with pytest.raises(TypeError, match="draw"):
        Blank("title")  # type: ignore[abstract]
    assert Whole().BOX_TITLE == ""
    assert Drawn("title").border_title == "title"
    assert not DesignScreen.__abstractmethods__
