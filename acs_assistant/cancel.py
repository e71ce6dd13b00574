"""One token that stops the model and the simulator together."""

from __future__ import annotations

import threading
from collections.abc import Callable


class CancelledError(Exception):
    """The person asked to stop. Not a fault: the turn in flight is kept as it stands."""


class CancelToken:
    """A one-way switch: long work polls ``cancelled`` or registers a callback to interrupt it."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def cancel(self) -> None:
        with self._lock:
            self._event.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Calls ``callback`` once when cancelled; at once when that has already happened."""
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def raise_if_cancelled(self) -> None:
        if self.cancelled:
            raise CancelledError
