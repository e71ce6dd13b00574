"""Keys of the design screen that change the session: its tree of turns, specs, budget, proposer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from textual import work

from acs_assistant.domain import Turn
from acs_assistant.errors import AcsError
from acs_assistant.tui.screens.design_asking import AskingScreen
from acs_assistant.tui.state import Phase, sizing_of, verdict
from acs_assistant.tui.text import proposer_text
from acs_assistant.tui.widgets.devices import DeviceTable
from acs_assistant.tui.widgets.history import HistoryTree
from acs_assistant.tui.widgets.reasoning import Reasoning


class SessionKeys(AskingScreen, inherit_bindings=False):
    """Everything here waits for the loop to stop before it moves the head.

    Attributes:
        plot: Which of the plots is shown.
    """

    plot = "bode"

    @work(group="waveforms", exclusive=True)
    async def fetch_waveforms(self) -> None:
        """Reads the vectors of the turn that is looked at, and of the one before it."""
        turn = self.state.viewed
        earlier = self.state.before(turn) if turn is not None else None
        store = self.acs.services.store
        wanted = [t.id for t in (earlier, turn) if t and t.id not in self.state.waveforms]
        for id in wanted:
            self.state.keep_waveforms(id, await self.acs.offload(store.waveforms, id))
        if wanted:
            self.redraw()

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
        self.fetch_waveforms()
        self.redraw()
        if not self.running:
            self.notify("Enter again goes on from this turn; Space goes on from the newest.")

    @work(group="head", exclusive=True)
    async def _fork(self, turn: int) -> None:
        await self._move(lambda: self.session.jump(turn))

    async def _move(self, move: Callable[[], Turn | None]) -> None:
        await self.settle()
        try:
            head = await self.acs.offload(move)
        except AcsError as error:
            self.acs.fail(error)
            return
        await self.reload()
        where = "before the first turn" if head is None else f"turn {head.index} ({verdict(head)})"
        self.notify(f"Now at {where}. Space goes on from here.", markup=False)

    async def reload(self) -> None:
        """Takes the session over again after something other than an event changed it."""
        session = self.session
        self.state.set_specs(session.task.specs)
        self.state.budget = session.budget
        self.state.proposal = None
        self.state.load(session.turns(), session.record.head, session.simulations)
        self.set_phase(Phase.IDLE)
        self.take_up_waiting()
        await self.query_one(Reasoning).load()
        self.fetch_waveforms()
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
                         "handed over.", names, self.session.record.proposer, proposer_text)
        )  # fmt: skip
        if chosen is None or chosen == self.session.record.proposer:
            return
        await self.settle()
        self.set_phase(Phase.OPENING)
        self.draw_status()
        try:
            await asyncio.to_thread(self.session.set_proposer, chosen, self.session.record.model)
        except AcsError as error:
            self.acs.fail(error)
        await self.reload()

    @work(group="dialog", exclusive=True)
    async def action_export(self) -> None:
        from acs_assistant.tui.screens.export import ExportDialog

        await self.app.push_screen_wait(ExportDialog(self.session.id))

    @work(group="dialog", exclusive=True)
    async def action_figure(self) -> None:
        """A plot as a file; plots of one turn are of the turn that is looked at."""
        from acs_assistant.engine.drawing import export_figure
        from acs_assistant.tui.screens.figure import FIGURES, FigureDialog
        from acs_assistant.tui.widgets.plots import FIGURE_OF

        viewed, session = self.state.viewed, self.session.id
        if viewed is None:
            self.notify("There is nothing to draw before the first simulation.")
            return
        store, axes = self.acs.services.store, self.state.axes

        def write(name: str, path: Path) -> None:
            export_figure(store, session, name, path, viewed.id, axes)

        first = FIGURE_OF[self.plot]
        await self.app.push_screen_wait(FigureDialog(FIGURES, first, f"session-{session}", write))

    @work(group="dialog", exclusive=True)
    async def action_axes(self) -> None:
        """Any two metrics against each other."""
        from acs_assistant.tui.screens.dialogs import ChoiceDialog

        names = [metric.name for metric in self.state.task.circuit.metrics]
        now = self.state.axes or (names[0], names[-1])
        chosen: list[str] = []
        for way, current in zip(("across", "up"), now, strict=True):
            text = f"Which metric goes {way}? One simulation is one point."
            name = await self.app.push_screen_wait(ChoiceDialog("Trade-off", text, names, current))
            if name is None:
                return
            chosen.append(name)
        self.state.axes = (chosen[0], chosen[1])
        self.plot = "trade"
        self.action_view("plots")
        self.redraw()

    @work(group="dialog", exclusive=True)
    async def action_gmid(self) -> None:
        from acs_assistant.tui.screens.gmid import GmIdScreen

        turn = self.state.viewed
        measured = turn.evaluation.nominal if turn is not None and turn.evaluation else None
        if turn is None or measured is None or not measured.devices:
            self.notify("Operating points come with the first simulation that succeeds.")
            return
        selected = self.query_one(DeviceTable).selected
        row = min(selected, len(measured.devices) - 1)
        task = self.state.task
        await self.app.push_screen_wait(GmIdScreen(task, turn, measured.devices, row))

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

        best = self.state.viewed
        if best is None or best.evaluation is None or best.evaluation.status == "failed":
            best = self.state.best
        if best is None:
            self.notify("That needs a simulated turn.")
            return
        await self.app.push_screen_wait(AnalysisScreen(self.state.task, best, kind))
