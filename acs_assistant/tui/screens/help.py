"""Every key of a screen, from the one table."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from acs_assistant.tui.keys import keys_of
from acs_assistant.tui.screens.page import Page
from acs_assistant.tui.widgets.columns import Cell, Column, columns
from acs_assistant.tui.widgets.key_bar import KeyBar

_TITLES = {
    "app": "Everywhere",
    "sessions": "Sessions",
    "new": "New session",
    "design": "Design",
    "sizes": "Editing sizes",
    "candidates": "Candidates",
    "compare": "Comparing turns",
    "gmid": "gm/Id chart",
    "training": "Fine-tuning",
    "bench": "Benchmarks",
    "circuits": "Circuits",
    "import": "Import",
    "models": "Models",
    "settings": "Settings",
    "focus": "Panels",
    "dialog": "In a dialog",
    "page": "On a page",
}


class HelpScreen(Page):
    """Keys of the screen below first, then those that work everywhere."""

    def __init__(self, scopes: tuple[str, ...]) -> None:
        super().__init__()
        self._scopes = (*scopes, "app")

    def compose(self) -> ComposeResult:
        yield Static("Keys", classes="page-title")
        with VerticalScroll(classes="panel"):
            yield Static(markup=False, id="keys")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self.query_one("#keys", Static).update(self._text())

    def _text(self) -> Content:
        parts: list[Content] = []
        table = (Column("key"), Column("does"), Column("", shrink=20), Column("id", rank=1))
        for scope in self._scopes:
            rows: list[list[Cell]] = [
                [
                    (key.display, "bold $text-accent"),
                    key.label,
                    (key.tooltip, "$foreground-muted"),
                    (key.id, "$foreground-muted"),
                ]
                for key in keys_of(scope)
            ]
            parts += [Content.styled(_TITLES[scope], "bold $text-primary"),
                      columns(table, rows, max(self.app.size.width - 4, 60), header=False),
                      Content("")]  # fmt: skip
        parts.append(
            Content.styled(
                "Give a key another one in the [keys] section of settings.toml, by its id: "
                '"design.accept" = "ctrl+a". Ctrl+P searches every command.',
                "$foreground-muted",
            )
        )
        return Content("\n").join(parts)
