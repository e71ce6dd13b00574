"""One simulation of the budget, and how turns are ranked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from acs_assistant.cancel import CancelToken
from acs_assistant.domain import Evaluation, Measurement, Sizing, Task, Turn
from acs_assistant.scoring import score
from acs_assistant.sim.port import SimulationRequest, Simulator


def evaluate(
    task: Task,
    sizing: Sizing,
    simulator: Simulator,
    cancel: CancelToken | None = None,
    *,
    waveforms: bool = False,
) -> Evaluation:
    """Simulates one sizing at every corner of the task, in parallel, and scores the worst.

    Args:
        waveforms: Keep the vectors of the first corner, for plots.

    Raises:
        InputError: The sizing is not one of this circuit.
        SimulatorError, PdkError: ngspice or the device models are missing.
        CancelledError: The token was cancelled.
    """
    snapped = task.circuit.snap(sizing)
    requests = [
        SimulationRequest(
            task.circuit,
            snapped,
            replace(task.conditions, corner=corner),
            waveforms=waveforms and position == 0,
        )
        for position, corner in enumerate(task.corners)
    ]
    measurements: Sequence[Measurement]
    if len(requests) == 1:
        measurements = [simulator.simulate(requests[0], cancel)]
    else:
        done = dict(simulator.map(requests, cancel))
        measurements = [done[position] for position in range(len(requests))]
    return Evaluation(tuple(measurements), score(task.specs, measurements))


def worst_metrics(evaluation: Evaluation) -> dict[str, float]:
    """The metrics at the first corner; those that a spec asks for at their worst one."""
    judged = {r.spec.metric: r.value for r in evaluation.score.specs if r.value is not None}
    return {**evaluation.nominal.metrics, **judged}


def rescored(turns: Iterable[Turn], task: Task) -> list[Turn]:
    """The turns as they would score under the task's specs; nothing is simulated."""
    return [
        turn
        if turn.evaluation is None or turn.specs == task.specs
        else replace(
            turn,
            evaluation=replace(
                turn.evaluation, score=score(task.specs, turn.evaluation.measurements)
            ),
        )
        for turn in turns
    ]


def best_turn(turns: Iterable[Turn], task: Task) -> Turn | None:
    """The simulated turn that ranks first under the task's specs, scored against them.

    Highest score; among sizings that meet every spec the circuit's objective decides; the earliest
    of equals.
    """
    candidates = [turn for turn in rescored(turns, task) if turn.evaluation is not None]
    return max(candidates, key=lambda turn: rank(turn, task), default=None)


def rank(turn: Turn, task: Task) -> tuple[bool, float, float, int]:
    """Sorts turns: met, score, objective, age."""
    evaluation, objective = turn.evaluation, task.circuit.objective
    if evaluation is None:
        return (False, -1.0, 0.0, -turn.id)
    reached = 0.0
    if objective is not None and evaluation.score.met:
        value = evaluation.nominal.metrics.get(objective.metric)
        if value is None:
            reached = float("-inf")
        else:
            reached = value if objective.goal == "maximize" else -value
    return (evaluation.score.met, evaluation.score.value, reached, -turn.id)
