"""The design screen: folds the engine's events into boards, and keys into answers at the gate."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import DataTable

from acs_assistant.domain import Decision, Sizing
from acs_assistant.engine.session import Session
from acs_assistant.events import (
    Event,
    ProposalReady,
    SimulationFinished,
    SimulationStarted,
    Stopped,
    TextDelta,
    TurnStarted,
    TurnStored,
)
from acs_assistant.tui.keys import bindings
from acs_assistant.tui.runner import EngineRun
from acs_assistant.tui.screens.design_session import SessionKeys
from acs_assistant.tui.screens.page import Bindings
from acs_assistant.tui.state import FAILED, Phase, SessionState, sizing_of
from acs_assistant.tui.text import first_line, plain
from acs_assistant.tui.widgets.devices import DeviceTable
from acs_assistant.tui.widgets.history import HistoryTree
from acs_assistant.tui.widgets.key_bar import KeyBar
from acs_assistant.tui.widgets.plot import Plot
from acs_assistant.tui.widgets.plots import CHARTS, OF_ONE_TURN, drawing_of
from acs_assistant.tui.widgets.proposal_table import ProposalTable
from acs_assistant.tui.widgets.reasoning import Reasoning
from acs_assistant.tui.widgets.schematic import SchematicBoard
from acs_assistant.tui.widgets.specs_board import SpecsBoard
from acs_assistant.tui.widgets.status import Status, StatusLine
from acs_assistant.tui.widgets.view_bar import VIEWS, ViewBar

_DECIDING = frozenset({"accept", "reject", "regenerate"})
_LOWER = ("devices", "history", "schematic")


class DesignScreen(SessionKeys, inherit_bindings=False):
    """One session. The engine runs in a thread of its own; this screen only draws and answers."""

    # with the styles of what opens over it: reading them later would restyle everything again
    CSS_PATH = [  # noqa: RUF012
        "design.tcss", "sizes.tcss", "compare.tcss", "analysis.tcss", "candidates.tcss",
        "gmid.tcss",
    ]  # fmt: skip
    KEY_SCOPES: ClassVar[tuple[str, ...]] = ("design",)
    BINDINGS: ClassVar[Bindings] = bindings("design", "focus")

    def __init__(self, session: Session, *, run: bool = False) -> None:
        super().__init__(session)
        self._run_at_once = run
        self._view = "proposal"
        self._lower = "devices"
        self._following = True

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
        self.take_up_waiting()
        store = self.acs.services.store
        self.state.exchanges = await self.acs.offload(store.exchanges, self.session.id)
        await self.query_one(Reasoning).load()
        self._show_view("proposal")
        self.fetch_waveforms()
        if self._run_at_once:
            self.begin()

    # -- drawing ----------------------------------------------------------------------------

    def redraw(self) -> None:
        """Draws every board that is visible from the state."""
        if not self.is_mounted:
            return
        self.draw_status()
        self.set_class(len(self.state.task.specs) > 7, "-many-specs")
        for board in (SpecsBoard, ProposalTable, SchematicBoard):
            self.query_one(board).redraw()
        self.query_one(DeviceTable).redraw()
        self.query_one(HistoryTree).redraw()
        self._draw_plots()
        self.refresh_bindings()

    def draw_status(self) -> None:
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
            score.entitle(title)
            score.show(make(self.state), empty, drawing_of(self.state, "score"))
        plots = self.query_one("#plots", Plot)
        if plots.display:
            make, title, empty = CHARTS[self.plot]
            viewed = self.state.viewed
            of_turn = viewed is not None and self.plot in OF_ONE_TURN
            where = f" · turn {viewed.index}" if viewed is not None and of_turn else ""
            plots.entitle(f"{title}{where}")
            if of_turn and self.state.viewed_failed:
                empty = FAILED
            plots.show(make(self.state), empty, drawing_of(self.state, self.plot))

    def _recolour(self) -> None:
        for plot in self.query(Plot):
            plot.forget()
        self.query_one(DeviceTable).forget()
        self.query_one(HistoryTree).forget()
        self.redraw()

    def _tick(self) -> None:
        if self.state.phase.busy:
            self.draw_status()

    def on_resize(self) -> None:
        self._arrange()

    async def show_event(self, event: Event) -> None:
        reasoning = self.query_one(Reasoning)
        match event:
            case TurnStarted(index=index):
                await reasoning.start(index)
                self._follow("reasoning")
            case TextDelta(channel="reasoning" | "text", text=text):
                await reasoning.write(text)
            case ProposalReady():
                self._appeared_at = self.acs.clock()
                self._follow("proposal")
            case TurnStored(turn=turn):
                await reasoning.store(turn)
            case SimulationStarted():
                self._follow("proposal")
            case SimulationFinished(evaluation=evaluation) if evaluation.status == "failed":
                self._failed(evaluation.error)
            case Stopped():
                await reasoning.stop()
                self._stopped(event)

    # -- which panel is in front ------------------------------------------------------------

    def _failed(self, error: str) -> None:
        """A simulation that failed ends auto mode: a person should look."""
        if self.gate.auto_turns:
            self.gate.set_auto(0)
            self.notify(
                f"Auto mode ended: the simulation failed. {first_line(error)}",
                severity="warning",
                markup=False,
            )

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
            panel = self.query_one(f"#{name}")
            (panel.query_one(DataTable) if name == "devices" else panel).focus()

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
        self.plot = kinds[(kinds.index(self.plot) + step) % len(kinds)]
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
            return self.running or self.answering
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
            self.begin()
        self.state.proposal = None
        self.state.shown = None
        self.set_phase(Phase.THINKING)
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
    async def action_candidates(self) -> None:
        """Several candidates for the turn that waits, or for the next one; one is taken."""
        from acs_assistant.tui.screens.candidates import CandidatesScreen

        waiting = self.state.proposal
        if waiting is None and self.running:
            self.notify("The next proposal is on its way; Esc stops it.")
            return
        if waiting is None and self.state.simulations >= self.state.budget:
            self.notify("The budget is spent. b gives more.", severity="warning")
            return
        proposal = await self.app.push_screen_wait(CandidatesScreen(self.session, self.state))
        if proposal is None or self.state.proposal is not waiting:
            return
        if proposal == waiting:
            self.notify("The proposal that waits stays.")
            return
        self.session.offer(proposal)
        if waiting is not None:
            reason = "another candidate was taken."
            self._answer(Decision("regenerated", reason=reason, by="engineer"))
        else:
            self.begin()

    @work(group="dialog", exclusive=True)
    async def action_edit(self) -> None:
        """Edits the proposal that waits; without one, sizes of the engineer's own."""
        from acs_assistant.tui.screens.sizes import SizesDialog

        proposal = self.state.proposal
        circuit = self.state.task.circuit
        if proposal is not None and proposal.sizing:
            before = self.state.waiting_start
            old, start = {} if before is None else sizing_of(before), proposal.sizing
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
        self.set_phase(Phase.SIMULATING)
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
        self.begin()

    @work(group="dialog", exclusive=True)
    async def action_toggle_mode(self) -> None:
        """From asking to N turns without asking, and back."""
        from acs_assistant.tui.screens.dialogs import NumberDialog

        if self.gate.auto_turns:
            self.gate.set_auto(0)
            self.draw_status()
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
            self.begin()
        self.state.proposal = None if self.state.phase is Phase.ASKING else self.state.proposal
        self.redraw()

    def action_stop(self) -> None:
        """Stops an answer first; the design loop when there is none."""
        if self.answering:
            self.stop_answer()
            return
        run = self._run
        if run is None:
            return
        self.gate.set_auto(0)
        self.set_phase(Phase.STOPPING)
        self.draw_status()
        self.run_worker(asyncio.to_thread(run.cancel.cancel), group="stop")

    async def action_back(self) -> None:
        self.dismiss()


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
