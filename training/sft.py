"""Supervised fine-tuning on design sessions: resumable, loss on the assistant alone."""

from __future__ import annotations

import itertools
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from acs_assistant.errors import ConfigError, StorageError
from acs_assistant.library import load_circuit
from acs_assistant.training import distributed
from acs_assistant.training.base import has_adapters, open_trainee
from acs_assistant.training.chat import Example, chat_text
from acs_assistant.training.config import SftConfig
from acs_assistant.training.data import read_jsonl
from acs_assistant.training.journal import Journal
from acs_assistant.training.language import Language, OwnLanguage
from acs_assistant.training.losses import learned_logits, soft_cross_entropy
from acs_assistant.training.memory import enough
from acs_assistant.training.model import OrderedTable, new_model
from acs_assistant.training.packing import batches
from acs_assistant.training.tokenizer import load_tokenizer, train_tokenizer

_TOKENIZER_SAMPLE = 4000
_QUIET_SECONDS = 30
"""A slow run reports more often than every twenty steps."""

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
    distributed.begin()
    if config.batches % distributed.processes():
        raise ConfigError(
            f"'batches' is {config.batches}, which {distributed.processes()} processes cannot "
            "share evenly.",
            hint=f"Make it a multiple of {distributed.processes()}.",
        )
    console = Console(stderr=True, quiet=distributed.rank() > 0)
    records = _records(Path(config.data))
    checkpoint = out / "checkpoint"
    source = checkpoint if resume else Path(config.start) if config.start else None
    if source is not None:
        trainee = open_trainee(source, config.lora, config.weights)
        model, language = trainee.model, trainee.language
    else:
        tokenizer = _new_tokenizer(records, config)
        model, language = new_model(config.model, tokenizer, config.seed), OwnLanguage(tokenizer)
    distributed.place(model)
    distributed.shard(model, config.fsdp)
    console.print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}M weights, "
                  f"{len(records)} sessions")  # fmt: skip
    examples = [e for record in records for e in language.examples(record, config.results)]
    del records
    optimizer = Optimizers(model, language, config)
    progress = Progress()
    if resume:
        state = torch.load(whole_checkpoint(checkpoint) / "trainer.pt", weights_only=True)
        distributed.restore_optimizers(model, optimizer.parts, state["optimizer"])
        progress = Progress(**state["progress"])
    journal = Journal(out, progress.step, _spent(config, progress))
    with enough("a batch", "'batch_tokens'", out):
        _loop(config, model, optimizer, language, examples, progress, out, journal)
    return checkpoint


def _loop(
    config: SftConfig,
    model: PreTrainedModel,
    optimizer: Optimizers,
    language: Language,
    examples: Sequence[Example],
    progress: Progress,
    out: Path,
    journal: Journal,
) -> None:
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    columns, weights = language.soft_targets(int(model.config.vocab_size), config.value_spread)
    columns, weights = columns.to(model.device), weights.to(model.device)
    source = batches(examples, config.batch_tokens, config.seed + progress.step)
    before, began = progress.seconds, time.monotonic()
    saved = told = began
    model.train()
    with journal:
        while not distributed.agreed(_spent(config, progress) >= 1.0):
            share = _share_of_rate(config, progress)
            optimizer.set_share(share)
            optimizer.zero_grad()
            now, learned = 0.0, 0
            for batch in distributed.shared(itertools.islice(source, config.batches)):
                with torch.autocast(
                    model.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16
                ):
                    logits, targets = learned_logits(model, batch, dtype)
                loss = soft_cross_entropy(logits, targets, columns, weights) / config.batches
                loss.backward()  # type: ignore[no-untyped-call]
                now += float(loss.detach())
                learned += int(targets.numel())
            distributed.sum_gradients(model)
            now = distributed.total(now)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            progress.step += 1
            progress.seconds = distributed.first(before + time.monotonic() - began)
            ema = now if math.isnan(progress.loss) else 0.98 * progress.loss + 0.02 * now
            progress.loss = ema
            spent, text = _spent(config, progress), f"step {progress.step}  loss {ema:.4f}"
            journal.advance(spent, text)
            last = _spent(config, progress) >= 1.0
            if progress.step % 20 == 0 or last or time.monotonic() - told > _QUIET_SECONDS:
                told = time.monotonic()
                rate = config.learning_rate * share
                line = _figures(progress, distributed.number(norm), rate, learned)
                journal.write(line, spent, f"{text}  lr {rate:.2e}")
            if distributed.agreed(time.monotonic() - saved > config.checkpoint_seconds):
                save_together(out / "checkpoint", model, language, optimizer.parts, progress)
                saved = time.monotonic()
    save_together(out / "checkpoint", model, language, optimizer.parts, progress)


def _figures(progress: Progress, norm: float, rate: float, learned: int) -> dict[str, Any]:
    return {
        "step": progress.step,
        "seconds": round(progress.seconds, 1),
        "loss": round(progress.loss, 4),
        "gradient_norm": round(norm, 3),
        "learning_rate": rate,
        "learned_tokens": learned,
    }


def _spent(config: SftConfig, progress: Progress) -> float:
    """Share of the budget that is gone, of time or of steps."""
    steps = progress.step / config.steps if config.steps else 0.0
    return max(progress.seconds / config.seconds if config.seconds else 1.0, steps)


def _share_of_rate(config: SftConfig, progress: Progress) -> float:
    warm = min(1.0, (progress.step + 1) / config.warmup_steps)
    spent = min(1.0, _spent(config, progress))
    return warm * (
        config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * spent))
    )


class Writes(Protocol):
    """A tokenizer, or all of a language."""

    def save(self, path: str) -> None: ...


class Optimizers:
    """AdamW, and beside it Muon (Jordan 2024) on the hidden matrices where it is asked for.

    Muon's steps are scaled to the size of AdamW's (arXiv 2502.16982), so rates are comparable. The
    small model's values are trained as one map (``OrderedTable``), others' embeddings as they are.
    """

    def __init__(self, model: PreTrainedModel, language: Language, config: SftConfig) -> None:
        table = model.get_input_embeddings().weight
        assert isinstance(table, torch.nn.Parameter)
        trained = [p for p in model.parameters() if p.requires_grad]
        matrices = [p for p in trained if p.ndim >= 2 and p is not table]
        vectors = [p for p in trained if p.ndim < 2]
        self._ordered, tables = None, [table] if table.requires_grad else []
        rate = config.learning_rate
        if tables and isinstance(language, OwnLanguage) and not distributed.sharded(model):
            self._ordered = OrderedTable(table, language.tokenizer)
            tables, rate = [self._ordered.words, self._ordered.map], config.table_rate
        groups = [
            {"params": tables, "lr": rate, "weight_decay": 0.0},
            {"params": vectors, "lr": rate, "weight_decay": 0.0},
        ]
        whole = not has_adapters(model) and not distributed.sharded(model)
        muon = config.optimizer == "muon" and whole
        decayed = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
        if not muon:
            groups.append({"params": matrices, **decayed})
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW([g for g in groups if g["params"]], betas=(0.9, 0.95), fused=True)
        ]
        if muon:
            self.parts.append(_muon(matrices, config))
        self._rates = [[group["lr"] for group in part.param_groups] for part in self.parts]

    def set_share(self, share: float) -> None:
        """Sets every learning rate to a share of its highest."""
        for part, rates in zip(self.parts, self._rates, strict=True):
            for group, rate in zip(part.param_groups, rates, strict=True):
                group["lr"] = rate * share

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        if self._ordered is not None:
            self._ordered.take_gradient()
        for part in self.parts:
            part.step()
        if self._ordered is not None:
            self._ordered.write()


def _muon(matrices: Sequence[torch.nn.Parameter], config: SftConfig) -> torch.optim.Optimizer:
    return torch.optim.Muon(
        matrices,
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )


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


def save_together(
    folder: Path,
    model: PreTrainedModel,
    language: Writes,
    parts: Sequence[torch.optim.Optimizer],
    progress: Progress,
    notes: Mapping[str, str] | None = None,
) -> None:
    """``save_checkpoint`` by the first of several processes; all of them call it."""
    weights = distributed.whole_weights(model)
    state = distributed.optimizer_state(model, parts)
    if distributed.rank() == 0:
        save_checkpoint(folder, model, language, state, progress, notes, weights)
    distributed.wait()


def save_checkpoint(
    folder: Path,
    model: PreTrainedModel,
    language: Writes,
    optimizer: Any,
    progress: Progress,
    notes: Mapping[str, str] | None = None,
    weights: dict[str, torch.Tensor] | None = None,
) -> None:
    """Writes weights, tokenizer and trainer state beside ``folder``, then swaps the folders.

    Args:
        optimizer: Its state; None when there is nothing to go on with.
        notes: Further text files, by name.
        weights: What to write for the model's weights, when they are not whole in it.

    Raises:
        StorageError: The disk is full or the folder cannot be written; the last one is whole.
    """
    try:
        _save_checkpoint(folder, model, language, optimizer, progress, notes or {}, weights)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch raises RuntimeError
        raise StorageError(
            f"the checkpoint of step {progress.step} cannot be written: {error}",
            hint="Make room on the disk, then go on from the checkpoint before it with --resume.",
            file=folder,
        ) from error


def _save_checkpoint(
    folder: Path,
    model: PreTrainedModel,
    language: Writes,
    optimizer: Any,
    progress: Progress,
    notes: Mapping[str, str],
    weights: dict[str, torch.Tensor] | None,
) -> None:
    beside, old = folder.with_name(folder.name + ".part"), folder.with_name(folder.name + ".old")
    _remove(beside)
    beside.mkdir(parents=True)
    model.save_pretrained(beside, state_dict=weights)
    model.config.save_pretrained(beside)  # adapters alone come without
    language.save(str(beside / "tokenizer.json"))
    state: dict[str, Any] = {
        "progress": {
            "step": progress.step,
            "seconds": progress.seconds,
            "loss": progress.loss,
        }
    }
    if optimizer is not None:
        state["optimizer"] = optimizer
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
        shutil.rmtree(folder)
