"""Fine-tuning on saved sessions: imitate what was right, TL-GRPO from there, adopt if not worse.

Every stage leaves its product in the output folder, and a run that was stopped goes on with the
stage that it was at.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tokenizers import Tokenizer

from acs_assistant.atomic import write_text
from acs_assistant.domain import Task, Turn
from acs_assistant.errors import InputError
from acs_assistant.llm import ModelCard, adopt
from acs_assistant.llm.batch import BatchSampler
from acs_assistant.sim.port import Simulator
from acs_assistant.storage.records import SessionRecord
from acs_assistant.storage.store import Store
from acs_assistant.training.advantages import group_advantages
from acs_assistant.training.config import FromSessionsConfig, RlConfig, SftConfig
from acs_assistant.training.data import write_jsonl
from acs_assistant.training.evaluate import best_rewards, evaluate
from acs_assistant.training.export_gguf import export_gguf
from acs_assistant.training.import_gguf import import_gguf
from acs_assistant.training.lessons import Preference, SessionTasks, grounds_of, lessons_of
from acs_assistant.training.policy import Group
from acs_assistant.training.rl import train_rl
from acs_assistant.training.sft import Progress, load_checkpoint, save_checkpoint, train_sft

Say = Callable[[str], None]
Session = tuple[SessionRecord, list[Turn]]


@dataclass(frozen=True, slots=True)
class Standing:
    """One model on the held-out draws.

    Attributes:
        met_at: Share of draws met within k simulations.
        reward: Mean over draws of the best turn's reward (score, plus 1 when met).
    """

    met_at: dict[int, float]
    reward: float


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
        return self.after.reward >= self.before.reward

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "not_worse": self.not_worse}


def chosen_sessions(store: Store, ids: Sequence[int]) -> list[Session]:
    """The sessions with these ids; every one that is not archived when none is given.

    Raises:
        InputError: There is no such session, or there are none at all.
    """
    keys = list(dict.fromkeys(ids)) or sorted(summary.id for summary in store.sessions())
    if not keys:
        raise InputError(
            "there are no saved sessions.", hint="Make some: acs-assistant, or acs-assistant solve."
        )
    return [(store.session(key), store.turns(key)) for key in keys]


def plan_of(sessions: Sequence[Session], card: ModelCard, config: FromSessionsConfig) -> str:
    """What a run depends on; its output folder serves no other."""
    turns = {str(record.id): [turn.id for turn in turns] for record, turns in sessions}
    plan = {"model": card.sha256, "turns": turns, "settings": config.model_dump()}
    return json.dumps(plan, sort_keys=True)


def digest(plan: str) -> str:
    return hashlib.sha256(plan.encode()).hexdigest()[:8]


def train_from_sessions(
    sessions: Sequence[Session],
    card: ModelCard,
    config: FromSessionsConfig,
    simulator: Simulator,
    out: Path,
    *,
    may_adopt: bool = True,
    say: Say = lambda _: None,
) -> Outcome:
    """Runs every stage that ``out`` has no product of yet.

    Args:
        card: The model in use: where training starts, and what the new one is measured against.
        may_adopt: Make the new model the default when it is not worse.

    Raises:
        InputError: The sessions teach nothing, or ``out`` belongs to another run.
        ModelError: The model in use cannot be trained further.
    """
    plan = plan_of(sessions, card, config)
    _claim(out, plan)
    lessons = lessons_of(sessions, simulator)
    if not lessons.rights:
        raise InputError(
            "the sessions hold no sizing that was accepted or edited and then measured.",
            hint="Choose others: acs-assistant sessions list",
        )
    say(f"{len(lessons.rights)} right sizings, {len(lessons.preferences)} rejected ones")
    write_jsonl(out / "sessions" / "lessons.jsonl", lessons.records)
    grounds = grounds_of(lessons.rights, simulator, config.perturbations, config.seed)
    source = SessionTasks(grounds)

    start = out / "start" / "checkpoint"
    if not start.exists():
        model, tokenizer = import_gguf(card.path)
        save_checkpoint(start, model, tokenizer, None, Progress())
    imitated = _imitate(config, start, out)
    _, tokenizer = load_checkpoint(imitated)
    groups = [_group(tokenizer, preference) for preference in lessons.preferences]
    say("TL-GRPO on the circuits and specs of the sessions")
    trained = train_rl(
        "tl-grpo",
        _rl_config(config, imitated),
        simulator,
        out / "rl",
        resume=_begun(out / "rl"),
        source=source,
        lessons=groups,
    )
    name = f"{re.sub(r'-[0-9a-f]{8}$', '', card.name)}-{digest(plan)}"
    exported = out / f"{name}.gguf"
    kind: Literal["f16", "q8_0"] = "f16" if card.quantization == "F16" else "q8_0"
    export_gguf(trained, exported, kind, name, f"{card.name}, fine-tuned on saved sessions")

    draws = source.held_out(config.held_out, config.seed)
    say(f"Evaluation on {len(draws)} held-out draws: the model in use, then the new one")
    before = _standing(card.path, draws, simulator, config)
    after = _standing(exported, draws, simulator, config)
    outcome = Outcome(
        exported,
        len(sessions),
        len(lessons.rights),
        len(lessons.preferences),
        len(draws),
        before,
        after,
        "",
    )
    _describe(outcome, card, sessions)
    if may_adopt and outcome.not_worse:
        return replace(outcome, adopted=adopt(str(exported), name).name)
    return outcome


def _claim(out: Path, plan: str) -> None:
    """Writes the plan into a new folder, or checks that the folder is this run's."""
    file = out / "plan.json"
    if file.exists():
        if file.read_text(encoding="utf-8") != plan:
            raise InputError(
                "the folder holds a run on other sessions, another model or other settings.",
                hint="Give another folder with --out.",
                file=out,
            )
        return
    write_text(file, plan)


def _imitate(config: FromSessionsConfig, start: Path, out: Path) -> Path:
    recipe = SftConfig(
        start=str(start),
        data=str(out / "sessions"),
        seconds=config.sft_seconds,
        learning_rate=config.sft_rate,
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


def _group(tokenizer: Tokenizer, preference: Preference) -> Group:
    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(text, add_special_tokens=False).ids)

    advantages = group_advantages(np.array([[1.0, 0.0]]))[0]
    return Group(
        ids(preference.prompt), (ids(preference.better), ids(preference.worse)), advantages
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


def _describe(outcome: Outcome, card: ModelCard, sessions: Sequence[Session]) -> None:
    """The new model's card, beside it."""
    facts: dict[str, Any] = {
        "start": {"name": card.name, "sha256": card.sha256},
        "sessions": [record.id for record, _ in sessions],
        "right": outcome.right,
        "rejected": outcome.rejected,
        "held_out_draws": outcome.draws,
        "before": {"met_at": outcome.before.met_at, "reward": outcome.before.reward},
        "after": {"met_at": outcome.after.met_at, "reward": outcome.after.reward},
    }
    budget = max(outcome.after.met_at)
    text = (
        f"# {outcome.model.stem}\n\n"
        f"{card.name}, fine-tuned on {outcome.sessions} saved sessions with {outcome.right} right "
        f"and {outcome.rejected} rejected sizings. On {outcome.draws} held-out draws around them "
        f"it meets {outcome.after.met_at[budget]:.0%} within {budget} simulations; the model that "
        f"it started from meets {outcome.before.met_at[budget]:.0%}.\n"
    )
    write_text(outcome.model.with_suffix(".json"), json.dumps(facts, indent=2) + "\n")
    write_text(outcome.model.with_suffix(".md"), text)
