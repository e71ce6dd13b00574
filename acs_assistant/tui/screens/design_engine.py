"""The design screen's engine room: the run in its thread, its mailbox, and what it holds."""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod

from textual.css.query import NoMatches
from textual.message import Message
from textual.timer import Timer
from textual.widget import MountError

from acs_assistant.cancel import CancelToken
from acs_assistant.engine.gate import InteractiveGate
from acs_assistant.engine.session import Session
from acs_assistant.events import Event, Stopped, TextDelta, TurnStarted
from acs_assistant.tui.abstract import AbstractMeta
from acs_assistant.tui.runner import RATE, TEXT_RATE, EngineRun
from acs_assistant.tui.screens.page import AcsScreen
from acs_assistant.tui.state import Phase, SessionState
from acs_assistant.tui.text import plain


class EngineScreen(AcsScreen, inherit_bindings=False, metaclass=AbstractMeta):
    """One session and the run of its loop. Subclasses draw.

    Attributes:
        session: The stored session, opened.
        state: The fold of its events; what every board draws.
        gate: Where decisions go.
    """

    class Mail(Message, namespace="engine"):
        """The engine's mailbox has something."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.state = SessionState(session.task, session.budget)
        self.state.memory = self.acs.services.settings.model.history
        self.state.load(session.turns(), session.record.head, session.simulations)
        self.gate = InteractiveGate()
        self._run: EngineRun | None = None
        self._drain_timer: Timer | None = None
        self._urgent = False
        self._drained_at = 0.0
        self._appeared_at = 0.0
        self._phase_since = 0.0
        self._announced: int | None = None

    @abstractmethod
    def redraw(self) -> None:
        """Draws every board that is visible from the state."""

    @abstractmethod
    def draw_status(self) -> None:
        """Draws the status line alone."""

    @abstractmethod
    def action_view(self, name: str) -> None:
        """Brings a panel to the front."""

    @abstractmethod
    async def show_event(self, event: Event) -> None:
        """What an event changes beyond the boards."""

    async def on_unmount(self) -> None:
        self._shut()

    @property
    def running(self) -> bool:
        return self._run is not None

    def begin(self, turns: int | None = None) -> None:
        """Starts the loop where the session stands."""
        if self._run is not None:
            return
        session, gate = self.session, self.gate
        wanted = self.acs.services.settings.session.stop_when_met
        stop_when_met = wanted and not self.state.met_on_path()

        def start(cancel: CancelToken) -> object:
            return session.run(gate, turns=turns, cancel=cancel, stop_when_met=stop_when_met)

        if not self.take_up_waiting():
            self.set_phase(Phase.OPENING)
        self.state.stopped = None
        self.state.shown = None
        self._run = EngineRun(start, lambda: self.post_message(self.Mail()))  # type: ignore[arg-type]
        self.redraw()

    def take_up_waiting(self) -> bool:
        """A stored proposal that nobody decided about is asked about again."""
        head = self.session.head
        if head is None or head.decision is not None or head.proposal.error:
            return False
        self.state.proposal = head.proposal
        self.state.current = head.id
        self._appeared_at = self.acs.clock()
        self.set_phase(Phase.ASKING)
        return True

    def on_engine_mail(self) -> None:
        run = self._run
        urgent = run is not None and run.mailbox.urgent
        if self._drain_timer is not None:
            if not urgent or self._urgent:
                return
            self._drain_timer.stop()
        self._urgent = urgent
        wait = self._drained_at + 1 / (RATE if urgent else TEXT_RATE) - self.acs.clock()
        self._drain_timer = self.set_timer(max(wait, 0.001), self._drain)

    async def _drain(self) -> None:
        """Reads the mailbox and draws what it holds."""
        try:
            await self._read_mail()
        except (NoMatches, MountError):
            if not self.leaving:  # panels that are being removed take no text
                raise

    async def _read_mail(self) -> None:
        self._drain_timer = None
        self._drained_at = self.acs.clock()
        run = self._run
        if run is None or not self.is_running:
            return
        boards = False
        events = run.mailbox.take()
        starts = [n for n, event in enumerate(events) if isinstance(event, TurnStarted)]
        newest = starts[-1] if starts else 0
        for n, event in enumerate(events):
            before = self.state.phase
            self.state.fold(event)
            if self.state.phase is not before:
                self._phase_since = self.acs.clock()
            boards = boards or not isinstance(event, TextDelta)
            # the words of a turn that is over already are not streamed, only kept
            if self.leaving:
                return
            if n >= newest or not isinstance(event, TurnStarted | TextDelta):
                await self.show_event(event)
        if boards:
            self.redraw()
        if self.state.phase is Phase.ASKING and self._announced != self.state.current:
            self._announced = self.state.current
            self._appeared_at = self.acs.clock()
            self.app.bell()

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
        if self.take_up_waiting():
            return
        words = {
            "met": ("Every spec is met. Space goes on for a better one, w exports.", "information"),
            "budget": ("The budget is spent. b gives more, w exports.", "warning"),
            "failures": (plain(event.message), "warning"),
        }
        if event.reason in words:
            text, severity = words[event.reason]
            self.notify(text, severity=severity, markup=False)  # type: ignore[arg-type]

    async def settle(self) -> None:
        """Stops the loop and waits until it has: then the head may be moved."""
        run = self._run
        if run is None:
            return
        self.set_phase(Phase.STOPPING)
        self.draw_status()
        await asyncio.to_thread(run.cancel.cancel)
        await asyncio.to_thread(run.join, 15.0)
        await self._drain()
        self._run = None
        if self.state.phase is Phase.STOPPING:
            self.set_phase(Phase.IDLE)

    def _shut(self) -> None:
        """Stops what runs and gives the session back, without making the screen wait."""
        run, session, opened = self._run, self.session, self.acs.opened
        self._run = None

        def close() -> None:
            if run is not None:
                run.cancel.cancel()
                run.join(30.0)
            session.close()
            opened.discard(session.id)

        if run is None:
            close()
        else:
            closer = threading.Thread(target=close, name="close-session")
            self.acs.closing[session.id] = closer
            closer.start()

    def set_phase(self, phase: Phase) -> None:
        if phase is not self.state.phase:
            self._phase_since = self.acs.clock()
        self.state.phase = phase
