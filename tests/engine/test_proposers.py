from __future__ import annotations

from dataclasses import replace

import pytest

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.domain import Decision, Proposal, Sizing, Task, Turn
from acs_assistant.engine.evaluate import evaluate
from acs_assistant.engine.proposers import ModelProposer, Prompted, SamplingPolicy
from acs_assistant.errors import ModelError
from acs_assistant.events import TextDelta
from acs_assistant.prompting.history import select
from tests.engine.parts import SHORT, TASK, ScriptedModel, ToySimulator, call

WIDE = {"w_in": "50u", "i_bias": "25u"}
SMALL = {"w_in": "10u", "i_bias": "25u"}


def propose(
    model: ScriptedModel,
    turns: list[Turn] | None = None,
    avoid: list[Sizing] | None = None,
    policy: SamplingPolicy | None = None,
    task: Task = TASK,
) -> tuple[list[TextDelta | Prompted], Proposal]:
    *items, last = ModelProposer(model, policy).propose(
        task, turns or [], 7, CancelToken(), avoid or []
    )
    assert isinstance(last, Proposal)
    return items, last


def test_text_streams_and_the_call_becomes_a_sizing() -> None:
    model = ScriptedModel([call(WIDE, "I expect gbw 14meg.")])
    items, proposal = propose(model)
    assert isinstance(items[0], Prompted) and items[0].messages == model.calls[0][0]
    told = "".join(i.text for i in items if isinstance(i, TextDelta) and i.channel == "reasoning")
    assert told.strip() == "I expect gbw 14meg."
    called = "".join(i.text for i in items if isinstance(i, TextDelta) and i.channel == "call")
    assert '"w_in": "50u"' in called
    assert proposal.sizing == {"w_in": 50e-6, "i_bias": 25e-6}
    assert proposal.predictions == {"gbw": 14e6}
    assert proposal.raw == call(WIDE, "I expect gbw 14meg.")
    assert model.calls[0][2], "the call is constrained by the circuit's grammar"


def test_the_first_proposal_is_greedy_and_later_ones_are_drawn() -> None:
    model = ScriptedModel([call(WIDE)])
    propose(model)
    turn = Turn(1, None, 1, Proposal(SHORT, "model"), None, None, TASK.specs)
    propose(model, [turn])
    assert [sampling.temperature for _, sampling, _ in model.calls] == [0.0, 0.6]


def test_a_repeat_is_drawn_again_and_hotter() -> None:
    model = ScriptedModel([call(SMALL), call(SMALL), call(WIDE)])
    items, proposal = propose(model, avoid=[SHORT])
    assert proposal.sizing["w_in"] == 50e-6
    temperatures = [sampling.temperature for _, sampling, _ in model.calls]
    assert temperatures == sorted(temperatures) and len(set(temperatures)) == 3
    assert len({sampling.seed for _, sampling, _ in model.calls}) == 3
    assert sum(isinstance(item, Prompted) for item in items) == 3


def test_a_model_that_only_repeats_is_believed_in_the_end() -> None:
    model = ScriptedModel([call(SMALL)])
    _, proposal = propose(model, avoid=[SHORT], policy=SamplingPolicy(resamples=2))
    assert proposal.sizing == SHORT and not proposal.error
    assert len(model.calls) == 3


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("I do not know.", "no complete tool call"),
        (call({"w_in": "50u"}), "i_bias"),
        (call({**WIDE, "w_in": "1"}), "out of bounds"),
        (call({**WIDE, "w_inn": "1u"}), "Did you mean 'w_in'"),
    ],
)
def test_what_cannot_be_used_is_an_outcome_with_a_reason(text: str, error: str) -> None:
    _, proposal = propose(ScriptedModel([text]))
    assert error in proposal.error
    assert proposal.sizing == {} and proposal.raw == text


def test_a_usable_draw_replaces_an_unusable_one() -> None:
    _, proposal = propose(ScriptedModel(["hm", call(WIDE)]))
    assert proposal.error == "" and proposal.sizing["w_in"] == 50e-6


def test_a_repeat_is_better_than_nonsense() -> None:
    _, proposal = propose(ScriptedModel([call(SMALL), "hm", "hm"]), avoid=[SHORT])
    assert proposal.sizing == SHORT


def test_cancel_stops_the_stream() -> None:
    cancel = CancelToken()
    stream = ModelProposer(ScriptedModel([call(WIDE)])).propose(TASK, [], 1, cancel)
    next(stream)
    next(stream)
    cancel.cancel()
    with pytest.raises(CancelledError):
        list(stream)


def test_evaluate_snaps_what_it_simulates() -> None:
    simulator = ToySimulator()
    evaluate(TASK, {"w_in": 10.004e-6, "i_bias": 25e-6}, simulator)
    assert simulator.requests[0].sizing == {"w_in": 10e-6, "i_bias": 25e-6}


class Forgetful(ScriptedModel):
    """A model whose context holds one turn."""

    def stream(self, messages, *args, **kwargs):  # type: ignore[no-untyped-def]
        if len(messages) > 4:
            raise ModelError("the conversation does not fit into the model's context.")
        return super().stream(messages, *args, **kwargs)


def past(count: int) -> list[Turn]:
    """Simulated turns, the second of them the best."""
    simulator, turns = ToySimulator(), []
    for number in range(1, count + 1):
        sizing = {"w_in": (40e-6 if number == 2 else 10e-6 + number * 1e-7), "i_bias": 25e-6}
        evaluation = evaluate(TASK, sizing, simulator)
        decision = Decision("accepted", sizing)
        turns.append(
            Turn(
                number,
                None,
                number,
                Proposal(sizing, "model", reasoning="?"),
                decision,
                evaluation,
                TASK.specs,
            )
        )
    return turns


def test_a_long_past_is_told_by_its_best_and_latest_turns() -> None:
    turns = past(9)
    invalid = Turn(10, None, 10, Proposal({}, "model", error="?"), Decision("invalid"))
    shown = select([*turns, invalid], 3)
    assert [turn.id for turn in shown] == [8, 9, 2]
    assert [turn.index for turn in shown] == [1, 2, 3]
    assert not any(turn.proposal.reasoning for turn in shown)
    assert [turn.id for turn in select(turns[:2], 3)] == [1, 2]
    assert select(turns, 0) == turns


def test_the_best_turn_stands_last_but_for_what_was_rejected_after_it() -> None:
    turns = past(4)
    rejected = replace(turns[3], id=5, decision=Decision("rejected"), evaluation=None)
    assert [turn.id for turn in select([*turns, rejected], 4)] == [3, 4, 2, 5]


def test_turns_keep_their_time_while_the_specs_change() -> None:
    turns = past(3)
    turns[2] = replace(turns[2], specs=TASK.specs[:1])
    assert [turn.id for turn in select(turns, 4)] == [1, 2, 3]


def test_a_past_that_does_not_fit_is_shortened() -> None:
    model = Forgetful([call(WIDE)])
    items, proposal = propose(model, past(6))
    assert not proposal.error
    prompted = [item for item in items if isinstance(item, Prompted)]
    assert len(prompted[0].messages) > 4 and prompted[-1].messages == model.calls[-1][0]
