"""TL-GRPO (arXiv 2601.16480): a group of proposals at every turn, from the same history.

Each of B slots holds one task and its history. A step draws G proposals in every slot, simulates
them, and learns from the differences inside each slot's group; then one of them goes into the
history. A slot whose session is met, has had its T turns or has outgrown the model's context begins
a new task, so every step spends B·G simulations and no turn waits for another slot's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from acs_assistant.domain import Circuit, Conditions, Corner, Spec, Task, Turn
from acs_assistant.llm.port import Sampling
from acs_assistant.sim.port import Simulator
from acs_assistant.training.advantages import group_advantages
from acs_assistant.training.config import RlConfig
from acs_assistant.training.policy import Group
from acs_assistant.training.rollout import (
    Attempt,
    GroupSampler,
    History,
    Render,
    best,
    own_prompt,
    play_turn,
)


class TaskSource(Protocol):
    """Where training tasks come from."""

    @property
    def circuits(self) -> Sequence[Circuit]: ...

    def draw(self, rng: np.random.Generator) -> Task: ...


@dataclass(frozen=True, slots=True)
class Collected:
    """What a step drew: groups to learn from, and figures to log, one per response.

    Attributes:
        rewards: (N,) rewards.
        met: (N,) whether every spec was met.
        turns: (N,) number of the turn, from 1.
        simulations: Sizings that were simulated; an invalid call is none.
    """

    groups: list[Group]
    rewards: NDArray[np.float64]
    met: NDArray[np.bool_]
    turns: NDArray[np.int64]
    simulations: int


class Collector(Protocol):
    """GRPO or TL-GRPO, as the training loop sees it."""

    def collect(self, sampler: GroupSampler, simulator: Simulator, step: int) -> Collected:
        """Plays one step. The same state and step number draw the same."""
        ...

    def state(self) -> str:
        """What the next step depends on besides its number, as text for the checkpoint."""
        ...

    def restore(self, state: str) -> None: ...


@dataclass(slots=True)
class _Slot:
    task: Task
    history: History = ()


@dataclass(frozen=True, slots=True)
class _StoredSlot:
    """A slot in a checkpoint; ``circuit`` is its place among the source's."""

    circuit: int
    specs: tuple[Spec, ...]
    conditions: Conditions
    corners: tuple[Corner, ...]
    history: tuple[Turn, ...]


class TurnLevel:
    """Collects turn-level groups, step by step."""

    def __init__(self, config: RlConfig, source: TaskSource, render: Render = own_prompt) -> None:
        self._config = config
        self._source = source
        self._render = render
        self._slots: list[_Slot] = []

    def collect(self, sampler: GroupSampler, simulator: Simulator, step: int) -> Collected:
        config = self._config
        rng = np.random.default_rng([config.seed, step])
        while len(self._slots) < config.tasks:
            self._slots.append(_Slot(self._source.draw(rng)))
        played = play_turn(
            [slot.task for slot in self._slots],
            [slot.history for slot in self._slots],
            sampler,
            simulator,
            sampling_of(config, config.seed * 10000 + step),
            config.group,
            self._render,
            drafts=True,
        )
        groups = [turn_group(attempts, config.normalise) for attempts in played if attempts]
        drawn = collected(groups, [attempt for attempts in played for attempt in attempts])
        for slot, attempts in zip(self._slots, played, strict=True):
            self._continue(slot, attempts, rng)
        return drawn

    def _continue(self, slot: _Slot, attempts: Sequence[Attempt], rng: np.random.Generator) -> None:
        if attempts:
            # An invalid call leaves no trace in the conversation: it would waste the turn.
            worth_it = [attempt for attempt in attempts if attempt.valid] or attempts
            if self._config.continue_with == "best":
                chosen = best(worth_it)
            else:
                chosen = worth_it[int(rng.integers(len(worth_it)))]
            slot.history = (*slot.history, chosen.turn)
            if len(slot.history) < self._config.turns and not chosen.met:
                return
        slot.task, slot.history = self._source.draw(rng), ()

    def state(self) -> str:
        circuits = list(self._source.circuits)
        stored = [
            _StoredSlot(
                circuits.index(slot.task.circuit),
                slot.task.specs,
                slot.task.conditions,
                slot.task.corners,
                slot.history,
            )
            for slot in self._slots
        ]
        return json.dumps([asdict(slot) for slot in stored])

    def restore(self, state: str) -> None:
        stored = TypeAdapter(list[_StoredSlot]).validate_python(json.loads(state))
        circuits = self._source.circuits
        self._slots = [
            _Slot(Task(circuits[s.circuit], s.specs, s.conditions, s.corners), s.history)
            for s in stored
        ]


def sampling_of(config: RlConfig, seed: int) -> Sampling:
    return Sampling(temperature=config.temperature, max_tokens=config.max_tokens, seed=seed)


def turn_group(attempts: Sequence[Attempt], normalise: bool) -> Group:
    """Attempts from one history, each worth its reward against the others."""
    rewards = np.array([[attempt.reward for attempt in attempts]])
    samples = [attempt.sample for attempt in attempts]
    return Group.of(attempts[0].prompt, samples, group_advantages(rewards, normalise)[0])


def collected(groups: list[Group], attempts: Sequence[Attempt]) -> Collected:
    return Collected(
        groups,
        np.array([attempt.reward for attempt in attempts]),
        np.array([attempt.met for attempt in attempts]),
        np.array([attempt.turn.index for attempt in attempts]),
        sum(attempt.valid for attempt in attempts),
    )
