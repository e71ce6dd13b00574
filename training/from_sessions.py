"""Fine-tuning on saved sessions: what they taught, and tasks around theirs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from acs_assistant.domain import Turn
from acs_assistant.errors import InputError
from acs_assistant.llm import ModelCard
from acs_assistant.sim.port import Simulator
from acs_assistant.storage.records import SessionRecord
from acs_assistant.storage.store import Store
from acs_assistant.training.advantages import group_advantages
from acs_assistant.training.config import FromSessionsConfig
from acs_assistant.training.data import write_jsonl
from acs_assistant.training.lessons import Preference, SessionTasks, grounds_of, lessons_of
from acs_assistant.training.policy import Group
from acs_assistant.training.tuning import SESSIONS, Lesson, Outcome, Say, claim, tune

Session = tuple[SessionRecord, list[Turn]]


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
    claim(out, plan)
    lessons = lessons_of(sessions, simulator)
    if not lessons.rights:
        raise InputError(
            "the sessions hold no sizing that was accepted or edited and then measured.",
            hint="Choose others: acs-assistant sessions list",
        )
    say(f"{len(lessons.rights)} right sizings, {len(lessons.preferences)} rejected ones")
    write_jsonl(out / SESSIONS / "lessons.jsonl", lessons.records)
    grounds = grounds_of(lessons.rights, simulator, config.perturbations, config.seed)
    right, rejected = len(lessons.rights), len(lessons.preferences)
    lesson = Lesson(
        f"{len(sessions)} saved sessions with {right} right and {rejected} rejected sizings",
        len(sessions),
        right,
        rejected,
        {"sessions": [record.id for record, _ in sessions]},
    )
    return tune(
        plan,
        card,
        config,
        simulator,
        out,
        SessionTasks(grounds),
        lesson,
        groups=lambda tokenizer: [_group(tokenizer, p) for p in lessons.preferences],
        may_adopt=may_adopt,
        say=say,
    )


def _group(tokenizer: Tokenizer, preference: Preference) -> Group:
    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(text, add_special_tokens=False).ids)

    advantages = group_advantages(np.array([[1.0, 0.0]]))[0]
    return Group(
        ids(preference.prompt), (ids(preference.better), ids(preference.worse)), advantages
    )
