"""What is said about a turn when the model has no words of its own."""

from __future__ import annotations

from dataclasses import replace

from acs_assistant.domain import Decision, Proposal, Turn
from acs_assistant.engine.account import account
from acs_assistant.engine.evaluate import evaluate
from tests.engine.parts import TASK, ToySimulator

CIRCUIT, SPECS = TASK.circuit, TASK.specs


def simulated(number: int, parent: int | None, w_in: float, i_bias: float) -> Turn:
    sizing = {"w_in": w_in, "i_bias": i_bias}
    evaluation = evaluate(TASK, sizing, ToySimulator())
    return Turn(
        number, parent, number, Proposal(sizing, "model"), Decision("accepted", sizing),
        evaluation, SPECS,
    )  # fmt: skip


def waiting(number: int, parent: int | None, w_in: float, **predictions: float) -> Turn:
    proposal = Proposal({"w_in": w_in, "i_bias": 25e-6}, "model", predictions=predictions)
    return Turn(number, parent, number, proposal, None, None, SPECS)


def test_a_proposal_is_held_against_the_last_measurement() -> None:
    first = simulated(1, None, 10e-6, 25e-6)
    assert first.evaluation is not None
    before = first.evaluation.nominal.metrics
    turn = waiting(2, 1, 20e-6, gbw=2 * before["gbw"], power=1.5 * before["power"])
    told = account(CIRCUIT, SPECS, [first, turn])
    assert "w_in 10u → 20u (M1, M2)" in told and "i_bias" not in told
    assert "It expects gbw" in told
    better, worse = told.index(" better"), told.index(" worse")
    assert told.index("gbw") < better < told.index("power") < worse
    assert "is expected to have the least room" in told


def test_a_measured_turn_tells_what_was_foretold_and_what_is_tight() -> None:
    first, second = simulated(1, None, 10e-6, 25e-6), simulated(2, 1, 20e-6, 25e-6)
    assert second.evaluation is not None
    metrics = second.evaluation.nominal.metrics
    foretold = {"gbw": metrics["gbw"], "power": 2 * metrics["power"]}
    second = replace(second, proposal=replace(second.proposal, predictions=foretold))
    told = account(CIRCUIT, SPECS, [first, second])
    assert "It measured gbw" in told and "foretold 1 of 2 metrics" in told
    assert "has the least room" in told
    device = min(second.evaluation.nominal.devices, key=lambda d: d.vds - d.vdsat, default=None)
    assert device is None or f"{device.name} is nearest to leaving saturation" in told


def test_a_first_proposal_has_nothing_to_be_compared_with() -> None:
    told = account(CIRCUIT, SPECS, [waiting(1, None, 10e-6)])
    assert "first sizing of its branch" in told and "better" not in told and "room" not in told
