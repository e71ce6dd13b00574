"""What a training run leaves for people: JSON lines, TensorBoard events, a bar with time left."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from acs_assistant.training import distributed

METRICS, EVENTS = "metrics.jsonl", "tensorboard"


class Journal:
    """Writes ``metrics.jsonl`` and ``tensorboard/`` in a run's folder; tells stderr how far it is.

    A terminal gets one bar, anything else a line now and then. Of several processes the first one
    writes. Events need the package tensorboard; without it the lines are all there is.

    Args:
        step: Steps taken before; events of later ones, from a run that was killed, are dropped.
        share: Share of the budget that was gone before.
    """

    def __init__(self, out: Path, step: int = 0, share: float = 0.0) -> None:
        self._first = distributed.rank() == 0
        self._out = out
        self._step = step
        self._console = Console(stderr=True, quiet=not self._first)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._job = self._bar.add_task("begins", total=1.0)
        self._bar.update(self._job, completed=share)
        self._began, self._share = time.monotonic(), share
        self._events: Any = None

    def __enter__(self) -> Self:
        self._out.mkdir(parents=True, exist_ok=True)
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()
        if self._events is not None:
            self._events.close()

    def say(self, text: str) -> None:
        self._console.print(text)

    def advance(self, share: float, text: str) -> None:
        """After every step: the share of the budget that is gone, and what to say beside it."""
        said = f"{text}  {self._left(share)}"
        self._bar.update(self._job, completed=share, description=said)

    def _left(self, share: float) -> str:
        gained = share - self._share
        if gained <= 0:
            return "time left unknown"
        left = (time.monotonic() - self._began) * max(0.0, 1.0 - share) / gained
        return f"{left / 60:.1f} min left"

    def write(self, line: Mapping[str, Any], share: float, text: str) -> None:
        """Appends a line of figures; ``line`` has a key "step"."""
        if not self._first:
            return
        with (self._out / METRICS).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        self._record(line)
        if not self._console.is_terminal:
            self._console.print(f"{text}  {self._left(share)}")

    def _record(self, line: Mapping[str, Any]) -> None:
        if self._events is None:
            if find_spec("tensorboard") is None:
                return
            with suppress(ImportError):
                from torch.utils.tensorboard.writer import SummaryWriter

                folder = str(self._out / EVENTS)
                self._events = SummaryWriter(folder, purge_step=self._step + 1)
        if self._events is None:
            return
        for name, value in line.items():
            if name != "step" and isinstance(value, (int, float)):
                self._events.add_scalar(name, value, line["step"])
        self._events.flush()
