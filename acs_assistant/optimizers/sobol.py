"""A scrambled Sobol sequence: the baseline that never learns, and the others' first points."""

from __future__ import annotations

from collections.abc import Iterator

from acs_assistant.domain import Evaluation, Sizing, Task
from acs_assistant.optimizers.space import DesignSpace


def sobol_points(dimension: int, seed: int) -> Iterator[tuple[float, ...]]:
    """Owen-scrambled Sobol points in the unit cube, without end (``scipy.stats.qmc``)."""
    from scipy.stats import qmc

    sequence = qmc.Sobol(dimension, scramble=True, rng=seed)
    while True:
        # A power of two at a time keeps the balance of the sequence.
        yield from (tuple(float(x) for x in point) for point in sequence.random(64))


class SobolOptimizer:
    """Space-filling proposals; what it is told changes nothing."""

    name = "sobol"

    def __init__(self, task: Task, seed: int) -> None:
        self._space = DesignSpace(task.circuit)
        self._points = sobol_points(self._space.dimension, seed)

    def ask(self) -> Sizing:
        return self._space.from_unit(next(self._points))

    def tell(self, sizing: Sizing, evaluation: Evaluation) -> None:
        del sizing, evaluation
