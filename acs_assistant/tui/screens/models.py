"""Installed language models and their cards."""

from __future__ import annotations

import dataclasses
from typing import Any

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from acs_assistant.errors import AcsError
from acs_assistant.tui.screens.page import Page
from acs_assistant.tui.text import plain
from acs_assistant.tui.widgets.columns import Cell, Column, columns
from acs_assistant.tui.widgets.key_bar import KeyBar


class ModelsScreen(Page):
    """Enter makes a model the one that new sessions start with."""

    CSS_PATH = "library.tcss"

    def __init__(self) -> None:
        super().__init__()
        self._cards: list[Any] = []

    def compose(self) -> ComposeResult:
        yield Static("Models", classes="page-title", markup=False)
        with Horizontal(id="library"):
            yield OptionList(id="names", compact=True, markup=False, classes="panel")
            with VerticalScroll(id="card", classes="panel"):
                yield Static("Looking…", markup=False, id="card-text")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#names").border_title = "Enter: use it"
        self.query_one("#names").focus()
        self._fill()

    @work(exclusive=True, group="fill")
    async def _fill(self) -> None:
        try:
            self._cards = list(await self.acs.offload(self.acs.services.list_models))
        except AcsError as error:
            self.acs.fail(error)
        names = self.query_one("#names", OptionList)
        names.clear_options()
        chosen = self.acs.services.settings.model.name
        for n, card in enumerate(self._cards):
            used = card.name == chosen or (not chosen and n == 0)
            names.add_option(Option(f"{'✓ ' if used else '  '}{plain(card.name)}"))
        if self._cards:
            names.highlighted = 0
        else:
            self.query_one("#card-text", Static).update(
                "No model is installed. F2 says where a GGUF file goes."
            )

    def on_option_list_option_highlighted(self) -> None:
        self.call_after_refresh(self._draw)

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        """The card of the highlighted model, for the width that there is."""
        place = self.query_one("#names", OptionList).highlighted
        if place is None or place >= len(self._cards):
            return
        card = self._cards[place]
        rows: list[list[Cell]] = []
        text = ""
        for field in dataclasses.fields(card):
            value = getattr(card, field.name)
            if value is None or value == "":
                continue
            if isinstance(value, str) and ("\n" in value or len(value) > 90):
                text += f"\n{plain(value)}\n"
            else:
                name = field.name.replace("_", " ")
                rows.append([(name, "$foreground-muted"), plain(str(value))])
        width = max(self.query_one("#card").scrollable_content_region.width, 30)
        table = columns((Column(""), Column("", shrink=10)), rows, width, header=False)
        self.query_one("#card-text", Static).update(Content("\n").join([table, Content(text)]))

    @work(exclusive=True, group="choose")
    async def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        services = self.acs.services
        name = str(self._cards[event.option_index].name)
        model = services.settings.model.model_copy(update={"name": name})
        settings = services.settings.model_copy(update={"model": model})
        try:
            await self.acs.offload(services.save_settings, settings)
        except AcsError as error:
            self.acs.fail(error)
            return
        services.settings = settings
        self.notify(f"New sessions start with {plain(name)}.", markup=False)
        self._fill()
