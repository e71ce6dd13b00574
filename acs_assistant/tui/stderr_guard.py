"""Keeps the terminal for Textual alone while other code writes to file descriptor 2.

Textual draws on ``sys.__stderr__``. llama.cpp, ngspice and their bindings write to descriptor 2,
and llama-cpp-python with ``verbose=False`` even points descriptor 2 at the null device while it
loads a model: the screen would freeze, or be written over. So Textual gets a descriptor of its own
that is the terminal, and descriptor 2 goes to a log file until the app ends.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def stderr_guard(log: Path | None) -> Iterator[None]:
    """Sends descriptor 2 to ``log`` (None: nowhere) while ``sys.__stderr__`` stays the terminal."""
    original = sys.__stderr__
    if original is None:
        yield
        return
    original.flush()
    terminal_fd = os.dup(2)
    target = os.devnull if log is None else str(log)
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    sink_fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    terminal = open(terminal_fd, "w", encoding=original.encoding, errors="replace")  # noqa: PTH123, SIM115
    previous = sys.stderr
    try:
        os.dup2(sink_fd, 2)
        sys.__stderr__ = terminal  # type: ignore[misc]
        if previous is original:
            sys.stderr = terminal
        yield
    finally:
        terminal.flush()
        os.dup2(terminal.fileno(), 2)
        sys.__stderr__ = original  # type: ignore[misc]
        sys.stderr = previous
        terminal.close()
        os.close(sink_fd)
