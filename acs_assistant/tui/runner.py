"""One thread that runs the engine, and the mailbox through which its events reach the screen.

The thread never touches a widget: it puts events into a mailbox and posts at most two messages that
there is something to read. The screen reads the mailbox at most ``RATE`` times a second, and mere
text at most ``TEXT_RATE`` times: a model that streams a thousand tokens a second costs ten updates.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.errors import AcsError, InternalError
from acs_assistant.events import Event, Stopped, TextDelta

RATE = 20.0
"""Reads of the mailbox a second."""

TEXT_RATE = 10.0
"""Reads a second while there is only text in it."""


class Mailbox:
    """Events in order; neighbouring pieces of text of one channel are joined.

    Attributes:
        urgent: There is more than text in it.
    """

    def __init__(self, notify: Callable[[], object]) -> None:
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._pieces: list[str] = []
        self._channel = ""
        self._notify = notify
        self.urgent = False

    def put(self, event: Event) -> None:
        with self._lock:
            empty = not self._events and not self._pieces
            urging = not self.urgent and not isinstance(event, TextDelta)
            self.urgent = self.urgent or urging
            if isinstance(event, TextDelta):
                if event.channel != self._channel:
                    self._join()
                self._channel = event.channel
                self._pieces.append(event.text)
            else:
                self._join()
                self._events.append(event)
        if empty or urging:
            self._notify()

    def take(self) -> list[Event]:
        with self._lock:
            self._join()
            events, self._events = self._events, []
            self.urgent = False
            return events

    def _join(self) -> None:
        if self._pieces:
            self._events.append(TextDelta(self._channel, "".join(self._pieces)))  # type: ignore[arg-type]
            self._pieces = []


NICENESS = 5
"""How far the model and the simulator stand back behind the thread that draws."""


def step_back() -> None:
    """Lowers the priority of this thread; threads and processes that it starts inherit that.

    Linux counts niceness by thread. Elsewhere it would be the whole process, so nothing is done.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


class EngineRun:
    """Runs one pass of the design loop in its own thread.

    Attributes:
        cancel: Stops model and simulator at once.
        error: Why it ended, when it was neither the loop's own decision nor a cancel.
    """

    def __init__(
        self, start: Callable[[CancelToken], Iterable[Event]], notify: Callable[[], object]
    ) -> None:
        self.cancel = CancelToken()
        self.error: AcsError | None = None
        self.mailbox = Mailbox(notify)
        self._start = start
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def _work(self) -> None:
        step_back()
        stopped = False
        try:
            for event in self._start(self.cancel):
                stopped = isinstance(event, Stopped)
                self.mailbox.put(event)
        except CancelledError:
            self.mailbox.put(Stopped("cancelled"))
        except AcsError as error:
            self.error = error
            self.mailbox.put(Stopped("error", error.message))
        except Exception as error:  # a fault of ours ends the run, never the app
            self.error = InternalError(f"{type(error).__name__}: {error}")
            self.mailbox.put(Stopped("error", self.error.message))
        else:
            if not stopped:
                self.mailbox.put(Stopped("paused"))
