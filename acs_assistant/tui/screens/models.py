"""Installed language models and their cards; which one new sessions start with."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.domain import Task
from acs_assistant.engine.speed import Speed, keep_speed, load_speeds, measure_speed
from acs_assistant.errors import AcsError
from acs_assistant.tui.choosing import use_default, use_named
from acs_assistant.tui.keys import bindings
from acs_assistant.tui.screens.page import Bindings, Dialog, Page
from acs_assistant.tui.text import plain
from acs_assistant.tui.widgets.columns import Cell, Column, columns
from acs_assistant.tui.widgets.key_bar import KeyBar


class ModelsScreen(Page):
    """Enter makes a model the one that new sessions start with; R takes that back."""

    CSS_PATH = "library.tcss"
    KEY_SCOPES: ClassVar[tuple[str, ...]] = ("models", "page")
    BINDINGS: ClassVar[Bindings] = [*bindings("page"), *bindings("models")]

    def __init__(self) -> None:
        super().__init__()
        self._cards: list[Any] = []
        self._speeds: dict[str, Speed] = {}
        self._measuring: CancelToken | None = None

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
            self._speeds = await self.acs.offload(load_speeds)
        except AcsError as error:
            self.acs.fail(error)
        names = self.query_one("#names", OptionList)
        names.clear_options()
        chosen = self.acs.services.settings.model.name
        known = [str(card.name) for card in self._cards]
        if chosen and chosen not in known:
            self._cards.insert(0, Elsewhere(chosen))
        used = [
            card.name == chosen if chosen else bool(getattr(card, "default", False))
            for card in self._cards
        ]
        for card, mark in zip(self._cards, used, strict=True):
            names.add_option(Option(f"{'✓ ' if mark else '  '}{plain(card.name)}"))
        if self._cards:
            names.highlighted = used.index(True) if any(used) else 0
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
        for name, value in _fields(card):
            if "\n" in value or len(value) > 90:
                text += f"\n{plain(value)}\n"
            else:
                rows.append([(name, "$foreground-muted"), plain(value)])
        speed = self._speeds.get(_key(card))
        measured = "not measured; s does it" if speed is None else _speed_text(speed)
        rows.append([("speed here", "$foreground-muted"), measured])
        width = max(self.query_one("#card").scrollable_content_region.width, 30)
        table = columns((Column(""), Column("", shrink=10)), rows, width, header=False)
        self.query_one("#card-text", Static).update(Content("\n").join([table, Content(text)]))

    @work(exclusive=True, group="choose")
    async def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        card = self._cards[event.option_index]
        if not isinstance(card, Elsewhere):
            await self._chosen(await use_default(self.acs, self.acs.services.adopt, card.name))

    # -- speed ------------------------------------------------------------------------------

    @work(group="speed")
    async def action_speed(self) -> None:
        """Measures the model under the cursor; the figure is kept."""
        place = self.query_one("#names", OptionList).highlighted
        if self._measuring is not None or place is None:
            return
        card = self._cards[place]
        cancel = self._measuring = CancelToken()
        self._busy(card, "loading")
        try:
            speed = await asyncio.to_thread(self._measure, card, cancel)
            await self.acs.offload(keep_speed, _key(card), speed)
            self._speeds[_key(card)] = speed
        except CancelledError:
            self.notify("Stopped; nothing was kept.")
        except AcsError as error:
            self.acs.fail(error)
        finally:
            self._measuring = None
        if self.is_attached:
            self.query_one("#card").border_subtitle = ""
            self._draw()

    def _measure(self, card: Any, cancel: CancelToken) -> Speed:
        """In a thread: a model of its own, which no session waits for."""
        services = self.acs.services
        name = str(getattr(card, "path", card.name))
        circuit = services.load_circuit(services.list_circuits()[0].name)
        task = Task(circuit, circuit.specs, circuit.conditions, (circuit.conditions.corner,))
        model = services.open_model(name)
        try:
            return measure_speed(
                model, task, cancel,
                lambda what: self.app.call_from_thread(self._busy, card, what),
            )  # fmt: skip
        finally:
            model.close()

    def _busy(self, card: Any, what: str) -> None:
        if self.is_attached:
            text = f"measuring {plain(card.name)}: {what}… Esc stops"
            self.query_one("#card").border_subtitle = text

    async def action_back(self) -> None:
        """Stops a measurement first."""
        if self._measuring is not None:
            cancel = self._measuring
            await asyncio.to_thread(cancel.cancel)
            return
        await super().action_back()

    def on_unmount(self) -> None:
        if self._measuring is not None:
            self._measuring.cancel()

    @work(exclusive=True, group="choose")
    async def action_rollback(self) -> None:
        await self._chosen(await use_default(self.acs, self.acs.services.rollback))

    @work(exclusive=True, group="choose")
    async def action_other(self) -> None:
        answer = await self.app.push_screen_wait(OtherModelDialog())
        if answer is None:
            return
        names = self.query_one("#names")
        names.border_subtitle = "looking at it…"
        chosen = await use_named(self.acs, answer)
        names.border_subtitle = ""
        await self._chosen(chosen)

    async def _chosen(self, name: str) -> None:
        if name:
            self.notify(f"New sessions start with {name}.", markup=False)
            self._fill()


@dataclasses.dataclass(frozen=True, slots=True)
class Elsewhere:
    """A model that the settings name and that is not installed: a file, or a server's address."""

    name: str


def _fields(card: Any) -> list[tuple[str, str]]:
    """A card's figures as a person reads them; what only programs read is left out."""
    found: list[tuple[str, str]] = []
    for field in dataclasses.fields(card):
        value = getattr(card, field.name)
        name = field.name.replace("_", " ")
        if field.name == "facts":
            found += [(str(key), str(fact)) for key, fact in value.items()]
        elif value is None or value == "" or field.name == "metadata":
            continue
        elif field.name == "size":
            found.append((name, f"{value / 1e6:,.1f} MB"))
        elif field.name == "parameters" and isinstance(value, int):
            found.append((name, f"{value / 1e6:,.1f} M"))
        elif isinstance(value, bool):
            found.append((name, "yes" if value else "no"))
        else:
            found.append((name, str(value)))
    return found


def _key(card: Any) -> str:
    """What its speed is kept under: another file of the same name is another model."""
    return str(getattr(card, "sha256", "") or card.name)


def _speed_text(speed: Speed) -> str:
    read = "" if speed.prompt is None else f"reads {speed.prompt:,.0f}, "
    return f"{read}writes {speed.generation:,.0f} tokens a second (measured {speed.date})"


class OtherModelDialog(Dialog[str]):
    """A GGUF file, or the address of an OpenAI-compatible server."""

    BOX_TITLE = "Another model"

    def body(self) -> ComposeResult:
        yield Static(
            "A GGUF file of an instruct model that can call tools, or the address of an "
            "OpenAI-compatible server (http://localhost:8080/v1#name).",
            markup=False,
        )
        yield Input(placeholder="path or http://…", compact=True, id="reference")
        yield Static("", classes="fault", markup=False)

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        text, fault = event.value.strip(), self.query_one(".fault", Static)
        if text.startswith(("http://", "https://")):
            self.dismiss(text)
            return
        path = Path(text).expanduser()
        if not text or not path.is_file():
            fault.update("✗ There is no such file.")
        elif path.suffix.lower() != ".gguf":
            fault.update("✗ That is no GGUF file (NAME.gguf).")
        else:
            self.dismiss(str(path.resolve()))
