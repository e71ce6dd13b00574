"""A new session: circuit with its schematic and reference, specs, who proposes, budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, OptionList, Select, Static
from textual.widgets.option_list import Option

from acs_assistant.domain import CORNERS, Circuit, Conditions, Corner, Task
from acs_assistant.engine.reached import reached_in_sessions
from acs_assistant.errors import AcsError
from acs_assistant.tui.keys import bindings
from acs_assistant.tui.screens.page import AcsScreen, Bindings
from acs_assistant.tui.screens.sessions import REFERENCE_CIRCUIT
from acs_assistant.tui.text import plain, proposer_text
from acs_assistant.tui.widgets.circuit_card import CircuitCard
from acs_assistant.tui.widgets.key_bar import KeyBar
from acs_assistant.tui.widgets.spec_editor import SpecEditor
from acs_assistant.units import format_quantity, parse_quantity


class NewSessionScreen(AcsScreen):
    """Left the circuits, right what to reach and with whom. Ctrl+S starts."""

    CSS_PATH = "new_session.tcss"
    KEY_SCOPES: ClassVar[tuple[str, ...]] = ("new",)
    BINDINGS: ClassVar[Bindings] = bindings("new")

    def __init__(self, wanted: Any = None) -> None:
        """Args: wanted: The ``CircuitSummary`` to begin with, of the library or from elsewhere."""
        super().__init__()
        self._wanted = wanted
        self._circuits: list[Any] = []
        self._circuit: Circuit | None = None

    def compose(self) -> ComposeResult:
        settings = self.acs.services.settings
        yield Static("New session", classes="page-title", markup=False)
        with Horizontal(id="form"):
            with Vertical(id="browse"):
                yield OptionList(id="circuits", compact=True, markup=False, classes="panel")
                yield CircuitCard()
            with VerticalScroll(id="choices"):
                with Vertical(id="specs-panel", classes="panel"):
                    yield Static("Looking for circuits…", markup=False, id="specs-wait")
                with Vertical(id="conditions", classes="panel"):
                    yield from _field("supply", "V", "")
                    yield from _field("temperature", "°C", "")
                    yield from _field("load", "", "")
                    with Horizontal(classes="field"):
                        yield Static("corners", classes="name")
                        yield Input("tt", id="corners", compact=True)
                        yield Static("tt ff ss fs sf; the worst counts", classes="unit muted")
                with Vertical(id="engine", classes="panel"):
                    with Horizontal(classes="field"):
                        yield Static("proposer", classes="name")
                        names = self.acs.services.proposers()
                        chosen = settings.session.proposer
                        yield Select(
                            [(proposer_text(name), name) for name in names],
                            value=chosen if chosen in names else names[0],
                            allow_blank=False, id="proposer", compact=True,
                        )  # fmt: skip
                    with Horizontal(classes="field"):
                        yield Static("model", classes="name")
                        yield Select([("the built-in model", "")], value="", allow_blank=False,
                                     id="model", compact=True)  # fmt: skip
                    yield from _field("budget", "simulations", str(settings.session.budget))
                    yield from _field("seed", "", str(settings.session.seed))
                yield Static("", classes="fault", id="fault", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        titles = {"#circuits": "Circuit", "#card": "Reference", "#specs-panel": "Specs",
                  "#conditions": "Conditions", "#engine": "Proposer"}  # fmt: skip
        for selector, title in titles.items():
            self.query_one(selector).border_title = title
        self.query_one("#specs-panel").border_subtitle = "empty is off"
        self.query_one("#circuits").focus()
        self._fill()

    @work(group="fill", exclusive=True)
    async def _fill(self) -> None:
        services = self.acs.services
        try:
            self._circuits = list(await self.acs.offload(services.list_circuits))
        except AcsError as error:
            self.acs.fail(error)
        names = [summary.name for summary in self._circuits]
        wanted = names.index(REFERENCE_CIRCUIT) if REFERENCE_CIRCUIT in names else 0
        if self._wanted is not None:
            if self._wanted not in self._circuits:
                self._circuits.append(self._wanted)
            wanted = self._circuits.index(self._wanted)
        choices = self.query_one("#circuits", OptionList)
        for n, summary in enumerate(self._circuits):
            label = f"{summary.name}  {plain(summary.title)} · {summary.pdk}"
            choices.add_option(Option(label, id=f"circuit-{n}"))
        if not self._circuits:
            self.query_one("#specs-wait", Static).update("No circuit was found. F2 says why.")
            return
        choices.highlighted = wanted
        try:
            cards = await self.acs.offload(services.list_models)
        except AcsError as error:
            self.acs.fail(error)
            cards = ()
        self._fill_models(cards)

    def _fill_models(self, cards: Sequence[Any]) -> None:
        names = [str(card.name) for card in cards]
        chosen = self.acs.services.settings.model.name
        select: Select[str] = self.query_one("#model", Select)
        options: list[tuple[str | Content, str]] = [
            ("the built-in model", ""),
            *((Content(plain(name)), name) for name in names),
        ]
        if chosen and chosen not in names:
            options.append((Content(plain(chosen)), chosen))
        select.set_options(options)
        select.value = chosen

    @on(OptionList.OptionHighlighted, "#circuits")
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self._load(str(self._circuits[event.option_index].path))

    @on(OptionList.OptionSelected, "#circuits")
    def _selected(self) -> None:
        self.query(".spec-row Input").first().focus()

    @work(group="load", exclusive=True)
    async def _load(self, path: str) -> None:
        services = self.acs.services
        try:
            circuit = await self.acs.offload(services.load_circuit, path)
        except AcsError as error:
            self._circuit = None
            self.query_one(CircuitCard).say(
                Content.assemble(
                    ("✗ This circuit cannot be used.\n", "$text-error"),
                    f"{plain(error.message)}\n",
                    (plain(error.hint), "$text-accent"),
                )
            )
            return
        self._circuit = circuit
        self.query_one(CircuitCard).show(circuit)
        panel = self.query_one("#specs-panel")
        await panel.remove_children()
        editor = SpecEditor(circuit, circuit.specs)
        await panel.mount(editor, Static("", markup=False, id="spec-says"))
        conditions = circuit.conditions
        self.query_one("#supply", Input).value = format_quantity(conditions.supply)
        self.query_one("#temperature", Input).value = format_quantity(conditions.temperature)
        self.query_one("#load", Input).value = format_quantity(conditions.load)
        self.query_one("#corners", Input).value = conditions.corner
        try:
            found = await self.acs.offload(reached_in_sessions, circuit.name, services.store)
        except AcsError as error:
            self.acs.fail(error)
            return
        editor.know(found)

    def on_descendant_focus(self) -> None:
        self._say()

    def _say(self) -> None:
        """The focused spec's note, where the columns leave no room for it."""
        for editor in self.query(SpecEditor):
            for line in self.query("#spec-says").results(Static):
                line.update(editor.note())

    def on_spec_editor_changed(self, event: SpecEditor.Changed) -> None:
        self._say()
        self.query_one("#fault", Static).update(
            "" if event.fine else "✗ A spec cannot be used yet."
        )

    async def action_back(self) -> None:
        self.dismiss()

    def action_add_spec(self) -> None:
        for editor in self.query(SpecEditor):
            editor.focus_add()

    def action_start(self) -> None:
        fault = self.query_one("#fault", Static)
        try:
            task = self._read()
            budget = _whole(self.query_one("#budget", Input).value, "budget", least=1)
            seed = _whole(self.query_one("#seed", Input).value, "seed", least=0)
        except (AcsError, ValueError) as error:
            fault.update(f"✗ {error.message} {error.hint}" if isinstance(error, AcsError)
                         else f"✗ {error}")  # fmt: skip
            fault.scroll_visible()
            return
        proposer: Select[str] = self.query_one("#proposer", Select)
        model: Select[str] = self.query_one("#model", Select)
        self.acs.new_session(
            task, proposer=str(proposer.value), model=str(model.value), budget=budget, seed=seed,
            run=True,
        )  # fmt: skip

    def _read(self) -> Task:
        """Raises ValueError or AcsError that says which field is wrong."""
        if self._circuit is None:
            raise ValueError("Choose a circuit first.")
        specs = self.query_one(SpecEditor).specs()
        if specs is None:
            raise ValueError("A spec cannot be used yet; it says why beside it.")
        if not specs:
            raise ValueError("A session needs at least one spec.")
        words = self.query_one("#corners", Input).value.lower().replace(",", " ").split()
        wrong = [word for word in words if word not in CORNERS]
        if wrong or not words:
            raise ValueError(f"'{' '.join(wrong)}' is no corner; these are: {' '.join(CORNERS)}")
        corners: tuple[Corner, ...] = tuple(c for c in CORNERS if c in words)
        conditions = Conditions(
            supply=parse_quantity(self.query_one("#supply", Input).value),
            temperature=parse_quantity(self.query_one("#temperature", Input).value),
            load=parse_quantity(self.query_one("#load", Input).value),
            corner=corners[0],
        )
        return Task(self._circuit, specs, conditions, corners)


def _field(name: str, unit: str, value: str) -> ComposeResult:
    with Horizontal(classes="field"):
        yield Static(name, classes="name", markup=False)
        yield Input(value, id=name, compact=True)
        yield Static(unit, classes="unit muted", markup=False)


def _whole(text: str, name: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise ValueError(f"The {name} is a whole number from {least}.")
    return number
