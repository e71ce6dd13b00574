"""Supervised fine-tuning on design sessions: resumable, loss on the assistant alone."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

from acs_assistant.errors import ConfigError, StorageError
from acs_assistant.library import load_circuit
from acs_assistant.training.chat import Encoder, Example, chat_text
from acs_assistant.training.config import SftConfig
from acs_assistant.training.data import read_jsonl
from acs_assistant.training.losses import learned_states, soft_cross_entropy
from acs_assistant.training.model import new_model, value_neighbours
from acs_assistant.training.packing import batches
from acs_assistant.training.tokenizer import load_tokenizer, train_tokenizer

_TOKENIZER_SAMPLE = 4000

disable_progress_bar()  # type: ignore[no-untyped-call]  # one for every checkpoint is too much


@dataclass(slots=True)
class Progress:
    """What a checkpoint remembers besides the weights."""

    step: int = 0
    seconds: float = 0.0
    loss: float = math.nan


def train_sft(config: SftConfig, out: Path, resume: bool = False) -> Path:
    """Trains until the wall-clock budget is spent; returns the checkpoint folder.

    The learning rate follows the share of the budget that is spent: linear warm-up, then cosine.
    A checkpoint is written beside and renamed, so a kill leaves the last one whole.
    """
    torch.set_num_threads(config.threads)
    console = Console(stderr=True)
    records = _records(Path(config.data))
    checkpoint = out / "checkpoint"
    source = checkpoint if resume else Path(config.start) if config.start else None
    if source is not None:
        model, tokenizer = load_checkpoint(source)
    else:
        tokenizer = _new_tokenizer(records, config)
        model = new_model(config.model, tokenizer, config.seed)
    console.print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}M weights, "
                  f"{len(records)} sessions")  # fmt: skip
    encoder = Encoder(tokenizer)
    examples = [encoder.encode(record, config.results) for record in records]
    del records
    optimizer = Optimizers(model, config)
    progress = Progress()
    if resume:
        state = torch.load(whole_checkpoint(checkpoint) / "trainer.pt", weights_only=True)
        optimizer.load_state_dict(state["optimizer"])
        progress = Progress(**state["progress"])
    out.mkdir(parents=True, exist_ok=True)
    _loop(config, model, optimizer, tokenizer, examples, progress, out, console)
    return checkpoint


def _loop(
    config: SftConfig,
    model: LlamaForCausalLM,
    optimizer: Optimizers,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    progress: Progress,
    out: Path,
    console: Console,
) -> None:
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    columns, weights = value_neighbours(tokenizer, reach=4, spread=config.value_spread)
    source = batches(examples, config.batch_tokens, config.seed + progress.step)
    before, began = progress.seconds, time.monotonic()
    saved = began
    model.train()
    with (out / "metrics.jsonl").open("a", encoding="utf-8") as log:
        while progress.seconds < config.seconds:
            rate = _rate(config, progress)
            optimizer.set_rate(rate)
            optimizer.zero_grad()
            now, learned = 0.0, 0
            for batch in itertools.islice(source, config.batches):
                with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                    states, targets = learned_states(model, batch, dtype)
                    logits = model.lm_head(states)
                loss = soft_cross_entropy(logits, targets, columns, weights) / config.batches
                loss.backward()  # type: ignore[no-untyped-call]
                now += float(loss.detach())
                learned += int(targets.numel())
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            progress.step += 1
            progress.seconds = before + time.monotonic() - began
            ema = now if math.isnan(progress.loss) else 0.98 * progress.loss + 0.02 * now
            progress.loss = ema
            if progress.step % 20 == 0:
                _report(log, console, config, progress, float(norm), rate, learned)
            if time.monotonic() - saved > config.checkpoint_seconds:
                save_checkpoint(out / "checkpoint", model, tokenizer, optimizer, progress)
                saved = time.monotonic()
    save_checkpoint(out / "checkpoint", model, tokenizer, optimizer, progress)


def _report(
    log: Any,
    console: Console,
    config: SftConfig,
    progress: Progress,
    norm: float,
    rate: float,
    learned: int,
) -> None:
    line = {
        "step": progress.step,
        "seconds": round(progress.seconds, 1),
        "loss": round(progress.loss, 4),
        "gradient_norm": round(norm, 3),
        "learning_rate": rate,
        "learned_tokens": learned,
    }
    log.write(json.dumps(line) + "\n")
    log.flush()
    left = config.seconds - progress.seconds
    console.print(
        f"step {progress.step}  loss {progress.loss:.4f}  lr {rate:.2e}  {left / 60:.1f} min left"
    )


def _rate(config: SftConfig, progress: Progress) -> float:
    warm = min(1.0, (progress.step + 1) / config.warmup_steps)
    spent = min(1.0, progress.seconds / config.seconds)
    cosine = config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * spent))
    return config.learning_rate * warm * cosine


class Stateful(Protocol):
    """What a checkpoint remembers of an optimizer."""

    def state_dict(self) -> Any: ...


class Optimizers:
    """AdamW, and beside it Muon (Jordan 2024) on the hidden matrices where it is asked for.

    Muon's steps are scaled to the size of AdamW's (arXiv 2502.16982), so one rate serves both.
    """

    def __init__(self, model: LlamaForCausalLM, config: SftConfig) -> None:
        table = model.get_input_embeddings().weight
        matrices = [p for p in model.parameters() if p.ndim >= 2 and p is not table]
        vectors = [p for p in model.parameters() if p.ndim < 2]
        muon = config.optimizer == "muon"
        decayed = [table] if muon else [table, *matrices]
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                [
                    {"params": decayed, "weight_decay": config.weight_decay},
                    {"params": vectors, "weight_decay": 0.0},
                ],
                lr=config.learning_rate,
                betas=(0.9, 0.95),
                fused=True,
            )
        ]
        if muon:
            self._parts.append(
                torch.optim.Muon(
                    matrices,
                    lr=config.learning_rate,
                    weight_decay=config.weight_decay,
                    adjust_lr_fn="match_rms_adamw",
                )
            )

    def set_rate(self, rate: float) -> None:
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate

    def zero_grad(self) -> None:
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        for part in self._parts:
            part.step()

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, states: Sequence[dict[str, Any]]) -> None:
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(state)


def _records(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise ConfigError(
            "holds no sessions (*.jsonl).",
            hint="Make them with `acs-assistant train data --config FILE --out DIR`.",
            file=folder,
        )
    return [record for file in files for record in read_jsonl(file)]


def _new_tokenizer(records: Sequence[dict[str, Any]], config: SftConfig) -> Tokenizer:
    """Learns merges from a sample; names come from the calls and from every metric of a circuit."""
    names: dict[str, None] = {}
    step = max(1, len(records) // _TOKENIZER_SAMPLE)
    sample = records[::step]
    circuits = {r["messages"][1]["content"].split(":")[0].removeprefix("Circuit ") for r in sample}
    for circuit in (load_circuit(name) for name in sorted(circuits)):
        names.update(dict.fromkeys(p.name for p in circuit.parameters))
        names.update(dict.fromkeys(m.name for m in circuit.metrics))
    corpus = [chat_text(r["messages"], False) for r in sample]
    return train_tokenizer(corpus, list(names), config.model.merges)


def save_checkpoint(
    folder: Path,
    model: LlamaForCausalLM,
    tokenizer: Tokenizer,
    optimizer: Stateful | None,
    progress: Progress,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Writes weights, tokenizer and trainer state beside ``folder``, then swaps the folders.

    Args:
        notes: Further text files, by name.

    Raises:
        StorageError: The disk is full or the folder cannot be written; the last one is whole.
    """
    try:
        _save_checkpoint(folder, model, tokenizer, optimizer, progress, notes or {})
    except (OSError, RuntimeError, SafetensorError) as error:  # torch raises RuntimeError
        raise StorageError(
            f"the checkpoint of step {progress.step} cannot be written: {error}",
            hint="Make room on the disk, then go on from the checkpoint before it with --resume.",
            file=folder,
        ) from error


def _save_checkpoint(
    folder: Path,
    model: LlamaForCausalLM,
    tokenizer: Tokenizer,
    optimizer: Stateful | None,
    progress: Progress,
    notes: Mapping[str, str],
) -> None:
    beside, old = folder.with_name(folder.name + ".part"), folder.with_name(folder.name + ".old")
    _remove(beside)
    beside.mkdir(parents=True)
    model.save_pretrained(beside)
    tokenizer.save(str(beside / "tokenizer.json"))
    state: dict[str, Any] = {
        "progress": {
            "step": progress.step,
            "seconds": progress.seconds,
            "loss": progress.loss,
        }
    }
    if optimizer is not None:
        state["optimizer"] = optimizer.state_dict()
    torch.save(state, beside / "trainer.pt")
    for name, text in notes.items():
        (beside / name).write_text(text, encoding="utf-8")
    if folder.exists():  # else ``old`` is the only whole one until the next line but one
        _remove(old)
        folder.rename(old)
    beside.rename(folder)
    _remove(old)


def load_checkpoint(folder: Path) -> tuple[LlamaForCausalLM, Tokenizer]:
    """Reads a checkpoint folder, or what a kill in mid-swap left of it.

    Raises:
        ConfigError: There is none.
    """
    whole = whole_checkpoint(folder)
    model = LlamaForCausalLM.from_pretrained(whole, attn_implementation="eager")
    return model, load_tokenizer(whole / "tokenizer.json")


def whole_checkpoint(folder: Path) -> Path:
    """The folder itself, or its predecessor when a kill in mid-swap left only that.

    Raises:
        ConfigError: There is neither.
    """
    for candidate in (folder, folder.with_name(folder.name + ".old")):
        if (candidate / "tokenizer.json").exists() and (candidate / "config.json").exists():
            return candidate
    raise ConfigError(
        "holds no checkpoint.", hint="Train one: acs-assistant train sft.", file=folder
    )


def _remove(folder: Path) -> None:
    if folder.exists():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
