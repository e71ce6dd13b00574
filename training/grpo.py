"""GRPO over whole sessions, the baseline: G trajectories of T turns per task.

A trajectory is worth its best turn and every token of it carries the same advantage. Both methods
spend B·G simulations per round; a step of this one is T rounds.
"""

from __future__ import annotations

import numpy as np

from acs_assistant.llm.batch import BatchSampler
from acs_assistant.sim.port import Simulator
from acs_assistant.training.advantages import trajectory_advantages
from acs_assistant.training.config import RlConfig
from acs_assistant.training.policy import Group
from acs_assistant.training.rollout import History, play_turn
from acs_assistant.training.tl_grpo import Collected, DrawTask, sampling_of


class TrajectoryLevel:
    """Collects whole sessions, step by step."""

    def __init__(self, config: RlConfig, draw: DrawTask, rng: np.random.Generator) -> None:
        self._config = config
        self._draw = draw
        self._rng = rng

    def collect(self, sampler: BatchSampler, simulator: Simulator, seed: int) -> Collected:
        config = self._config
        tasks = [self._draw(self._rng) for _ in range(config.tasks)]
        repeated = [task for task in tasks for _ in range(config.group)]
        histories: list[History] = [() for _ in repeated]
        rewards = np.zeros((len(tasks), config.group, config.turns))
        drawn: list[list[tuple[tuple[int, ...], tuple[int, ...]]]] = []
        for turn in range(config.turns):
            sampling = sampling_of(config, seed * config.turns + turn)
            played = play_turn(repeated, histories, sampler, simulator, sampling, 1)
            attempts = [attempt for (attempt,) in played]
            rewards[:, :, turn] = np.array([a.reward for a in attempts]).reshape(len(tasks), -1)
            drawn.append([(tuple(sampler.tokens(a.prompt)), a.sample.tokens) for a in attempts])
            histories = [(*h, a.turn) for h, a in zip(histories, attempts, strict=True)]
        advantages = trajectory_advantages(rewards, config.normalise)
        groups = [
            Group(prompt, (response,), advantages[i // config.group, i % config.group, turn, None])
            for turn, responses in enumerate(drawn)
            for i, (prompt, response) in enumerate(responses)
        ]
        turns = np.full(len(tasks), config.turns)
        return Collected(groups, rewards.reshape(len(tasks), -1), turns, rewards.size)
