"""A circuit's parameters as a unit cube, and a simulation's outcome as an optimizer's numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from acs_assistant.domain import Circuit, Evaluation, Sizing, SpecResult, Task


class DesignSpace:
    """The unit cube of a circuit's parameters; a log-scaled parameter walks in its logarithm."""

    def __init__(self, circuit: Circuit) -> None:
        self._parameters = circuit.parameters
        self.names: tuple[str, ...] = tuple(p.name for p in circuit.parameters)

    @property
    def dimension(self) -> int:
        return len(self._parameters)

    def to_unit(self, sizing: Sizing) -> tuple[float, ...]:
        """Coordinates in [0, 1], in the circuit's order of parameters."""
        return tuple(min(max(p.to_unit(sizing[p.name]), 0.0), 1.0) for p in self._parameters)

    def from_unit(self, position: Sequence[float]) -> dict[str, float]:
        """The sizing on the grid that is nearest to ``position``."""
        return {
            p.name: p.from_unit(float(x)) for p, x in zip(self._parameters, position, strict=True)
        }


MODEL_MARGIN = 0.005
"""Aimed for beyond each spec by a surrogate of the constraints, about 1 % of a target.

A deterministic surrogate learns the boundary so well that it proposes points on it, and the
manufacturing grid then moves them across: without this the same miss by 0.01 % comes for ever.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a black-box optimizer learns from one simulation. Everything is to be minimised.

    Attributes:
        constraints: One per spec, at most 0 when the spec is met: the signed margin, negated and
            divided by ``|target| + |value|``, so it lies in [-1, 1] and its positive part is the
            shortfall of the score. Times the spec's weight over the mean weight. 1 when the metric
            is missing or the simulation failed: failure is the worst outcome, not a lost sample.
        loss: One figure for optimizers without constraints: ``1 - score`` until the specs are met,
            then below 0 and ordered by the objective.
        objective: The circuit's objective to be minimised, as a logarithm when it is positive; None
            without an objective or when it was not measured.
    """

    met: bool
    constraints: tuple[float, ...]
    loss: float
    objective: float | None

    @property
    def worst_constraint(self) -> float:
        """At most 0 when everything is met; how far inside the specs the sizing is."""
        return max(self.constraints, default=0.0)

    def tightened(self) -> tuple[float, ...]:
        """The constraints, each harder by ``MODEL_MARGIN``."""
        return tuple(c + MODEL_MARGIN for c in self.constraints)


def outcome(task: Task, evaluation: Evaluation) -> Outcome:
    """Reads an evaluation of ``task`` as an optimizer does."""
    score = evaluation.score
    mean_weight = sum(r.spec.weight for r in score.specs) / max(len(score.specs), 1) or 1.0
    constraints = tuple(
        (1.0 if evaluation.status == "failed" else _constraint(r)) * r.spec.weight / mean_weight
        for r in score.specs
    )
    objective = _objective(task, evaluation)
    loss = 1.0 - score.value
    if score.met:
        # A squash keeps every met sizing below every unmet one and the order among them.
        loss = -1.0 if objective is None else -1.0 / (1.0 + math.exp(objective / 8.0))
    return Outcome(score.met, constraints, loss, objective)


def _constraint(result: SpecResult) -> float:
    if result.value is None or result.margin is None:
        return 1.0
    if not result.met:
        return result.shortfall
    size = abs(result.spec.target) + abs(result.value)
    return -min(result.margin / size, 1.0) if size else 0.0


def _objective(task: Task, evaluation: Evaluation) -> float | None:
    wanted = task.circuit.objective
    if wanted is None or evaluation.status == "failed":
        return None
    value = evaluation.nominal.metrics.get(wanted.metric)
    if value is None or not math.isfinite(value):
        return None
    figure = math.log(value) if value > 0 else value
    return figure if wanted.goal == "minimize" else -figure
