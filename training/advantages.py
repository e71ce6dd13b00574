"""Group-relative advantages (arXiv 2402.03300, equation 1; per turn in arXiv 2601.16480)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_EPSILON = 1e-4


def group_advantages(rewards: FloatArray, normalise: bool = True) -> FloatArray:
    """(groups, G) rewards to advantages: reward minus group mean, over group std + ε.

    The standard deviation is the sample's (n − 1), as in TRL. A group of equal rewards gives
    exactly zero: it says nothing of which member was better.
    """
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    equal = np.ptp(rewards, axis=1, keepdims=True) == 0
    centred = np.where(equal, 0.0, centred)
    if not normalise or rewards.shape[1] < 2:
        return centred
    return np.asarray(centred / (rewards.std(axis=1, ddof=1, keepdims=True) + _EPSILON))


def turn_advantages(rewards: FloatArray, normalise: bool = True) -> FloatArray:
    """TL-GRPO: (tasks, turns, G) rewards of G proposals drawn from the same history at each turn.

    Each turn of each task is a group of its own.
    """
    tasks, turns, size = rewards.shape
    flat = group_advantages(rewards.reshape(tasks * turns, size), normalise)
    return flat.reshape(tasks, turns, size)


def trajectory_advantages(rewards: FloatArray, normalise: bool = True) -> FloatArray:
    """GRPO: (tasks, G, turns) rewards of G whole trajectories of a task.

    A trajectory is worth its best turn, and every token of it carries the same advantage.
    """
    best = group_advantages(rewards.max(axis=2), normalise)
    return np.repeat(best[:, :, None], rewards.shape[2], axis=2)
