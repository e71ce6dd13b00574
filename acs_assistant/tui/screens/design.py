"""The design screen: folds the engine's events into boards, and keys into answers at the gate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.timer import Timer

from acs_assistant.cancel import CancelToken
from acs_assistant.domain import Decision, Sizing, Turn
from acs_assistant.engine.gate import InteractiveGate
from acs_assistant.engine.session import Session
from acs_assistant.errors import AcsError
from acs_assistant.events import (
    Event,
    ProposalReady,
    SimulationStarted,
    Stopped,
    TextDelta,
    TurnStarted,
    TurnStored,
)
from acs_assistant.tui.keys import bindings
from acs_assistant.tui.runner import RATE, EngineRun
from acs_assistant.tui.screens.page import AcsScreen, Bindings
from acs_assistant.tui.state import Phase, SessionState, sizing_of, verdict
from acs_assistant.tui.text import plain
from acs_assistant.tui.widgets.board import Board
from acs_assistant.tui.widgets.devices import DeviceTable
from acs_assistant.tui.widgets.history import HistoryTree
from acs_assistant.tui.widgets.key_bar import KeyBar
from acs_assistant.tui.widgets.plots import CHARTS, Plot
from acs_assistant.tui.widgets.proposal_table import ProposalTable
from acs_assistant.tui.widgets.reasoning import Reasoning
from acs_assistant.tui.widgets.schematic import SchematicBoard
from acs_assistant.tui.widgets.specs_board import SpecsBoard
from acs_assistant.tui.widgets.status import Status, StatusLine
from acs_assistant.tui.widgets.view_bar import VIEWS, ViewBar

_DECIDING = frozenset({"accept", "reject", "regenerate"})
_LOWER = ("devices", "history", "schematic")


class DesignScreen(AcsScreen, inherit_bindings=False):
    """One session. The engine runs in a thread of its own; this screen only draws and answers."""

    CSS_PATH = "design.tcss"
    KEY_SCOPES: ClassVar[tuple[str, ...]] = ("design",)
    BINDINGS: ClassVar[Bindings] = bindings("design", "focus")

    @dataclass
    class Mail(Message):
        """The engine's mailbox has something."""

    def __init__(self, session: Session, *, run: bool = False) -> None:
        super().__init__()
        self.session = session
        self.state = SessionState(session.task, session.budget)
        self.state.load(session.turns(), session.record.head, session.simulations)
        self.gate = InteractiveGate()
        self._run: EngineRun | None = None
        self._run_at_once = run
        self._drain_timer: Timer | None = None
        self._drained_at = 0.0
        self._appeared_at = 0.0
        self._phase_since = 0.0
        self._view = "proposal"
        self._lower = "devices"
        self._following = True
        self._plot = "bode"

    def compose(self) -> ComposeResult:
        fold = self.acs.services.settings.interface.fold_reasoning
        yield StatusLine(id="status")
        with Horizontal(id="top"):
            yield SpecsBoard(self.state)
            yield Plot(id="score", classes="panel")
        yield ViewBar(id="views")
        with Horizontal(id="body"):
            with Vertical(id="left"):
                yield Reasoning(self.state, fold=fold)
                yield ProposalTable(self.state)
            with Vertical(id="right"):
                yield Plot(id="plots", classes="panel")
                yield DeviceTable(self.state)
                yield HistoryTree(self.state)
                yield SchematicBoard(self.state)
        yield KeyBar()

    async def on_mount(self) -> None:
        self._phase_since = self.acs.clock()
        self.acs.theme_changed_signal.subscribe(self, lambda _: self._recolour())
        self.set_interval(1.0, self._tick)
        self._take_up_waiting()
        await self.query_one(Reasoning).load()
        self._show_view("proposal")
        self._fetch_waveforms()
        if self._run_at_once:
            self._begin()

    async def on_unmount(self) -> None:
        self._shut()

    # -- the engine -------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self._run is not None

    def _begin(self, turns: int | None = None) -> None:
        """Starts the loop where the session stands."""
        if self._run is not None:
            return
        session, gate = self.session, self.gate
        best = self.state.best
        go_past_met = best is not None and best.evaluation is not None and best.evaluation.score.met
        stop_when_met = self.acs.services.settings.session.stop_when_met and not go_past_met

        def start(cancel: CancelToken) -> object:
            return session.run(gate, turns=turns, cancel=cancel, stop_when_met=stop_when_met)

        if not self._take_up_waiting():
            self._set_phase(Phase.OPENING)
        self.state.stopped = None
        self.state.shown = None
        self._run = EngineRun(start, lambda: self.post_message(self.Mail()))  # type: ignore[arg-type]
        self.redraw()

    def _take_up_waiting(self) -> bool:
        """A stored proposal that nobody decided about is asked about again."""
        head = self.session.head
        if head is None or head.decision is not None or head.proposal.error:
            return False
        self.state.proposal = head.proposal
        self.state.previous = _sizes_before(self.state, head)
        self.state.current = head.id
        self._appeared_at = self.acs.clock()
        self._set_phase(Phase.ASKING)
        return True

    def on_design_screen_mail(self) -> None:
        if self._drain_timer is None:
            wait = max(0.0, self._drained_at + 1 / RATE - self.acs.clock())
            self._drain_timer = self.set_timer(wait or 0.001, self._drain)

    async def _drain(self) -> None:
        self._drain_timer = None
        self._drained_at = self.acs.clock()
        run = self._run
        if run is None:
            return
        boards = False
        for event in run.mailbox.take():
            before = self.state.phase
            self.state.fold(event)
            if self.state.phase is not before:
                self._phase_since = self.acs.clock()
            await self._show_event(event)
            boards = boards or not isinstance(event, TextDelta)
        if boards:
            self.redraw()

    async def _show_event(self, event: Event) -> None:
        reasoning = self.query_one(Reasoning)
        match event:
            case TurnStarted(index=index):
                await reasoning.start(index)
                self._follow("reasoning")
            case TextDelta(channel="reasoning" | "text", text=text):
                await reasoning.write(text)
            case ProposalReady(proposal=proposal):
                self._appeared_at = self.acs.clock()
                if not proposal.error and not self.gate.auto_turns:
                    self.app.bell()
                self._follow("proposal")
            case TurnStored(turn=turn):
                await reasoning.store(turn)
            case SimulationStarted():
                self._follow("proposal")
            case Stopped():
                self._stopped(event)

    def _stopped(self, event: Stopped) -> None:
        self._run = None
        self.gate.set_auto(0)
        if event.reason == "error":
            failure = self.session.failure
            if failure is not None:
                self.acs.fail(failure)
            else:
                self.notify(plain(event.message), title="Stopped", severity="error", markup=False)
            return
        if self._take_up_waiting():
            return
        words = {
            "met": ("Every spec is met. Space goes on for a better one, w exports.", "information"),
            "budget": ("The budget is spent. b gives more, w exports.", "warning"),
            "failures": (plain(event.message), "warning"),
        }
        if event.reason in words:
            text, severity = words[event.reason]
            self.notify(text, severity=severity, markup=False)  # type: ignore[arg-type]

    async def _settle(self) -> None:
        """Stops the loop and waits until it has: then the head may be moved."""
        run = self._run
        if run is None:
            return
        self._set_phase(Phase.STOPPING)
        self._draw_status()
        await asyncio.to_thread(run.cancel.cancel)
        await asyncio.to_thread(run.join, 15.0)
        await self._drain()
        self._run = None
        if self.state.phase is Phase.STOPPING:
            self._set_phase(Phase.IDLE)

    def _shut(self) -> None:
        """Stops what runs and gives the session back, without making the screen wait."""
        run, session = self._run, self.session
        self._run = None

        def close() -> None:
            if run is not None:
                run.cancel.cancel()
                run.join(30.0)
            session.close()

        if run is None:
            session.close()
        else:
            import threading

            threading.Thread(target=close, name="close-session").start()

    # -- drawing ----------------------------------------------------------------------------

    def redraw(self) -> None:
        """Draws every board that is visible from the state."""
        if not self.is_mounted:
            return
        self._draw_status()
        self.set_class(len(self.state.task.specs) > 7, "-many-specs")
        for board in self.query(Board):
            board.redraw()
        self.query_one(DeviceTable).redraw()
        self.query_one(HistoryTree).redraw()
        self._draw_plots()
        self.refresh_bindings()

    def _draw_status(self) -> None:
        state = self.state
        best = state.best
        record = self.session.record
        who = record.proposer if record.proposer != "model" else (record.model or "built-in model")
        self.query_one(StatusLine).status = Status(
            title=f"{plain(record.title)} #{record.id}",
            proposer=plain(who),
            phase=state.phase,
            note=_note(state),
            seconds=int(self.acs.clock() - self._phase_since),
            simulations=state.simulations,
            budget=state.budget,
            best=best.evaluation.score.value if best and best.evaluation else None,
            met=bool(best and best.evaluation and best.evaluation.score.met),
            auto=self.gate.auto_turns,
        )

    def _draw_plots(self) -> None:
        score = self.query_one("#score", Plot)
        if score.display:
            make, title, empty = CHARTS["score"]
            score.border_title = title
            score.show(make(self.state), empty)
        plots = self.query_one("#plots", Plot)
        if plots.display:
            make, title, empty = CHARTS[self._plot]
            viewed = self.state.viewed
            where = f" · turn {viewed.index}" if viewed is not None else ""
            plots.border_title = f"{title}{where}"
            plots.show(make(self.state), empty)

    def _recolour(self) -> None:
        for plot in self.query(Plot):
            plot.forget()
        self.query_one(DeviceTable).forget()
        self.query_one(HistoryTree).forget()
        self.redraw()

    def _tick(self) -> None:
        if self.state.phase.busy:
            self._draw_status()

    def on_resize(self) -> None:
        self._arrange()

    @work(group="waveforms", exclusive=True)
    async def _fetch_waveforms(self) -> None:
        """Reads the vectors of the turn that is looked at, when they are not in memory."""
        turn = self.state.viewed
        if turn is None or turn.id in self.state.waveforms:
            return
        store = self.acs.services.store
        self.state.keep_waveforms(turn.id, await self.acs.offload(store.waveforms, turn.id))
        self._draw_plots()

    # -- which panel is in front ------------------------------------------------------------

    def action_view(self, name: str) -> None:
        self._following = name in ("proposal", "reasoning")
        self._show_view(name)

    def on_view_bar_chosen(self, event: ViewBar.Chosen) -> None:
        self.action_view(event.view)

    def _follow(self, name: str) -> None:
        """The panel that matters now comes to the front, unless the engineer chose another."""
        if self._following:
            self._show_view(name)

    def _show_view(self, name: str) -> None:
        self._view = name
        if name in _LOWER:
            self._lower = name
        self._arrange()
        if name in _LOWER and self.is_mounted:
            self.query_one(f"#{name}").focus()

    def _arrange(self) -> None:
        """Shows the panels that this size has room for: one under the specs, or all side by side.

        Done with ``display`` and not with classes: a class on the screen restyles every widget.
        """
        width, height = self.size
        roomy = width >= 110 and height >= 34
        self.query_one("#score").display = roomy and width >= 150
        bar = self.query_one(ViewBar)
        bar.display = not roomy
        bar.view = self._view
        for view in VIEWS:
            here = view == self._view if not roomy else view not in _LOWER or view == self._lower
            self.query_one(f"#{view}").display = here
        self.query_one("#left").display = roomy or self._view in ("proposal", "reasoning")
        self.query_one("#right").display = roomy or self._view not in ("proposal", "reasoning")
        self.call_after_refresh(self.redraw)

    def action_next_plot(self) -> None:
        self._turn_plot(1)

    def action_previous_plot(self) -> None:
        self._turn_plot(-1)

    def _turn_plot(self, step: int) -> None:
        kinds = list(CHARTS)
        self._plot = kinds[(kinds.index(self._plot) + step) % len(kinds)]
        if not self.query_one("#plots").display:
            self.action_view("plots")
        self._draw_plots()

    # -- keys: decisions --------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        asking = self.state.proposal is not None and self.state.phase is Phase.ASKING
        if action in _DECIDING:
            return asking
        if action == "run":
            return not self.running and not asking
        if action == "stop":
            return self.running
        if action in ("undo", "redo"):
            return bool(self.state.turns)
        return True

    def _answer(self, decision: Decision) -> None:
        """Hands a decision to the gate; a proposal from the store first needs the loop."""
        turn = self.state.current
        if turn is None:
            return
        self.gate.answer(turn, decision)
        if self._run is None:
            self._begin()
        self.state.proposal = None
        self.state.shown = None
        self._set_phase(Phase.THINKING)
        self.redraw()

    def _too_soon(self) -> bool:
        delay = self.acs.services.settings.interface.approval_delay
        if self.acs.clock() - self._appeared_at >= delay:
            return False
        self.notify("This proposal has only just appeared. Look, then press the key again.")
        return True

    def action_accept(self) -> None:
        proposal = self.state.proposal
        if proposal is not None and not self._too_soon():
            self._answer(Decision("accepted", proposal.sizing, by="engineer"))

    @work(group="dialog", exclusive=True)
    async def action_reject(self) -> None:
        from acs_assistant.tui.screens.dialogs import RejectDialog

        reason = await self.app.push_screen_wait(RejectDialog())
        if reason is not None and self.state.proposal is not None:
            self._answer(Decision("rejected", reason=reason, by="engineer"))

    def action_regenerate(self) -> None:
        if self.state.proposal is not None:
            self._answer(Decision("regenerated", by="engineer"))

    @work(group="dialog", exclusive=True)
    async def action_edit(self) -> None:
        """Edits the proposal that waits; without one, sizes of the engineer's own."""
        from acs_assistant.tui.screens.sizes import SizesDialog

        proposal = self.state.proposal
        circuit = self.state.task.circuit
        if proposal is not None and proposal.sizing:
            old, start = self.state.previous, proposal.sizing
        elif self.running:
            self.notify("The next proposal is on its way; Esc stops it.")
            return
        else:
            viewed = self.state.viewed
            start = sizing_of(viewed) if viewed is not None else circuit.reference
            if not start:
                start = {p.name: p.from_unit(0.5) for p in circuit.parameters}
            old = start
        sizing = await self.app.push_screen_wait(SizesDialog(circuit, old, start))
        if sizing is None:
            return
        if self.state.proposal is not None:
            same = sizing == dict(self.state.proposal.sizing)
            self._answer(Decision("accepted" if same else "edited", sizing, by="engineer"))
        elif not self.running:
            self._simulate_own(sizing)

    def _simulate_own(self, sizing: Sizing) -> None:
        """A turn that the engineer made: it takes the same path as a model's."""
        from acs_assistant.engine.proposers import FixedProposer

        session = self.session
        own = FixedProposer(sizing)
        self._set_phase(Phase.SIMULATING)
        self._run = EngineRun(
            lambda cancel: session.run(turns=1, cancel=cancel, stop_when_met=False, proposer=own),
            lambda: self.post_message(self.Mail()),
        )
        self.redraw()

    def action_run(self) -> None:
        if self.running:
            return
        if self.state.simulations >= self.state.budget and self.state.proposal is None:
            self.action_budget()
            return
        self._begin()

    @work(group="dialog", exclusive=True)
    async def action_toggle_mode(self) -> None:
        """From asking to N turns without asking, and back."""
        from acs_assistant.tui.screens.dialogs import NumberDialog

        if self.gate.auto_turns:
            self.gate.set_auto(0)
            self._draw_status()
            return
        turns = await self.app.push_screen_wait(
            NumberDialog(
                "Auto turns",
                "Accept this many proposals without asking. It stops on its own when the budget "
                "is spent, when every spec is met, and when simulations fail.",
                self.acs.services.settings.interface.auto_turns,
            )
        )
        if turns is None:
            return
        self.gate.set_auto(turns)
        if self._run is None:
            self._begin()
        self.state.proposal = None if self.state.phase is Phase.ASKING else self.state.proposal
        self.redraw()

    def action_stop(self) -> None:
        run = self._run
        if run is None:
            return
        self.gate.set_auto(0)
        self._set_phase(Phase.STOPPING)
        self._draw_status()
        self.run_worker(asyncio.to_thread(run.cancel.cancel), group="stop")

    # -- keys: the tree of turns -------------------------------------------------------------

    @work(group="head", exclusive=True)
    async def action_undo(self) -> None:
        await self._move(self.session.undo)

    @work(group="head", exclusive=True)
    async def action_redo(self) -> None:
        await self._move(self.session.redo)

    def on_history_tree_chosen(self, event: HistoryTree.Chosen) -> None:
        """First Enter looks at a turn; Enter on the turn that is looked at goes on from it."""
        if self.state.shown == event.turn and not self.running:
            self._fork(event.turn)
            return
        self.state.shown = event.turn
        self._fetch_waveforms()
        self.redraw()
        if not self.running:
            self.notify("Enter again goes on from this turn; Space goes on from the newest.")

    @work(group="head", exclusive=True)
    async def _fork(self, turn: int) -> None:
        await self._move(lambda: self.session.jump(turn))

    async def _move(self, move: Callable[[], Turn | None]) -> None:
        await self._settle()
        try:
            head = await self.acs.offload(move)
        except AcsError as error:
            self.acs.fail(error)
            return
        await self._reload()
        where = "before the first turn" if head is None else f"turn {head.index} ({verdict(head)})"
        self.notify(f"Now at {where}. Space goes on from here.", markup=False)

    async def _reload(self) -> None:
        """Takes the session over again after something other than an event changed it."""
        session = self.session
        self.state.set_specs(session.task.specs)
        self.state.budget = session.budget
        self.state.proposal = None
        self.state.load(session.turns(), session.record.head, session.simulations)
        self._set_phase(Phase.IDLE)
        self._take_up_waiting()
        await self.query_one(Reasoning).load()
        self._fetch_waveforms()
        self.redraw()

    # -- keys: the session -------------------------------------------------------------------

    @work(group="thoughts", exclusive=True)
    async def action_thoughts(self) -> None:
        await self.query_one(Reasoning).toggle_all()
        if not self.query_one(Reasoning).display:
            self.action_view("reasoning")

    @work(group="dialog", exclusive=True)
    async def action_specs(self) -> None:
        from acs_assistant.tui.screens.specs import SpecsDialog

        specs = await self.app.push_screen_wait(SpecsDialog(self.state))
        if specs is None or specs == self.state.task.specs:
            return
        try:
            await self.acs.offload(self.session.set_specs, specs)
        except AcsError as error:
            self.acs.fail(error)
            return
        self.state.set_specs(self.session.task.specs)
        self.redraw()
        self.notify("The model is told with its next turn.")

    @work(group="dialog", exclusive=True)
    async def action_budget(self) -> None:
        from acs_assistant.tui.screens.dialogs import NumberDialog

        more = await self.app.push_screen_wait(
            NumberDialog("Budget", f"{self.state.simulations} simulations are spent. "
                         "How many may this session spend in all?",
                         max(self.state.budget, self.state.simulations) + 10)
        )  # fmt: skip
        if more is None:
            return
        try:
            await self.acs.offload(self.session.set_budget, more)
        except AcsError as error:
            self.acs.fail(error)
            return
        self.state.budget = self.session.budget
        self.redraw()

    @work(group="dialog", exclusive=True)
    async def action_proposer(self) -> None:
        from acs_assistant.tui.screens.dialogs import ChoiceDialog

        names = self.acs.services.proposers()
        chosen = await self.app.push_screen_wait(
            ChoiceDialog("Hand over", "Who proposes the next turns? All that was measured is "
                         "handed over.", names, self.session.record.proposer)
        )  # fmt: skip
        if chosen is None or chosen == self.session.record.proposer:
            return
        await self._settle()
        self._set_phase(Phase.OPENING)
        self._draw_status()
        try:
            await asyncio.to_thread(self.session.set_proposer, chosen, self.session.record.model)
        except AcsError as error:
            self.acs.fail(error)
        await self._reload()

    @work(group="dialog", exclusive=True)
    async def action_export(self) -> None:
        from acs_assistant.tui.screens.export import ExportDialog

        await self.app.push_screen_wait(ExportDialog(self.session.id))

    def action_why(self) -> None:
        """Opens the reasoning of the turn that is looked at."""
        self.action_view("reasoning")
        self.run_worker(self.query_one(Reasoning).open_turn(self.state.viewed), group="why")

    @work(group="dialog", exclusive=True)
    async def action_compare(self) -> None:
        from acs_assistant.tui.screens.compare import CompareScreen

        if len([t for t in self.state.in_order() if sizing_of(t)]) < 2:
            self.notify("There are not two turns to compare yet.")
            return
        await self.app.push_screen_wait(CompareScreen(self.state))

    def action_corners(self) -> None:
        self._analyse("corners")

    def action_monte_carlo(self) -> None:
        self._analyse("monte_carlo")

    def action_sensitivities(self) -> None:
        self._analyse("sensitivities")

    @work(group="dialog", exclusive=True)
    async def _analyse(self, kind: str) -> None:
        from acs_assistant.tui.screens.analysis import AnalysisScreen

        best = self.state.viewed or self.state.best
        if best is None or best.evaluation is None:
            self.notify("That needs a simulated turn.")
            return
        await self.app.push_screen_wait(AnalysisScreen(self.state.task, best, kind))

    async def action_back(self) -> None:
        self.dismiss()

    def _set_phase(self, phase: Phase) -> None:
        if phase is not self.state.phase:
            self._phase_since = self.acs.clock()
        self.state.phase = phase


def _sizes_before(state: SessionState, turn: Turn) -> Sizing:
    """The last sizing that was simulated above a turn."""
    for above in reversed(state.measured(turn.parent) if turn.parent is not None else []):
        return sizing_of(above)
    return {}


def _note(state: SessionState) -> str:
    """Words for the status line in place of the phase's own."""
    if state.phase is Phase.IDLE and state.stopped is not None:
        return {
            "met": "specs met",
            "budget": "budget spent",
            "cancelled": "stopped",
            "failures": "stopped: failures",
            "paused": "ready",
            "error": "stopped: error",
        }[state.stopped.reason]
    return ""
