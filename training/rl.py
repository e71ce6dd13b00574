"""The reinforcement-learning loop around GRPO and TL-GRPO: draw, simulate, update, write down."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from acs_assistant.domain import Task
from acs_assistant.library import load_circuit
from acs_assistant.llm.batch import BatchSampler
from acs_assistant.sim.port import Simulator
from acs_assistant.training.archive import Archive, load_archive
from acs_assistant.training.config import RlConfig
from acs_assistant.training.export_gguf import write_gguf
from acs_assistant.training.grpo import TrajectoryLevel
from acs_assistant.training.policy import informative, update
from acs_assistant.training.sft import Progress, load_checkpoint, save_checkpoint
from acs_assistant.training.tasks import default_scores, draw_specs
from acs_assistant.training.tl_grpo import DrawTask, TurnLevel

Method = Literal["grpo", "tl-grpo"]


def train_rl(
    method: Method, config: RlConfig, simulator: Simulator, out: Path, resume: bool = False
) -> Path:
    """Trains until the wall-clock budget is spent; returns the checkpoint folder.

    Responses are drawn by llama.cpp from an F16 export of the weights, made anew each step.
    """
    torch.set_num_threads(config.threads)
    checkpoint = out / "checkpoint"
    model, tokenizer = load_checkpoint(checkpoint if resume else Path(config.start))
    reference = load_checkpoint(Path(config.start))[0] if config.kl_weight else None
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.0
    )
    progress = Progress()
    if resume:
        state = torch.load(checkpoint / "trainer.pt", weights_only=True)
        optimizer.load_state_dict(state["optimizer"])
        progress = Progress(**state["progress"])
    rng = np.random.default_rng([config.seed, progress.step])
    draw = task_source(config)
    kind = TurnLevel if method == "tl-grpo" else TrajectoryLevel
    collector = kind(config, draw, rng)
    before, began = progress.seconds, time.monotonic()
    saved = began
    out.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    with (out / "metrics.jsonl").open("a", encoding="utf-8") as log:
        while progress.seconds < config.seconds:
            model.train(False)
            with _Sampler(model, tokenizer, config) as sampler:
                drawn = collector.collect(sampler, simulator, config.seed * 10000 + progress.step)
            collected = time.monotonic()
            model.train()
            groups = informative(drawn.groups, config.kl_weight)
            figures = update(model, optimizer, groups, config, reference)
            progress.step += 1
            progress.seconds = before + time.monotonic() - began
            progress.loss = figures["loss"]
            line = {
                "step": progress.step,
                "seconds": round(progress.seconds, 1),
                "reward": round(float(drawn.rewards.mean()), 4),
                "met": round(float((drawn.rewards >= 1.0).mean()), 4),
                "met_first": _met(drawn.rewards, drawn.turns == 1),
                "met_later": _met(drawn.rewards, drawn.turns > 1),
                "informative": len(groups) / max(len(drawn.groups), 1),
                "simulations": drawn.simulations,
                "update_seconds": round(time.monotonic() - collected, 2),
                **{name: round(value, 5) for name, value in figures.items()},
            }
            log.write(json.dumps(line) + "\n")
            log.flush()
            console.print(
                f"step {progress.step}  reward {line['reward']}  met {line['met']}  "
                f"{(config.seconds - progress.seconds) / 60:.1f} min left"
            )
            if time.monotonic() - saved > config.checkpoint_seconds:
                save_checkpoint(checkpoint, model, tokenizer, optimizer, progress)
                saved = time.monotonic()
    save_checkpoint(checkpoint, model, tokenizer, optimizer, progress)
    return checkpoint


def task_source(config: RlConfig) -> DrawTask:
    """Draws training tasks from the archives: specs of good sizings, relaxed a little."""
    archives = [
        load_archive(Path(config.data) / f"{name}.npz", load_circuit(name))
        for name in config.circuits
    ]
    pools = [_good_rows(archive) for archive in archives]

    def draw(rng: np.random.Generator) -> Task:
        while True:
            which = int(rng.integers(len(archives)))
            archive, pool = archives[which], pools[which]
            row = int(pool[rng.integers(len(pool))])
            specs = draw_specs(archive.circuit, archive.metrics[row], rng, config.relax)
            if specs is not None:
                return Task(archive.circuit, specs, archive.circuit.conditions)

    return draw


def _good_rows(archive: Archive) -> np.ndarray:
    scores = default_scores(archive)
    working = np.flatnonzero(archive.ok & (scores > 0.5))
    return working[np.argsort(-scores[working])[: max(200, len(working) // 2)]]


def _met(rewards: np.ndarray, which: np.ndarray) -> float:
    return round(float((rewards[which] >= 1.0).mean()), 4) if which.any() else float("nan")


class _Sampler:
    """The weights as they are now, as a GGUF that llama.cpp draws from."""

    def __init__(self, model: LlamaForCausalLM, tokenizer: Tokenizer, config: RlConfig) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="acs-policy-")
        path = Path(self._folder.name) / "policy.gguf"
        write_gguf(model, tokenizer, path, "f16", "policy")
        self._sampler = BatchSampler(path, threads=config.threads)

    def __enter__(self) -> BatchSampler:
        return self._sampler

    def __exit__(self, *_: object) -> None:
        self._sampler.close()
        self._folder.cleanup()
