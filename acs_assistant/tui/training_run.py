"""Fine-tuning as a child process: its command, its stages, and its figures as they come.

The child leaves a product of every stage in the run's folder; that is what the stages are read
from. Nothing of training is imported here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from acs_assistant import paths
from acs_assistant.atomic import write_text
from acs_assistant.errors import AcsError
from acs_assistant.tui.text import plain

RECIPE, LOG, OUTCOME = "recipe.toml", "train.log", "outcome.json"
NICENESS = 5
"""How far training stands back behind the thread that draws."""
KILL_SECONDS = 15.0
"""How long a child that was asked to stop may take."""


class Stage(Enum):
    """Where a run is; the value is what a person reads."""

    PREPARING = "simulating"
    IMITATING = "imitating what was right"
    REINFORCING = "TL-GRPO"
    EVALUATING = "evaluating both models"
    STOPPING = "stopping"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


WORKING = (Stage.PREPARING, Stage.IMITATING, Stage.REINFORCING, Stage.EVALUATING)
ENDED = (Stage.DONE, Stage.STOPPED, Stage.FAILED)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train on, from which model, and for how long.

    Attributes:
        turns: Turn ids by session: another turn makes another run. Empty with a circuit.
        model: Name of the model that training starts from and is measured against.
        imitate: Seconds of imitation.
        reinforce: Seconds of TL-GRPO.
        circuit: Folder of a circuit that is simulated instead of learning from sessions.
    """

    turns: Mapping[int, tuple[int, ...]]
    model: str
    imitate: float
    reinforce: float
    threads: int = 2
    circuit: str = ""

    @property
    def folder(self) -> Path:
        """The same plan finds the same folder, and goes on with what it holds."""
        facts = [sorted(self.turns.items()), self.model, self.recipe, self.circuit]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]
        return paths.data_dir() / "training" / digest

    @property
    def recipe(self) -> str:
        return (
            f"sft_seconds = {self.imitate:g}\nrl_seconds = {self.reinforce:g}\n"
            f"threads = {self.threads}\n[circuit]\nsft_seconds = {self.imitate:g}\n"
        )

    def options(self) -> list[str]:
        """Of ``acs-assistant train from-sessions``. Adopting is left to the person."""
        chosen = [word for key in sorted(self.turns) for word in ("--session", str(key))]
        if self.circuit:
            chosen = ["--circuit", self.circuit]
        folder = self.folder
        return [*chosen, "--model", self.model, "--config", str(folder / RECIPE),
                "--out", str(folder), "--no-adopt", "--json"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Progress:
    """A run as it is now.

    Attributes:
        imitation: Lines of figures of the imitation: step, seconds, loss.
        reinforcement: The same of TL-GRPO: step, seconds, reward, met.
        left: Seconds that the stage still takes; None when that is not known.
        share: How much of the stage's time is spent, in [0, 1].
        said: The child's last line.
        outcome: What the evaluation found, once it is done.
        error: Why it failed.
    """

    stage: Stage = Stage.PREPARING
    imitation: tuple[Mapping[str, Any], ...] = ()
    reinforcement: tuple[Mapping[str, Any], ...] = ()
    left: float | None = None
    share: float = 0.0
    said: str = ""
    outcome: Mapping[str, Any] | None = None
    error: str = ""


@dataclass(slots=True)
class _Lines:
    """Whole lines of a growing file of JSON, read as they come."""

    path: Path
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    read_at: float = 0.0
    _at: int = 0

    def read(self, now: float) -> None:
        with contextlib.suppress(OSError), self.path.open("rb") as stream:
            stream.seek(self._at)
            text = stream.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._at += len(whole)
            for line in whole.splitlines():
                with contextlib.suppress(ValueError):
                    self.rows.append(json.loads(line))
            if whole:
                self.read_at = now


class TrainingRun:
    """One child. ``start``, ``poll`` and ``stop`` are quick, but touch the disk.

    Attributes:
        plan: What it was started with.
        progress: The latest look; ``poll`` renews it.
    """

    def __init__(
        self, plan: Plan, command: Sequence[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.plan = plan
        self.progress = Progress()
        self._command = tuple(command)
        self._clock = clock
        self._folder = plan.folder
        self._process: subprocess.Popen[bytes] | None = None
        self._imitation = _Lines(self._folder / "sft" / "metrics.jsonl")
        self._reinforcement = _Lines(self._folder / "rl" / "metrics.jsonl")
        self._begun: dict[Stage, float] = {}
        self._stopped_at: float | None = None

    @property
    def alive(self) -> bool:
        return self.progress.stage not in ENDED

    def start(self) -> None:
        """Starts the child, or notes why it cannot be started."""
        folder = self._folder
        try:
            write_text(folder / RECIPE, self.plan.recipe)
            with (folder / OUTCOME).open("wb") as out, (folder / LOG).open("wb") as log:
                self._process = subprocess.Popen(
                    [*self._command, *self.plan.options()],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=log,
                    start_new_session=True,
                )
        except (AcsError, OSError) as error:
            self.progress = Progress(Stage.FAILED, error=str(error))
            return
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, NICENESS)

    def stop(self) -> None:
        """Asks the child to end; it keeps its checkpoints and goes on when started again."""
        if self._process is not None and self._process.poll() is None:
            if self._stopped_at is None:
                self._stopped_at = self._clock()
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(signal.SIGINT)
            elif self._clock() - self._stopped_at > KILL_SECONDS:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def poll(self) -> Progress:
        """Looks at the child and at what it has written."""
        if self._process is None or not self.alive:
            return self.progress
        status = self._process.poll()
        if self._stopped_at is not None:
            self.stop()
        now = self._clock()
        self._imitation.read(now)
        self._reinforcement.read(now)
        stage = self._stage(status)
        left, share = self._time(stage, now)
        said = self._said()
        outcome, error = None, ""
        if stage is Stage.DONE:
            outcome = self._outcome()
            if outcome is None:
                stage, error = Stage.FAILED, "It ended without saying what came of it."
        if stage is Stage.FAILED:
            error = error or _complaint(said, status)
        self.progress = Progress(
            stage,
            tuple(self._imitation.rows),
            tuple(self._reinforcement.rows),
            left,
            share,
            said[-1] if said else "",
            outcome,
            error,
        )
        return self.progress

    def _stage(self, status: int | None) -> Stage:
        if status is not None:
            if status == 0:
                return Stage.DONE
            return Stage.FAILED if self._stopped_at is None else Stage.STOPPED
        if self._stopped_at is not None:
            return Stage.STOPPING
        if any(self._folder.glob("*.gguf")):
            return Stage.EVALUATING
        if (self._folder / "rl").is_dir():
            return Stage.REINFORCING
        return Stage.IMITATING if (self._folder / "sft").is_dir() else Stage.PREPARING

    def _time(self, stage: Stage, now: float) -> tuple[float | None, float]:
        """(Seconds left, share spent) of a stage that has a budget of time."""
        begun = self._begun.setdefault(stage, now)
        budgets = {
            Stage.IMITATING: (self.plan.imitate, self._imitation),
            Stage.REINFORCING: (self.plan.reinforce, self._reinforcement),
        }
        if stage not in budgets:
            return None, 0.0
        budget, lines = budgets[stage]
        spent = now - begun
        if lines.rows:
            spent = float(lines.rows[-1].get("seconds", 0.0)) + now - lines.read_at
        return max(0.0, budget - spent), min(1.0, spent / budget) if budget > 0 else 1.0

    def _outcome(self) -> Mapping[str, Any] | None:
        try:
            found = json.loads((self._folder / OUTCOME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _said(self) -> list[str]:
        try:
            text = (self._folder / LOG).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        return [line.rstrip() for line in plain(text[-8192:]).splitlines() if line.strip()]


def _complaint(said: Sequence[str], status: int | None) -> str:
    """What the child said last, without the lines that only tell of progress."""
    lines = [line for line in said if not line.startswith("step ")]
    if lines:
        return "\n".join(lines[-6:])
    if status is not None and status < 0:
        return f"It was ended by signal {-status} ({signal.Signals(-status).name})."
    return f"It ended with status {status}."
