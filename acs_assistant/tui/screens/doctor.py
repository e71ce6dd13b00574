"""What is installed, what is missing, and the command that mends it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import LoadingIndicator, Static

from acs_assistant.tui.screens.page import Page
from acs_assistant.tui.text import plain
from acs_assistant.tui.widgets.columns import Cell, Column, columns
from acs_assistant.tui.widgets.key_bar import KeyBar

if TYPE_CHECKING:
    from acs_assistant.doctor import Check

STYLE = {
    "ok": ("✓ ok", "$text-success"),
    "warning": ("! warning", "$text-warning"),
    "missing": ("✗ missing", "$text-error"),
    "optional": ("· optional", "$foreground-muted"),
}


class DoctorScreen(Page):
    """Looks in a thread; the slow probes run in child processes."""

    def __init__(self) -> None:
        super().__init__()
        self._checks: Sequence[Check] = ()

    def compose(self) -> ComposeResult:
        yield Static("Doctor", classes="page-title")
        with VerticalScroll(classes="panel"):
            yield LoadingIndicator()
            yield Static("Looking…", markup=False, id="findings")
        yield KeyBar()

    def on_mount(self) -> None:
        self.look()

    @work(exclusive=True)
    async def look(self) -> None:
        from acs_assistant import doctor

        self._checks = await asyncio.to_thread(doctor.check)
        self.query_one(LoadingIndicator).display = False
        self._draw()

    def on_resize(self) -> None:
        if self._checks:
            self._draw()

    def _draw(self) -> None:
        from acs_assistant import doctor

        checks = self._checks
        rows: list[list[Cell]] = []
        for item in checks:
            rows.append([STYLE[item.status], (item.name, "bold"), plain(item.detail)])
            if item.mend:
                rows.append(["", "", (f"→ {plain(item.mend)}", "$text-accent")])
        table = (Column(""), Column(""), Column("", shrink=20))
        width = max(self.size.width - 4, 40)
        verdict = (
            Content.styled("Everything that a design session needs is here.", "$text-success")
            if doctor.usable(checks)
            else Content.styled("Something is missing: see the arrows.", "$text-error")
        )
        body = columns(table, rows, width, header=False)
        self.query_one("#findings", Static).update(Content("\n\n").join([verdict, body]))
