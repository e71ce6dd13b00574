"""The key that asks the model about a turn: its own run beside the design loop's."""

from __future__ import annotations

import asyncio

from textual import work
from textual.css.query import NoMatches
from textual.message import Message
from textual.widget import MountError

from acs_assistant.cancel import CancelToken
from acs_assistant.domain import Turn
from acs_assistant.engine.asking import QUESTION, ask
from acs_assistant.events import Answered, Stopped, TextDelta
from acs_assistant.tui.runner import RATE, EngineRun
from acs_assistant.tui.screens.design_engine import EngineScreen
from acs_assistant.tui.state import Phase
from acs_assistant.tui.text import plain
from acs_assistant.tui.widgets.answer import Answer, answer_note
from acs_assistant.tui.widgets.reasoning import Reasoning


class AskingScreen(EngineScreen, inherit_bindings=False):
    """Asks in a thread of its own; the answer streams into the reasoning of its turn."""

    class AnswerMail(Message, namespace="engine"):
        """The answer's mailbox has something."""

    _asking: EngineRun | None = None
    _shown_answer: Answer | None = None
    _reading = False

    @property
    def answering(self) -> bool:
        """The model is giving an answer."""
        return self._asking is not None

    @work(group="dialog", exclusive=True)
    async def action_why(self) -> None:
        """Opens the reasoning of the turn that waits or is looked at, and asks the model."""
        from acs_assistant.tui.screens.dialogs import QuestionDialog

        turn = self._asked_about()
        if turn is None:
            self.notify("There is no turn to ask about yet.")
            return
        self.action_view("reasoning")
        await self.query_one(Reasoning).open_turn(turn)
        if self.answering:
            self.notify("The model is answering already; Esc stops it.")
            return
        if self.state.phase in (Phase.OPENING, Phase.THINKING, Phase.STOPPING):
            self.notify("The model is at work on the next proposal; ask when it is there.")
            return
        question = await self.app.push_screen_wait(QuestionDialog(turn.index, QUESTION))
        if question is None or self.answering or turn.id not in self.state.turns:
            return
        self._shown_answer = await self.query_one(Reasoning).ask(turn, question)
        services, session = self.acs.services, self.session

        def start(cancel: CancelToken) -> object:
            return ask(services, session, turn.id, question, cancel)

        self._asking = EngineRun(start, lambda: self.post_message(self.AnswerMail()))  # type: ignore[arg-type]
        self.refresh_bindings()

    def _asked_about(self) -> Turn | None:
        state = self.state
        waiting = state.turns.get(state.current) if state.current is not None else None
        if waiting is not None and state.proposal is not None and state.shown is None:
            return waiting
        return state.viewed or (state.turns.get(state.head) if state.head is not None else None)

    def on_engine_answer_mail(self) -> None:
        if not self._reading:
            self._reading = True
            self.set_timer(1 / RATE, self._read_answer)

    async def _read_answer(self) -> None:
        self._reading = False
        try:
            await self._show_answer()
        except (NoMatches, MountError):
            if not self.leaving:
                raise

    async def _show_answer(self) -> None:
        run, answer = self._asking, self._shown_answer
        if run is None or answer is None:
            return
        for event in run.mailbox.take():
            match event:
                case TextDelta(text=text):
                    await answer.write(text)
                    self.query_one(Reasoning).follow(answer)
                case Answered():
                    await self._answered(event, answer)
                case Stopped(reason=reason, message=message):
                    await self._ended(run, reason, message)

    async def _answered(self, event: Answered, answer: Answer) -> None:
        turn = self.state.turns.get(event.turn)
        if turn is None:
            return
        self.state.asked(event)
        circuit = self.state.task.circuit
        await answer.finish(answer_note(circuit, event.text, event.sizing, turn.proposal.sizing))
        # its last line moves the layout once more
        self.call_after_refresh(self.query_one(Reasoning).follow, answer)

    async def _ended(self, run: EngineRun, reason: str, message: str) -> None:
        answer, self._asking, self._shown_answer = self._shown_answer, None, None
        if reason == "cancelled" and answer is not None:
            await answer.finish("Stopped. What it said so far is not kept.")
        elif reason == "error":
            if answer is not None:
                await answer.finish(f"✗ {plain(message)}")
            if run.error is not None:
                self.acs.fail(run.error)
        self.refresh_bindings()

    def stop_answer(self) -> None:
        """Stops the model; the session is not touched."""
        if self._asking is not None:
            self.run_worker(asyncio.to_thread(self._asking.cancel.cancel), group="stop-answer")

    async def settle(self) -> None:
        """Also stops an answer: its turn may leave the screen."""
        if self._asking is not None:
            await asyncio.to_thread(self._asking.cancel.cancel)
            self._asking = self._shown_answer = None
        await super().settle()

    def _shut(self) -> None:
        if self._asking is not None:
            self._asking.cancel.cancel()
        super()._shut()
