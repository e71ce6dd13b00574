"""The gate: who decides what becomes of a proposal before it costs a simulation."""

from __future__ import annotations

import queue
import threading
from typing import Protocol

from acs_assistant.cancel import CancelToken
from acs_assistant.domain import Decision, Proposal, Turn


class Gate(Protocol):
    """Decides about one proposal.

    May block for as long as a person needs. Raises CancelledError when the token is cancelled
    meanwhile; the proposal is on disk then and is asked about again when the session goes on.
    """

    def decide(self, turn: Turn, proposal: Proposal, cancel: CancelToken) -> Decision: ...


class AutoGate:
    """Accepts everything."""

    def decide(self, turn: Turn, proposal: Proposal, cancel: CancelToken) -> Decision:
        return Decision("accepted", sizing=proposal.sizing, by="auto")


class InteractiveGate:
    """Waits for a person's answer, given from another thread; accepts by itself in auto mode.

    The front end calls ``answer`` once it has seen ``ProposalReady``, and ``set_auto`` at any
    time, also while a proposal waits. An answer to another turn than the one that waits is
    dropped, so a key pressed twice cannot approve the next proposal.
    """

    def __init__(self, auto_turns: int = 0) -> None:
        self._answers: queue.Queue[tuple[int, Decision] | None] = queue.Queue()
        self._lock = threading.Lock()
        self._auto = auto_turns
        self._waiting: int | None = None

    @property
    def auto_turns(self) -> int:
        """Proposals that will still be accepted without asking."""
        return self._auto

    @property
    def waiting(self) -> int | None:
        """Id of the turn whose proposal waits for ``answer``."""
        return self._waiting

    def set_auto(self, turns: int) -> None:
        """Accepts the next ``turns`` proposals without asking; 0 asks again."""
        with self._lock:
            self._auto = turns
        self._answers.put(None)

    def answer(self, turn: int, decision: Decision) -> None:
        """Decides about the proposal of the turn with this id."""
        self._answers.put((turn, decision))

    def decide(self, turn: Turn, proposal: Proposal, cancel: CancelToken) -> Decision:
        self._waiting = turn.id
        cancel.on_cancel(lambda: self._answers.put(None))
        try:
            while True:
                cancel.raise_if_cancelled()
                if self._spend():
                    return Decision("accepted", sizing=proposal.sizing, by="auto")
                answer = self._answers.get()
                if answer is not None and answer[0] == turn.id:
                    cancel.raise_if_cancelled()
                    return answer[1]
        finally:
            self._waiting = None

    def _spend(self) -> bool:
        with self._lock:
            if not self._auto:
                return False
            self._auto -= 1
            return True
