"""Home: every session, newest first; or, the first time, a greeting that leads to one."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.coordinate import Coordinate
from textual.timer import Timer
from textual.widgets import DataTable, Input, Static

from acs_assistant.domain import Task
from acs_assistant.errors import AcsError
from acs_assistant.storage.records import SessionSummary
from acs_assistant.tui.keys import bindings
from acs_assistant.tui.screens.page import AcsScreen, Bindings
from acs_assistant.tui.text import MISSING, first_line, plain, when
from acs_assistant.tui.widgets.key_bar import KeyBar
from acs_assistant.tui.widgets.themed import themed

REFERENCE_CIRCUIT = "two_stage_miller"
SORTS = ("newest", "circuit", "best score", "number")
_COLUMNS = ("#", "session", "specs", "best", "sims", "last change", "circuit", "proposer")
_NARROW = 6


class SessionsScreen(AcsScreen):
    """The list. Enter goes on with a session where it was left."""

    CSS_PATH = "sessions.tcss"
    KEY_SCOPES: ClassVar[tuple[str, ...]] = ("sessions",)
    BINDINGS: ClassVar[Bindings] = [*bindings("sessions")]

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[SessionSummary] = []
        self._sort = 0
        self._archived = False
        self._timer: Timer | None = None
        self._checked = False
        self._leaving: set[int] = set()

    def compose(self) -> ComposeResult:
        yield Static("ACS Assistant · sessions", classes="page-title", id="title", markup=False)
        yield Input(placeholder="words that title, circuit or model contain", id="search",
                    compact=True)  # fmt: skip
        with Vertical(id="list"):
            table: DataTable[Text] = DataTable(cursor_type="row", zebra_stripes=False)
            yield table
            yield Static(markup=False, id="none", classes="muted")
        with Vertical(id="greeting"):
            yield Static(markup=False, id="welcome")
            yield Static("Checking what is installed…", markup=False, id="check")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#search").display = False
        self.query_one("#greeting").display = False
        self.query_one("#welcome", Static).update(_welcome())
        self.acs.theme_changed_signal.subscribe(self, lambda _: self._draw())

    def on_resize(self) -> None:
        self._draw()

    def on_screen_resume(self) -> None:
        self.refresh_list()

    @work(group="list", exclusive=True)
    async def refresh_list(self) -> None:
        query = self.query_one("#search", Input).value
        store = self.acs.services.store
        # looked at first: one that ends meanwhile is read again, not taken for somebody else's
        self._leaving = set(self.acs.opened)
        try:
            self._rows = await self.acs.offload(store.sessions, query, archived=self._archived)
        except AcsError as error:
            self.acs.fail(error)
            return
        self._draw()
        first = not self._rows and not query and not self._archived
        self.query_one("#greeting").display = first
        self.query_one("#list").display = not first
        none = self.query_one("#none", Static)
        none.display = not self._rows and not first
        none.update(_nothing(query, archived=self._archived))
        self.query_one(DataTable).display = bool(self._rows)
        if any(summary.running and summary.id in self._leaving for summary in self._rows):
            self.set_timer(0.3, self.refresh_list)
        if first and not self._checked:
            self._checked = True
            self._check()
        if not first and self.focused is None:
            self.query_one(DataTable).focus()
        self.refresh_bindings()

    @work(group="check", exclusive=True)
    async def _check(self) -> None:
        """Says whether everything is here before the first session is made."""
        from acs_assistant import doctor

        checks = await asyncio.to_thread(doctor.check)
        missing = [item for item in checks if item.status == "missing"]
        lines: list[str | tuple[str, str]] = []
        if not missing:
            lines = [("✓ Everything is here", "$text-success"),
                     ": ngspice, device models, a language model."]  # fmt: skip
        for item in missing:
            lines += [(f"✗ {item.name}: {plain(item.detail)}\n", "$text-error")]
            if item.mend:
                lines += [("  → ", "$text-accent"), f"{plain(item.mend)}\n"]
        self.query_one("#check", Static).update(Content.assemble(*lines))

    def _draw(self) -> None:
        table = self.query_one(DataTable)
        keep = self._selected()
        rows = list(self._rows)
        match SORTS[self._sort]:
            case "circuit":
                rows.sort(key=lambda s: (s.circuit, -s.id))
            case "best score":
                rows.sort(key=lambda s: (-(s.best if s.best is not None else -1.0), -s.id))
            case "number":
                rows.sort(key=lambda s: s.id)
        table.clear(columns=True)
        shown = len(_COLUMNS) if self.size.width >= 100 else _NARROW
        table.add_columns(*_COLUMNS[:shown])
        for summary in rows:
            table.add_row(*self._cells(summary)[:shown], key=str(summary.id))
        if keep is not None and any(s.id == keep.id for s in rows):
            table.move_cursor(row=table.get_row_index(str(keep.id)))
        what = "archived sessions" if self._archived else "sessions"
        self.query_one("#title", Static).update(
            f"ACS Assistant · {what}: {len(rows)} · by {SORTS[self._sort]}"
        )

    def _cells(self, summary: SessionSummary) -> list[Text]:
        app = self.app
        best = MISSING if summary.best is None else f"{summary.best:.3f}"
        if summary.best is None:
            met = themed(app, ("· open", "$foreground-muted"))
        elif summary.met:
            met = themed(app, ("✓ met", "$text-success"))
        else:
            met = themed(app, ("✗ not met", "$text-warning"))
        who = summary.proposer if summary.proposer != "model" else (summary.model or "model")
        return [
            Text(f"{summary.id:>3}"),
            Text(first_line(summary.title, 40), "bold"),
            met,
            Text(f"{best:>5}"),
            Text(f"{summary.simulations:>3}/{summary.budget}"),
            themed(app, self._last(summary)),
            themed(app, (plain(summary.circuit), "$foreground-muted")),
            themed(app, (plain(who).rsplit("/", 1)[-1], "$foreground-muted")),
        ]  # fmt: skip

    def _last(self, summary: SessionSummary) -> tuple[str, str]:
        """When it was changed, or what keeps it from being opened."""
        if not summary.running:
            return when(summary.updated), "$foreground-muted"
        word = "closing…" if summary.id in self._leaving else "open elsewhere"
        return word, "$text-warning"

    def _selected(self) -> SessionSummary | None:
        table = self.query_one(DataTable)
        if not table.row_count or not table.is_valid_row_index(table.cursor_row):
            return None
        key = table.coordinate_to_cell_key(Coordinate(table.cursor_row, 0)).row_key.value
        return next((row for row in self._rows if str(row.id) == key), None)

    # -- keys ---------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("export", "duplicate", "archive", "open", "compare"):
            return bool(self._rows)
        return True

    def on_data_table_row_selected(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        summary = self._selected()
        if summary is not None:
            self.acs.open_session(summary.id)

    def action_new(self) -> None:
        from acs_assistant.tui.screens.new_session import NewSessionScreen

        self.app.push_screen(NewSessionScreen())

    @work(group="open", exclusive=True)
    async def action_reference(self) -> None:
        """The reference circuit with its default specs: sizing within a minute."""
        services = self.acs.services
        try:
            circuit = await self.acs.offload(services.load_circuit, REFERENCE_CIRCUIT)
        except AcsError as error:
            self.acs.fail(error)
            return
        chosen = services.settings.session
        self.acs.new_session(
            Task(circuit, circuit.specs, circuit.conditions, (circuit.conditions.corner,)),
            proposer=chosen.proposer, model="", budget=chosen.budget, seed=chosen.seed, run=True,
        )  # fmt: skip

    def action_search(self) -> None:
        field = self.query_one("#search", Input)
        field.display = True
        field.focus()

    def on_input_changed(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(0.15, self.refresh_list)

    def on_input_submitted(self) -> None:
        self.query_one(DataTable).focus()

    def key_escape(self) -> None:
        field = self.query_one("#search", Input)
        if field.display:
            field.value = ""
            field.display = False
            self.query_one(DataTable).focus()

    def action_sort(self) -> None:
        self._sort = (self._sort + 1) % len(SORTS)
        self._draw()

    def action_compare(self) -> None:
        from acs_assistant.tui.screens.runs import RunsScreen

        summary = self._selected()
        if summary is None or len(self._rows) < 2:
            self.notify("There are not two sessions to compare yet.")
            return
        self.app.push_screen(RunsScreen(self._rows, summary))

    @work(group="change")
    async def action_duplicate(self) -> None:
        summary = self._selected()
        if summary is None:
            return
        try:
            copy = await self.acs.offload(self.acs.services.store.duplicate, summary.id)
        except AcsError as error:
            self.acs.fail(error)
            return
        self.notify(f"Session {copy.id} is the copy.")
        self.refresh_list()

    @work(group="change")
    async def action_archive(self) -> None:
        summary = self._selected()
        if summary is None:
            return
        store = self.acs.services.store
        try:
            await self.acs.offload(store.archive, summary.id, not summary.archived)
        except AcsError as error:
            self.acs.fail(error)
            return
        self.refresh_list()

    def action_toggle_archived(self) -> None:
        self._archived = not self._archived
        self.refresh_list()

    @work(group="export", exclusive=True)
    async def action_export(self) -> None:
        from acs_assistant.tui.screens.export import ExportDialog

        summary = self._selected()
        if summary is not None:
            await self.app.push_screen_wait(ExportDialog(summary.id))

    def action_models(self) -> None:
        from acs_assistant.tui.screens.models import ModelsScreen

        self.app.push_screen(ModelsScreen())

    def action_training(self) -> None:
        from acs_assistant.tui.screens.training import TrainingScreen

        self.app.push_screen(TrainingScreen())

    def action_bench(self) -> None:
        from acs_assistant.tui.screens.bench import BenchScreen

        self.app.push_screen(BenchScreen())

    def action_circuits(self) -> None:
        from acs_assistant.tui.screens.circuits import CircuitsScreen

        self.app.push_screen(CircuitsScreen())


def _nothing(query: str, *, archived: bool) -> str:
    """Why the list is empty."""
    if query:
        return f"No session has “{plain(query)}” in its title, circuit or model. Esc shows all."
    return "No session is archived. X shows the others." if archived else ""


def _welcome() -> Content:
    return Content.assemble(
        ("ACS Assistant\n\n", "bold $text-primary"),
        "A language model on this machine proposes the sizes of an analog circuit,\n"
        "and says why. You accept, edit or reject each proposal. ngspice measures\n"
        "it, and the model reads the result before it proposes again. Every step\n"
        "is stored as it happens.\n\n",
        ("  f  ", "bold $text-accent"),
        "first steps: a two-stage op-amp on SKY130 with its default specs\n",
        ("  n  ", "bold $text-accent"),
        "a new session: your circuit, specs, model and budget\n",
        ("  ?  ", "bold $text-accent"),
        "every key\n",
    )
