"""The reinforcement-learning loop around GRPO and TL-GRPO: draw, simulate, update, write down."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from acs_assistant.errors import ConfigError
from acs_assistant.library import load_circuit
from acs_assistant.sim.port import Simulator
from acs_assistant.training import distributed, samplers
from acs_assistant.training.archive import load_archive
from acs_assistant.training.base import open_trainee
from acs_assistant.training.config import RlConfig
from acs_assistant.training.grpo import TrajectoryLevel
from acs_assistant.training.journal import Journal
from acs_assistant.training.memory import enough
from acs_assistant.training.policy import Group, informative, update
from acs_assistant.training.sft import Progress, save_together, whole_checkpoint
from acs_assistant.training.tasks import RowTasks
from acs_assistant.training.tl_grpo import Collected, Collector, TaskSource, TurnLevel

Method = Literal["grpo", "tl-grpo"]

_COLLECTOR = "collector-{}.json"


def train_rl(
    method: Method,
    config: RlConfig,
    simulator: Simulator,
    out: Path,
    resume: bool = False,
    *,
    source: TaskSource | None = None,
    lessons: Sequence[Group] = (),
) -> Path:
    """Trains until the wall-clock budget or the steps are spent; returns the checkpoint folder.

    Responses are drawn from the weights as each step finds them (``samplers``). A run
    that was killed and resumed takes the same next step as one that went on from the checkpoint.
    Under ``torchrun`` or ``accelerate launch`` the tasks of a step are divided among the processes;
    the figures of draws in the log are then the first process's.

    Args:
        source: Where tasks come from; the archives that the recipe names by default.
        lessons: Groups judged beforehand, by a person; one of them joins each step in turn.

    Raises:
        ConfigError: No checkpoint to start from, or not enough memory for the recipe.
        StorageError: A checkpoint cannot be written.
    """
    torch.set_num_threads(config.threads)
    distributed.begin()
    source = archive_tasks(config) if source is None else source
    run = _Run(method, config, out, source)
    if resume:
        run.resume()
    else:
        run.save()  # whatever happens next, there is something to go on from
    before, began = run.progress.seconds, time.monotonic()
    saved = began
    with Journal(out, run.progress.step, run.share) as journal:
        while not distributed.agreed(run.share >= 1.0):
            step = run.progress.step
            extra = [lessons[step % len(lessons)]] if lessons else []
            line = run.step(simulator, extra)
            run.progress.seconds = before + time.monotonic() - began
            text = f"step {step + 1}  reward {line['reward']}  met {line['met']}"
            journal.advance(run.share, text)
            seconds = round(run.progress.seconds, 1)
            journal.write({**line, "seconds": seconds}, run.share, text)
            if distributed.agreed(time.monotonic() - saved > config.checkpoint_seconds):
                run.save()
                saved = time.monotonic()
    run.save()
    return run.checkpoint


class _Run:
    """Weights, optimizer, collector and how far they are."""

    def __init__(self, method: Method, config: RlConfig, out: Path, source: TaskSource) -> None:
        self.config = config
        self.checkpoint = out / "checkpoint"
        self.progress = Progress()
        self._load(Path(config.start))
        self._reference = _reference(config)
        kind = TurnLevel if method == "tl-grpo" else TrajectoryLevel
        self._collector: Collector = kind(_share(config), source, self._trainee.language.prompt)
        out.mkdir(parents=True, exist_ok=True)

    def _load(self, folder: Path) -> None:
        """Weights of ``folder``, in place, and an optimizer for them."""
        config = self.config
        self._trainee = open_trainee(folder, config.lora, config.weights)
        samplers.check(self._trainee, config)
        self._model = self._trainee.model
        distributed.place(self._model)
        distributed.shard(self._model, config.fsdp)
        self._optimizer = _optimizer(self._model, config)

    @property
    def share(self) -> float:
        """How much of the budget is gone, of time or of steps."""
        config, progress = self.config, self.progress
        steps = progress.step / config.steps if config.steps else 0.0
        return max(progress.seconds / config.seconds if config.seconds else 1.0, steps)

    def resume(self) -> None:
        folder = whole_checkpoint(self.checkpoint)
        self._load(folder)
        state = torch.load(folder / "trainer.pt", weights_only=True)
        distributed.restore_optimizers(self._model, [self._optimizer], state["optimizer"])
        self.progress = Progress(**state["progress"])
        stored = folder / _COLLECTOR.format(distributed.rank())
        if stored.exists():
            self._collector.restore(stored.read_text(encoding="utf-8"))

    def save(self) -> None:
        states = distributed.gathered(self._collector.state())
        save_together(
            self.checkpoint,
            self._model,
            self._trainee.language,
            [self._optimizer],
            self.progress,
            {_COLLECTOR.format(i): state for i, state in enumerate(states) if state},
        )

    def step(self, simulator: Simulator, extra: Sequence[Group]) -> dict[str, Any]:
        """One step; returns the line for the log."""
        began = time.monotonic()
        what, run = f"step {self.progress.step + 1}", self.checkpoint.parent
        with enough(what, "'tasks', 'group' or 'turns'", run):
            self._model.train(False)
            with samplers.policy(self._trainee, self.config, self.progress.step) as sampler:
                drawn = self._collector.collect(sampler, simulator, self.progress.step)
            collected = time.monotonic()
            self._model.train()
            groups = informative([*drawn.groups, *extra], self.config.kl_weight)
            figures = update(self._model, self._optimizer, groups, self.config, self._reference)
        self.progress.step += 1
        self.progress.loss = figures["loss"]
        return {
            "step": self.progress.step,
            **_drawn_figures(drawn),
            "informative": round(len(groups) / max(len(drawn.groups) + len(extra), 1), 4),
            "draw_seconds": round(collected - began, 2),
            "update_seconds": round(time.monotonic() - collected, 2),
            **{name: round(value, 5) for name, value in figures.items()},
        }


def _share(config: RlConfig) -> RlConfig:
    """This process's part of the tasks, with draws of its own."""
    count, rank = distributed.processes(), distributed.rank()
    if config.tasks % count:
        raise ConfigError(
            f"'tasks' is {config.tasks}, which {count} processes cannot share evenly.",
            hint=f"Make it a multiple of {count}.",
        )
    changes = {"tasks": config.tasks // count, "seed": config.seed + 7919 * rank}
    return config.model_copy(update=changes)


def _reference(config: RlConfig) -> PreTrainedModel | None:
    """The model that training starts from, once more, where the distance to it counts."""
    if not config.kl_weight:
        return None
    model = open_trainee(Path(config.start), None, config.weights).model
    distributed.place(model)
    distributed.shard(model, config.fsdp.model_copy(update={"recompute": False}))
    model.train(False)
    return model


def _optimizer(model: PreTrainedModel, config: RlConfig) -> torch.optim.Optimizer:
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)


def _drawn_figures(drawn: Collected) -> dict[str, Any]:
    """A share of nothing (no later turns, say) is null: NaN is not JSON."""
    first = drawn.turns == 1
    return {
        "reward": _mean(drawn.rewards),
        "met": _mean(drawn.met),
        "met_first": _mean(drawn.met[first]),
        "met_later": _mean(drawn.met[~first]),
        "invalid": round(1.0 - drawn.simulations / max(len(drawn.rewards), 1), 4),
        "simulations": drawn.simulations,
    }


def _mean(values: NDArray[Any]) -> float | None:
    return round(float(values.mean()), 4) if len(values) else None


def archive_tasks(config: RlConfig) -> RowTasks:
    """Training tasks from the archives of a recipe."""
    circuits = [load_circuit(name) for name in config.circuits]
    paths = [_archive_path(Path(config.data), circuit.name) for circuit in circuits]
    archives = [load_archive(path, c) for path, c in zip(paths, circuits, strict=True)]
    return RowTasks(archives, config.relax)


def _archive_path(folder: Path, name: str) -> Path:
    path = folder / f"{name}.npz"
    if not path.exists():
        raise ConfigError(
            f"holds no simulated sizings of circuit {name} ({path.name}).",
            hint="Make them with `acs-assistant train data --config FILE --out DIR`.",
            file=folder,
        )
    return path
