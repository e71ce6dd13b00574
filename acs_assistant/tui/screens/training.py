"""Fine-tuning: choose sessions, see what they teach, train, watch, compare, adopt or not."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import DataTable, Input, Static

from acs_assistant.doctor import Check
from acs_assistant.engine.teaching import Teaching, teaching
from acs_assistant.errors import AcsError
from acs_assistant.storage.records import SessionSummary
from acs_assistant.tui.choosing import use_default
from acs_assistant.tui.keys import bindings
from acs_assistant.tui.screens.page import Bindings, Page
from acs_assistant.tui.text import first_line, plain
from acs_assistant.tui.training_run import ENDED, Plan, Stage, TrainingRun
from acs_assistant.tui.widgets.key_bar import KeyBar
from acs_assistant.tui.widgets.themed import themed
from acs_assistant.tui.widgets.training_view import (
    TrainingPlots,
    counted,
    outcome_text,
    stages_text,
)

if TYPE_CHECKING:
    from acs_assistant.tui.app import AcsApp

POLL = 0.5
"""Seconds between looks at the child process."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One saved session, and what it teaches."""

    summary: SessionSummary
    turns: tuple[int, ...]
    teaching: Teaching


class TrainingScreen(Page):
    """Three forms of one screen: choosing, watching, deciding. Leaving it stops nothing."""

    CSS_PATH = "training.tcss"
    KEY_SCOPES: ClassVar[tuple[str, ...]] = ("training", "page")
    BINDINGS: ClassVar[Bindings] = [*bindings("page"), *bindings("training")]

    def __init__(self) -> None:
        super().__init__()
        self._lessons: list[Lesson] = []
        self._chosen: set[int] = set()
        self._circuit: Any = None
        self._model = ""
        self._extra: Check | None = None
        self._adopted = ""

    def compose(self) -> ComposeResult:
        yield Static("Fine-tuning", classes="page-title", id="title", markup=False)
        with Vertical(id="choosing"):
            with Vertical(id="lessons", classes="panel"):
                yield Static("Reading the sessions…", markup=False, id="wait")
                table: DataTable[Text] = DataTable(cursor_type="row", zebra_stripes=False)
                yield table
            with Vertical(id="teach", classes="panel"):
                yield Static("", markup=False, id="teaches")
                with Horizontal(classes="field"):
                    yield Static("imitate", classes="name")
                    yield Input("2", id="imitate", compact=True)
                    yield Static("minutes of what was right", classes="unit muted")
                with Horizontal(classes="field"):
                    yield Static("reinforce", classes="name")
                    yield Input("10", id="reinforce", compact=True)
                    yield Static("minutes of TL-GRPO on circuits and specs like these",
                                 classes="unit muted")  # fmt: skip
                yield Static("", classes="fault", id="fault", markup=False)
        with Vertical(id="watching"):
            yield Static("", markup=False, id="stages")
            yield TrainingPlots(id="figures")
            yield Static("", markup=False, id="said", classes="muted")
        with VerticalScroll(id="deciding", classes="panel"):
            yield Static("", markup=False, id="outcome")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#lessons").border_title = "Sessions"
        self.query_one("#teach").border_title = "What they teach"
        self.query_one("#deciding").border_title = "Evaluation"
        table = self.query_one(DataTable)
        table.display = False
        self.acs.theme_changed_signal.subscribe(self, lambda _: self._draw())
        self.set_interval(POLL, self._show_run)
        self._show_run()
        self._fill()

    @property
    def run(self) -> TrainingRun | None:
        return self.acs.training

    @property
    def form(self) -> str:
        """ "choosing", "watching" or "deciding"."""
        if self.run is None:
            return "choosing"
        return "watching" if self.run.alive else "deciding"

    # -- choosing -----------------------------------------------------------------------------

    @work(group="fill", exclusive=True)
    async def _fill(self) -> None:
        from acs_assistant import doctor

        store = self.acs.services.store
        wait = self.query_one("#wait", Static)
        try:
            summaries = await self.acs.offload(store.sessions)
            self._model = await self._model_in_use()
            lessons = []
            for n, summary in enumerate(summaries, start=1):
                wait.update(f"Reading session {n} of {len(summaries)}…")
                lessons.append(await self.acs.offload(self._read, summary))
        except AcsError as error:
            wait.update(f"✗ {plain(error.message)}\n{plain(error.hint)}")
            return
        self._lessons = lessons
        self._chosen = {one.summary.id for one in lessons if one.teaching.right}
        self._extra = (await asyncio.to_thread(doctor.check, "training"))[0]
        wait.display = not lessons
        wait.update(
            "No saved sessions yet. Fine-tuning learns from sizings that you accepted or edited,\n"
            "and from proposals that you rejected. Make a session first: Esc, then f or n.\n"
            "Or press C: a circuit without sessions is simulated some thousand times instead."
        )
        table = self.query_one(DataTable)
        table.display = bool(lessons)
        self._draw()
        if self.form == "choosing" and lessons:
            table.focus()

    def _read(self, summary: SessionSummary) -> Lesson:
        store = self.acs.services.store
        turns = store.turns(summary.id)
        found = teaching(store.session(summary.id).task, turns)
        return Lesson(summary, tuple(turn.id for turn in turns), found)

    async def _model_in_use(self) -> str:
        """The name that new sessions start with."""
        chosen = self.acs.services.settings.model.name
        if chosen:
            return chosen
        cards = await self.acs.offload(self.acs.services.list_models)
        names = [str(card.name) for card in cards if getattr(card, "default", False)]
        return names[0] if names else ""

    def _draw(self) -> None:
        self.query_one("#title", Static).update(
            f"Fine-tuning · model in use: {plain(self._model) or 'none'}"
        )
        table = self.query_one(DataTable)
        at = table.cursor_row
        table.clear(columns=True)
        table.add_columns("", "#", "session", "right", "by hand", "refused", "circuit")
        for one in self._lessons:
            table.add_row(*self._cells(one), key=str(one.summary.id))
        if self._lessons:
            table.move_cursor(row=min(max(at, 0), len(self._lessons) - 1))
        self.query_one("#teaches", Static).update(self._teaches())
        self.refresh_bindings()

    def _cells(self, one: Lesson) -> list[Text]:
        app, found = self.app, one.teaching
        mark = ("✓ on", "$text-success") if one.summary.id in self._chosen else (
            "· off", "$foreground-muted")  # fmt: skip
        return [
            themed(app, mark),
            Text(f"{one.summary.id:>3}"),
            Text(first_line(one.summary.title, 20 if self.size.width < 100 else 40), "bold"),
            Text(f"{found.right:>5}"),
            Text(f"{found.edited:>7}"),
            Text(f"{found.refused:>7}"),
            themed(app, (found.reason, "$text-warning"))
            if found.reason
            else themed(app, (plain(one.summary.circuit), "$foreground-muted")),
        ]

    def _teaches(self) -> Content:
        if self._circuit is not None:
            text = Content.assemble(
                (plain(self._circuit.name), "bold"),
                ", simulated some thousand times; its solved spec sets are imitated. How long that "
                "takes is said first. Space goes back to the sessions.",
            )
            problem = self._problem()
            lines = [text, Content.styled(problem, "$text-error")] if problem else [text]
            return Content("\n").join(lines)
        chosen = [one for one in self._lessons if one.summary.id in self._chosen]
        right = sum(one.teaching.right for one in chosen)
        edited = sum(one.teaching.edited for one in chosen)
        refused = sum(one.teaching.refused for one in chosen)
        circuits = sorted({one.summary.circuit for one in chosen})
        lines = [
            Content.assemble(
                (counted(right, "right sizing"), "bold"),
                f" ({edited} edited by hand) and {refused} refused, from "
                f"{counted(len(chosen), 'session')}{' on ' if circuits else ''}"
                f"{', '.join(map(plain, circuits))}",
            )
        ]
        problem = self._problem()
        if problem:
            lines.append(Content.styled(problem, "$text-error"))
        return Content("\n").join(lines)

    def _problem(self) -> str:
        """Why training cannot be started now; empty when it can."""
        if self._extra is not None and self._extra.status != "ok":
            return f"✗ Training is not installed: {self._extra.detail}. → {self._extra.mend}"
        if self._model.startswith(("http://", "https://")):
            return "✗ The model in use is on a server: choose an installed one (models screen)."
        if not self._lessons or self._circuit is not None:
            return ""
        if not any(o.teaching.right for o in self._lessons if o.summary.id in self._chosen):
            return "✗ Nothing to learn from: choose a session that has right sizings."
        return ""

    def _under_cursor(self) -> Lesson | None:
        at = self.query_one(DataTable).cursor_row
        return self._lessons[at] if 0 <= at < len(self._lessons) else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        form = self.form
        match action:
            case "choose" | "all" | "circuit":
                return form == "choosing" and bool(self._lessons)
            case "simulate":
                return form == "choosing"
            case "start":
                return form == "choosing" and (bool(self._lessons) or self._circuit is not None)
            case "stop":
                return form == "watching"
            case "again":
                return form == "deciding"
            case "adopt":
                return form == "deciding" and self._outcome() is not None and not self._adopted
        return True

    def on_data_table_row_selected(self) -> None:
        self.action_choose()

    def action_choose(self) -> None:
        one = self._under_cursor()
        if self._circuit is not None:
            self._learn_from(None)
        elif one is not None:
            self._chosen ^= {one.summary.id}
            self._draw()

    def action_all(self) -> None:
        """All that teach; none when all are chosen already."""
        every = {one.summary.id for one in self._lessons if one.teaching.right}
        self._chosen = set() if self._chosen >= every else every
        self._learn_from(None)

    @work(group="circuit", exclusive=True)
    async def action_circuit(self) -> None:
        from acs_assistant.tui.screens.dialogs import ChoiceDialog

        names = sorted({one.summary.circuit for one in self._lessons})
        one = self._under_cursor()
        now = one.summary.circuit if one is not None else ""
        answer = await self.app.push_screen_wait(
            ChoiceDialog("Circuit", "Learn from every session on:", names, now)
        )
        if answer is not None:
            self._chosen = {
                one.summary.id
                for one in self._lessons
                if one.summary.circuit == answer and one.teaching.right
            }
            self._learn_from(None)

    @work(group="circuit", exclusive=True)
    async def action_simulate(self) -> None:
        """A circuit of the library, without sessions."""
        from acs_assistant.tui.screens.dialogs import ChoiceDialog

        try:
            found = list(await self.acs.offload(self.acs.services.list_circuits))
        except AcsError as error:
            self.acs.fail(error)
            return
        names = [str(one.name) for one in found]
        answer = await self.app.push_screen_wait(
            ChoiceDialog("Circuit", "Simulate and learn, without sessions:", names, "")
        )
        if answer is not None:
            self._learn_from(found[names.index(answer)])

    def _learn_from(self, circuit: Any) -> None:
        """A circuit, or None for the chosen sessions; the time to imitate follows."""
        if (circuit is None) != (self._circuit is None):
            self.query_one("#imitate", Input).value = "2" if circuit is None else "20"
        self._circuit = circuit
        self._draw()

    @work(group="start", exclusive=True)
    async def action_start(self) -> None:
        fault = self.query_one("#fault", Static)
        try:
            if self._problem():
                raise ValueError(self._problem().removeprefix("✗ "))
            plan = self._plan()
        except ValueError as error:
            fault.update(f"✗ {error}")
            return
        fault.update("")
        self._adopted = ""
        run = TrainingRun(plan, self.acs.services.fine_tune, self.acs.clock)
        self.acs.training = run
        await asyncio.to_thread(run.start)
        self.app.run_worker(watch(self.acs, run), group="training", exit_on_error=False)
        self._show_run()

    def _plan(self) -> Plan:
        chosen = {o.summary.id: o.turns for o in self._lessons if o.summary.id in self._chosen}
        return Plan(
            chosen if self._circuit is None else {},
            self._model,
            60 * self._minutes("imitate"),
            60 * self._minutes("reinforce"),
            self.acs.services.settings.model.threads or os.cpu_count() or 1,
            "" if self._circuit is None else str(self._circuit.path),
        )

    def _minutes(self, name: str) -> float:
        try:
            value = float(self.query_one(f"#{name}", Input).value.replace(",", "."))
        except ValueError:
            value = 0.0
        if not 0 < value <= 10_000:
            raise ValueError(f"'{name}' takes minutes above zero, such as 2 or 0.5.")
        return value

    # -- watching and deciding ----------------------------------------------------------------

    def _show_run(self) -> None:
        """Draws what the app's run has come to."""
        form = self.form
        for name in ("choosing", "watching", "deciding"):
            self.query_one(f"#{name}").display = name == form
        if self.run is not None:
            if form == "watching":
                self._draw_run(self.run)
            else:
                self._draw_outcome(self.run)
        self.refresh_bindings()

    def _draw_run(self, run: TrainingRun) -> None:
        progress = run.progress
        self.query_one("#stages", Static).update(
            stages_text(run.plan, progress, max(self.size.width - 2, 40))
        )
        self.query_one(TrainingPlots).show(progress)
        self.query_one("#said", Static).update(progress.said)

    def _outcome(self) -> Any:
        return self.run.progress.outcome if self.run is not None else None

    def _draw_outcome(self, run: TrainingRun) -> None:
        text = outcome_text(run.progress, run.plan.model, max(self.size.width - 4, 40))
        if self._adopted:
            text += Content.styled(
                f"\n\n✓ Adopted. New sessions start with {self._adopted}; R takes it back.",
                "$text-success",
            )
        self.query_one("#outcome", Static).update(text)

    def on_resize(self) -> None:
        self._draw()
        self._show_run()

    def action_stop(self) -> None:
        if self.run is not None:
            self.run.stop()
            self.notify("Stopping. Start it again with the same sessions and it goes on.")

    def action_again(self) -> None:
        self.acs.training = None
        self._adopted = ""
        self._show_run()
        if self._lessons:
            self.query_one(DataTable).focus()

    @work(group="adopt", exclusive=True)
    async def action_adopt(self) -> None:
        outcome = self._outcome()
        if outcome is not None:
            await self._change(self.acs.services.adopt, str(outcome["model"]))

    @work(group="adopt", exclusive=True)
    async def action_rollback(self) -> None:
        await self._change(self.acs.services.rollback)

    async def _change(self, change: Any, *arguments: str) -> None:
        name = await use_default(self.acs, change, *arguments)
        if name:
            self._adopted = name if arguments else ""
            self._model = name
            self.notify(f"New sessions start with {name}.", markup=False)
            self._draw()
            self._show_run()


async def watch(app: AcsApp, run: TrainingRun) -> None:
    """Looks at a run until it has ended, also when its screen is left, and says so then."""
    while (await asyncio.to_thread(run.poll)).stage not in ENDED:
        await asyncio.sleep(POLL)
    if not isinstance(app.screen, TrainingScreen):
        words = {
            Stage.DONE: "The new model is evaluated: adopt it or not.",
            Stage.STOPPED: "It was stopped and can go on.",
        }
        said = words.get(run.progress.stage, "It failed; its screen says why.")
        app.notify(f"{said} Sessions screen, then t.", title="Fine-tuning")
