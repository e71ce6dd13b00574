from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acs_assistant.domain import Evaluation, Measurement, Objective, Spec, Task
from acs_assistant.optimizers.space import DesignSpace, outcome
from acs_assistant.scoring import score, shortfall
from tests.optimizers.toy import toy_circuit, toy_task

CIRCUIT = toy_circuit()


def evaluation(task: Task, **metrics: float) -> Evaluation:
    measurements = (Measurement("ok", metrics, conditions=task.conditions),)
    return Evaluation(measurements, score(task.specs, measurements))


@given(st.lists(st.floats(0, 1), min_size=9, max_size=9))
def test_unit_cube_round_trip_stays_on_the_grid(position: list[float]) -> None:
    space = DesignSpace(CIRCUIT)
    sizing = space.from_unit(position)
    assert CIRCUIT.snap(sizing) == sizing
    assert space.from_unit(space.to_unit(sizing)) == sizing


@given(st.floats(1e5, 1e9))
def test_a_constraint_is_the_shortfall_or_the_room_left(value: float) -> None:
    spec = Spec("gbw", ">=", 1e7)
    task = replace(toy_task(), specs=(spec,))
    (constraint,) = outcome(task, evaluation(task, gbw=value)).constraints
    if value < 1e7:
        assert constraint == pytest.approx(shortfall(spec, value))
    else:
        assert constraint == pytest.approx(-(value - 1e7) / (value + 1e7))


def test_weights_scale_constraints_as_they_scale_the_score() -> None:
    task = replace(toy_task(), specs=(Spec("gbw", ">=", 2e7, 3.0), Spec("dc_gain", ">=", 80, 1.0)))
    result = outcome(task, evaluation(task, gbw=1e7, dc_gain=60))
    assert sum(result.constraints) / 2 == pytest.approx(result.loss)


def test_loss_orders_unmet_by_score_and_met_by_objective() -> None:
    task = replace(toy_task(), specs=(Spec("gbw", ">=", 1e7),))
    far, near, met, better = (
        outcome(task, evaluation(task, gbw=gbw, power=power)).loss
        for gbw, power in ((1e6, 1e-6), (9e6, 1e-6), (1e7, 1e-3), (1e7, 1e-4))
    )
    assert far > near > 0 > met > better


def test_maximised_and_negative_objectives() -> None:
    circuit = replace(toy_circuit(), objective=Objective("dc_gain", "maximize"))
    task = Task(circuit, (Spec("gbw", ">=", 1e7),), circuit.conditions)
    losses = [
        outcome(task, evaluation(task, gbw=2e7, dc_gain=gain)).loss for gain in (80.0, 60.0, -5.0)
    ]
    assert losses == sorted(losses)


def test_failure_and_missing_metrics_are_the_worst_outcome() -> None:
    task = toy_task()
    measurements = (Measurement("failed", {"gbw": 1e9}, conditions=task.conditions),)
    result = outcome(task, Evaluation(measurements, score(task.specs, measurements)))
    assert result.constraints == (1.0,) * len(task.specs)
    assert result.loss == 1.0
    assert outcome(task, evaluation(task, gbw=1e9)).constraints[0] == 1.0
