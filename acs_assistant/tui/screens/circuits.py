"""The circuit library."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from acs_assistant.errors import AcsError
from acs_assistant.library import CircuitSummary
from acs_assistant.tui.keys import bindings
from acs_assistant.tui.screens.page import Bindings, Page
from acs_assistant.tui.text import plain
from acs_assistant.tui.widgets.circuit_card import CircuitCard
from acs_assistant.tui.widgets.key_bar import KeyBar


class CircuitsScreen(Page):
    """Left the circuits, right the card of the selected one. Enter starts a session on it."""

    CSS_PATH = "library.tcss"
    KEY_SCOPES: ClassVar[tuple[str, ...]] = ("circuits", "page")
    BINDINGS: ClassVar[Bindings] = [*bindings("page"), *bindings("circuits")]

    def __init__(self, shown: Path | None = None) -> None:
        super().__init__()
        self._circuits: list[Any] = []
        self._shown = shown

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
        if self._shown is not None:
            await self._include(self._shown)
        names = self.query_one("#names", OptionList)
        names.add_options([Option(f"{c.name}\n  {plain(c.title)}") for c in self._circuits])
        if self._circuits:
            names.highlighted = self._place()
        else:
            self.query_one(CircuitCard).say("No circuit was found. F2 says why.")

    async def _include(self, folder: Path) -> None:
        """Lists a circuit that lies outside the library's folders too."""
        if any(Path(one.path) == folder for one in self._circuits):
            return
        try:
            circuit = await self.acs.offload(self.acs.services.load_circuit, str(folder))
        except AcsError as error:
            self.acs.fail(error)
            return
        self._circuits.append(
            CircuitSummary(circuit.name, circuit.title, circuit.category, circuit.pdk,
                           len(circuit.parameters), folder)
        )  # fmt: skip

    def _place(self) -> int:
        paths = [Path(one.path) for one in self._circuits]
        return paths.index(self._shown) if self._shown in paths else 0

    def action_import(self) -> None:
        from acs_assistant.tui.screens.importing import ImportScreen

        self.app.switch_screen(ImportScreen())

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

        chosen = self._circuits[event.option_index]
        self.app.switch_screen(NewSessionScreen(chosen))
