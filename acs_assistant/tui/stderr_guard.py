"""Keeps the terminal for Textual alone while other code writes to file descriptor 2.

Textual draws on ``sys.__stderr__``. llama.cpp, ngspice and their bindings write to descriptor 2,
and llama-cpp-python with ``verbose=False`` even points descriptor 2 at the null device while it
loads a model: the screen would freeze, or be written over. So Textual gets a descriptor of its own
that is the terminal, and descriptor 2 goes to a log file until the app ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def stderr_guard(log: Path | None) -> Iterator[None]:
    """Sends descriptor 2 to ``log`` (None: nowhere) while ``sys.__stderr__`` stays the terminal.

    When only stdout is a terminal (``2>file``), that is taken.
    """
    original = sys.__stderr__
    if original is None:
        yield
        return
    original.flush()
    kept = os.dup(2)
    drawing = os.dup(1 if os.isatty(1) and not os.isatty(2) else 2)
    sink = _open(log)
    terminal = open(drawing, "w", encoding="utf-8", errors="replace")  # noqa: PTH123, SIM115
    previous = sys.stderr
    try:
        os.dup2(sink, 2)
        sys.__stderr__ = terminal  # type: ignore[misc]
        if previous is original:
            sys.stderr = terminal
        yield
    finally:
        os.dup2(kept, 2)
        sys.__stderr__ = original  # type: ignore[misc]
        sys.stderr = previous
        with contextlib.suppress(OSError):  # the terminal itself may be gone
            terminal.close()
        os.close(sink)
        os.close(kept)


def _open(log: Path | None) -> int:
    """The log, emptied; the null device when it cannot be written."""
    if log is not None:
        with contextlib.suppress(OSError):
            log.parent.mkdir(parents=True, exist_ok=True)
            return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    return os.open(os.devnull, os.O_WRONLY)
