"""From the model in use to a better one: imitate, TL-GRPO, export, evaluate, adopt.

What to imitate and which tasks to practise on comes from saved sessions (``from_sessions``) or from
the simulation of a circuit (``for_circuit``). Every stage leaves its product in the output folder,
and a run that was stopped goes on with the stage that it was at.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from tokenizers import Tokenizer

from acs_assistant.atomic import write_text
from acs_assistant.domain import Task
from acs_assistant.errors import InputError
from acs_assistant.llm import ModelCard, adopt
from acs_assistant.llm.batch import BatchSampler
from acs_assistant.sim.port import Simulator
from acs_assistant.training.config import FromSessionsConfig, RlConfig, SftConfig
from acs_assistant.training.evaluate import best_rewards, evaluate
from acs_assistant.training.export_gguf import export_gguf
from acs_assistant.training.import_gguf import import_gguf
from acs_assistant.training.policy import Group
from acs_assistant.training.rl import train_rl
from acs_assistant.training.sft import Progress, load_checkpoint, save_checkpoint, train_sft
from acs_assistant.training.tl_grpo import TaskSource

Say = Callable[[str], None]

SESSIONS = "sessions"
"""Folder of a run, with what is to be imitated as chat JSONL."""


class Draws(TaskSource, Protocol):
    """Training tasks, and others like them that training never sees."""

    def held_out(self, count: int, seed: int) -> list[Task]: ...


@dataclass(frozen=True, slots=True)
class Standing:
    """One model on the held-out draws.

    Attributes:
        met_at: Share of draws met within k simulations.
        reward: Mean over draws of the best turn's reward (score, plus 1 when met).
    """

    met_at: dict[int, float]
    reward: float

    @property
    def early(self) -> float:
        """Mean of ``met_at`` over k: of models that meet as many, the quicker one has more."""
        return sum(self.met_at.values()) / max(len(self.met_at), 1)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "early": self.early}


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a run is about, for the card of the model that it makes.

    Attributes:
        about: Ends the sentence "MODEL, fine-tuned on ...".
        facts: Further keys of the card.
    """

    about: str
    sessions: int
    right: int
    rejected: int
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What fine-tuning led to. ``adopted`` is the new default's name, or empty."""

    model: Path
    sessions: int
    right: int
    rejected: int
    draws: int
    before: Standing
    after: Standing
    adopted: str

    @property
    def not_worse(self) -> bool:
        """A higher mean reward; at the same one, specs met no later."""
        if self.after.reward != self.before.reward:
            return self.after.reward > self.before.reward
        return self.after.early >= self.before.early

    def as_json(self) -> dict[str, Any]:
        standings = {"before": self.before.as_json(), "after": self.after.as_json()}
        return {**asdict(self), **standings, "not_worse": self.not_worse}


def digest(plan: str) -> str:
    return hashlib.sha256(plan.encode()).hexdigest()[:8]


def claim(out: Path, plan: str) -> None:
    """Writes the plan into a new folder, or checks that the folder is this run's.

    Raises:
        InputError: It is another's.
    """
    file = out / "plan.json"
    if file.exists():
        if file.read_text(encoding="utf-8") != plan:
            raise InputError(
                "the folder holds a run on something else, another model or other settings.",
                hint="Give another folder with --out.",
                file=out,
            )
        return
    write_text(file, plan)


def tune(
    plan: str,
    card: ModelCard,
    config: FromSessionsConfig,
    simulator: Simulator,
    out: Path,
    source: Draws,
    lesson: Lesson,
    *,
    groups: Callable[[Tokenizer], Sequence[Group]] = lambda _: (),
    may_adopt: bool = True,
    say: Say = lambda _: None,
) -> Outcome:
    """Runs every stage that ``out`` has no product of yet; sessions are there already.

    Args:
        card: The model in use: where training starts, and what the new one is measured against.
        groups: Responses judged beforehand, that TL-GRPO learns from as well.

    Raises:
        ModelError: The model in use cannot be trained further.
    """
    start = out / "start" / "checkpoint"
    if not start.exists():
        model, tokenizer = import_gguf(card.path)
        save_checkpoint(start, model, tokenizer, None, Progress())
    say(f"Imitating {lesson.about}")
    imitated = _imitate(config, start, out)
    _, tokenizer = load_checkpoint(imitated)
    say("TL-GRPO on circuits and specs like these")
    trained = train_rl(
        "tl-grpo",
        _rl_config(config, imitated),
        simulator,
        out / "rl",
        resume=_begun(out / "rl"),
        source=source,
        lessons=groups(tokenizer),
    )
    name = f"{re.sub(r'-[0-9a-f]{8}$', '', card.name)}-{digest(plan)}"
    exported = out / f"{name}.gguf"
    kind: Literal["f16", "q8_0"] = "f16" if card.quantization == "F16" else "q8_0"
    export_gguf(trained, exported, kind, name, f"{card.name}, fine-tuned on {lesson.about}")

    draws = source.held_out(config.held_out, config.seed)
    say(f"Evaluation on {len(draws)} held-out draws: the model in use, then the new one")
    before = _standing(card.path, draws, simulator, config)
    after = _standing(exported, draws, simulator, config)
    counts = (lesson.sessions, lesson.right, lesson.rejected, len(draws))
    outcome = Outcome(exported, *counts, before, after, "")
    _describe(outcome, card, lesson)
    if may_adopt and outcome.not_worse:
        return replace(outcome, adopted=adopt(str(exported), name).name)
    return outcome


def _imitate(config: FromSessionsConfig, start: Path, out: Path) -> Path:
    recipe = SftConfig(
        start=str(start),
        data=str(out / SESSIONS),
        seconds=config.sft_seconds,
        learning_rate=config.sft_rate,
        table_rate=config.sft_rate,
        warmup_steps=10,
        batches=1,
        weight_decay=0.0,
        checkpoint_seconds=60,
        threads=config.threads,
        precision=config.precision,
        seed=config.seed,
    )
    return train_sft(recipe, out / "sft", resume=_begun(out / "sft"))


def _begun(run: Path) -> bool:
    return any((run / name / "trainer.pt").exists() for name in ("checkpoint", "checkpoint.old"))


def _rl_config(config: FromSessionsConfig, start: Path) -> RlConfig:
    return RlConfig(
        start=str(start),
        data="",
        circuits=[],
        seconds=config.rl_seconds,
        steps=config.rl_steps,
        tasks=config.tasks,
        group=config.group,
        turns=config.turns,
        learning_rate=config.rl_rate,
        kl_weight=config.kl_weight,
        max_tokens=config.max_tokens,
        checkpoint_seconds=60,
        threads=config.threads,
        precision=config.precision,
        seed=config.seed,
    )


def _standing(
    model: Path, draws: Sequence[Task], simulator: Simulator, config: FromSessionsConfig
) -> Standing:
    with BatchSampler(model, threads=config.threads) as sampler:
        report, histories = evaluate(
            draws,
            sampler,
            simulator,
            budget=config.budget,
            max_tokens=config.max_tokens,
            seed=config.seed,
        )
    return Standing(report.met_at, float(best_rewards(histories).mean()))


def _describe(outcome: Outcome, card: ModelCard, lesson: Lesson) -> None:
    """The new model's card, beside it."""
    facts: dict[str, Any] = {
        "start": {"name": card.name, "sha256": card.sha256},
        **lesson.facts,
        "right": outcome.right,
        "rejected": outcome.rejected,
        "held_out_draws": outcome.draws,
        "before": outcome.before.as_json(),
        "after": outcome.after.as_json(),
    }
    budget = max(outcome.after.met_at)
    text = (
        f"# {outcome.model.stem}\n\n"
        f"{card.name}, fine-tuned on {lesson.about}. On {outcome.draws} held-out draws around them "
        f"it meets {outcome.after.met_at[budget]:.0%} within {budget} simulations; the model that "
        f"it started from meets {outcome.before.met_at[budget]:.0%}.\n"
    )
    write_text(outcome.model.with_suffix(".json"), json.dumps(facts, indent=2) + "\n")
    write_text(outcome.model.with_suffix(".md"), text)
