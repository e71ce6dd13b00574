"""The circuit library."""

from __future__ import annotations

from typing import Any

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from acs_assistant.errors import AcsError
from acs_assistant.tui.screens.page import Page
from acs_assistant.tui.text import plain
from acs_assistant.tui.widgets.circuit_card import CircuitCard
from acs_assistant.tui.widgets.key_bar import KeyBar


class CircuitsScreen(Page):
    """Left the circuits, right the card of the selected one. Enter starts a session on it."""

    CSS_PATH = "library.tcss"

    def __init__(self) -> None:
        super().__init__()
        self._circuits: list[Any] = []

    def compose(self) -> ComposeResult:
        yield Static("Circuits", classes="page-title", markup=False)
        with Horizontal(id="library"):
            yield OptionList(id="names", compact=True, markup=False, classes="panel")
            yield CircuitCard()
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#names").border_title = "Enter: new session"
        self.query_one("#names").focus()
        self._fill()

    @work(exclusive=True, group="fill")
    async def _fill(self) -> None:
        try:
            self._circuits = list(await self.acs.offload(self.acs.services.list_circuits))
        except AcsError as error:
            self.acs.fail(error)
        names = self.query_one("#names", OptionList)
        names.add_options([Option(f"{c.name}\n  {plain(c.title)}") for c in self._circuits])
        if self._circuits:
            names.highlighted = 0
        else:
            self.query_one(CircuitCard).say("No circuit was found. F2 says why.")

    @work(exclusive=True, group="card")
    async def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        path = str(self._circuits[event.option_index].path)
        card = self.query_one(CircuitCard)
        try:
            circuit = await self.acs.offload(self.acs.services.load_circuit, path)
        except AcsError as error:
            card.say(Content.assemble(("✗ Broken\n", "$text-error"), plain(str(error))))
            return
        card.show(circuit)

    async def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        from acs_assistant.tui.screens.new_session import NewSessionScreen

        name = str(self._circuits[event.option_index].name)
        self.app.switch_screen(NewSessionScreen(name))
