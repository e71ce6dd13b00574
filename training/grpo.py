"""GRPO over whole sessions, the baseline: G trajectories of T turns per task.

A trajectory is worth its best turn and every token of it carries the same advantage. Both methods
spend B·G simulations per round; a step of this one is T rounds.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from acs_assistant.llm.port import Sample
from acs_assistant.sim.port import Simulator
from acs_assistant.training.advantages import trajectory_advantages
from acs_assistant.training.config import RlConfig
from acs_assistant.training.policy import Group
from acs_assistant.training.rollout import (
    Attempt,
    GroupSampler,
    History,
    Render,
    own_prompt,
    play_turn,
)
from acs_assistant.training.tl_grpo import Collected, TaskSource, collected, sampling_of

Tokens = tuple[int, ...]


class TrajectoryLevel:
    """Collects whole sessions, step by step."""

    def __init__(self, config: RlConfig, source: TaskSource, render: Render = own_prompt) -> None:
        self._config = config
        self._source = source
        self._render = render

    def collect(self, sampler: GroupSampler, simulator: Simulator, step: int) -> Collected:
        config = self._config
        rng = np.random.default_rng([config.seed, step])
        tasks = [self._source.draw(rng) for _ in range(config.tasks)]
        repeated = [task for task in tasks for _ in range(config.group)]
        histories: list[History] = [() for _ in repeated]
        # A trajectory that has outgrown the context stays at what it reached.
        rewards = np.full((len(repeated), config.turns), -np.inf)
        drawn: list[tuple[int, Attempt]] = []
        for turn in range(config.turns):
            seed = (config.seed * 10000 + step) * config.turns + turn
            sampling = sampling_of(config, seed)
            played = play_turn(
                repeated, histories, sampler, simulator, sampling, 1, self._render, drafts=True
            )
            for row, attempts in enumerate(played):
                for attempt in attempts:
                    rewards[row, turn] = attempt.reward
                    histories[row] = (*histories[row], attempt.turn)
                    drawn.append((row, attempt))
        shape = (len(tasks), config.group, config.turns)
        worth = trajectory_advantages(rewards.reshape(shape), config.normalise)[:, :, 0].ravel()
        responses: dict[Tokens, list[tuple[Sample, float]]] = defaultdict(list)
        for row, attempt in drawn:
            responses[attempt.prompt].append((attempt.sample, float(worth[row])))
        groups = [
            Group.of(prompt, [sample for sample, _ in pairs], np.array([w for _, w in pairs]))
            for prompt, pairs in responses.items()
        ]
        return collected(groups, [attempt for _, attempt in drawn])

    def state(self) -> str:
        """Every step begins new sessions: nothing is carried over."""
        return ""

    def restore(self, state: str) -> None:
        pass
