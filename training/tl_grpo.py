"""TL-GRPO (arXiv 2601.16480): a group of proposals at every turn, from the same history.

Each of B slots holds one task and its history. A step draws G proposals in every slot, simulates
them, and learns from the differences inside each slot's group; then one of them goes into the
history. A slot whose session is met or has had its T turns begins a new task, so every step spends
B·G simulations and no turn waits for another slot's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from acs_assistant.domain import Task
from acs_assistant.llm.batch import BatchSampler
from acs_assistant.llm.port import Sampling
from acs_assistant.sim.port import Simulator
from acs_assistant.training.advantages import group_advantages
from acs_assistant.training.config import RlConfig
from acs_assistant.training.policy import Group
from acs_assistant.training.rollout import Attempt, History, best, play_turn

DrawTask = Callable[[np.random.Generator], Task]


@dataclass(slots=True)
class Slot:
    task: Task
    history: History = ()


@dataclass(frozen=True, slots=True)
class Collected:
    """What a step drew: groups to learn from, and figures to log."""

    groups: list[Group]
    rewards: np.ndarray
    turns: np.ndarray
    simulations: int


class TurnLevel:
    """Collects turn-level groups, step by step."""

    def __init__(self, config: RlConfig, draw: DrawTask, rng: np.random.Generator) -> None:
        self._config = config
        self._draw = draw
        self._rng = rng
        self._slots = [Slot(draw(rng)) for _ in range(config.tasks)]

    def collect(self, sampler: BatchSampler, simulator: Simulator, seed: int) -> Collected:
        played = play_turn(
            [slot.task for slot in self._slots],
            [slot.history for slot in self._slots],
            sampler,
            simulator,
            sampling_of(self._config, seed),
            self._config.group,
        )
        rewards = np.array([[a.reward for a in attempts] for attempts in played])
        advantages = group_advantages(rewards, self._config.normalise)
        groups = [
            group_of(sampler, attempts, row)
            for attempts, row in zip(played, advantages, strict=True)
        ]
        turns = np.array([len(slot.history) + 1 for slot in self._slots])
        for slot, attempts in zip(self._slots, played, strict=True):
            self._continue(slot, attempts)
        return Collected(groups, rewards, turns, rewards.size)

    def _continue(self, slot: Slot, attempts: Sequence[Attempt]) -> None:
        if self._config.continue_with == "best":
            chosen = best(attempts)
        else:
            chosen = attempts[int(self._rng.integers(len(attempts)))]
        evaluation = chosen.turn.evaluation
        slot.history = (*slot.history, chosen.turn)
        ended = len(slot.history) >= self._config.turns
        if ended or (evaluation is not None and evaluation.score.met):
            slot.task, slot.history = self._draw(self._rng), ()


def sampling_of(config: RlConfig, seed: int) -> Sampling:
    return Sampling(temperature=config.temperature, max_tokens=config.max_tokens, seed=seed)


def group_of(sampler: BatchSampler, attempts: Sequence[Attempt], advantages: np.ndarray) -> Group:
    prompt = tuple(sampler.tokens(attempts[0].prompt))
    return Group(prompt, tuple(a.sample.tokens for a in attempts), advantages)
