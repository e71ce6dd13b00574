from __future__ import annotations

from dataclasses import replace

from acs_assistant.domain import Decision, Proposal, Turn
from acs_assistant.engine.evaluate import evaluate
from acs_assistant.engine.rules import rules
from acs_assistant.prompting.parse import decided_sizes
from acs_assistant.prompting.render import PROMPT_VERSION
from tests.engine.parts import TASK, ToySimulator

CIRCUIT = TASK.circuit


def turn(number: int, w_in: float) -> Turn:
    sizing = {"w_in": w_in, "i_bias": 25e-6}
    evaluation = evaluate(TASK, sizing, ToySimulator())
    decision = Decision("accepted", sizing)
    return Turn(number, None, number, Proposal(sizing, "model"), decision, evaluation, TASK.specs)


def test_the_call_holds_what_the_reasoning_takes() -> None:
    held = rules(TASK, [])
    call = held.rest("<think>\nTake w_in 24.6u. Expect gain 40.0.\n</think>\n")
    assert '"24.6u"' in call and '\\"i_bias\\": \\"" v1' in call


def test_a_change_keeps_the_other_sizes() -> None:
    held = rules(TASK, [turn(1, 10e-6)])
    call = held.rest("<think>\nSo raise w_in from 10.0u to 12.5u. Expect gain to rise.\n</think>\n")
    assert '"12.5u"' in call and '"25.0u"' in call and "v0" not in call


def test_what_is_out_of_bounds_or_said_elsewhere_decides_nothing() -> None:
    assert decided_sizes("Take w_in 9.99. Expect gain 1.00.", CIRCUIT) == ({}, False)
    assert decided_sizes("Expect w_in 24.6u.", CIRCUIT) == ({}, False)
    assert decided_sizes("At best gain 3.00 is short of 40.0. w_in 24.6u", CIRCUIT) == ({}, False)


def test_free_reasoning_leaves_the_call_free() -> None:
    call = rules(TASK, [turn(1, 10e-6)]).rest("<think>\nA wider pair helps.\n</think>\n")
    assert "v0 ::=" in call and "v1 ::=" in call


def test_our_sentences_hold_before_and_after_the_specs_are_met() -> None:
    first = rules(TASK, [], PROMPT_VERSION).opening
    assert "Nothing is measured yet." in first
    missing = rules(TASK, [turn(1, 10e-6)], PROMPT_VERSION).opening
    assert "At best" in missing and "Every spec is met." not in missing
    easy = replace(TASK, specs=tuple(replace(spec, target=1e-3) for spec in TASK.specs))
    met = rules(easy, [turn(1, 10e-6)], PROMPT_VERSION).opening
    assert "Every spec is met." in met and "At best" not in met


def test_a_rejection_says_what_the_engineer_wants() -> None:
    refused = replace(
        turn(2, 20e-6), decision=Decision("rejected", reason="less power."), evaluation=None
    )
    after = rules(TASK, [turn(1, 10e-6), refused], PROMPT_VERSION).opening
    assert "The engineer wants less power. " in after and "At best" in after
    alone = rules(TASK, [refused], PROMPT_VERSION).opening
    assert "The engineer wants less power. " in alone and "At best" not in alone
    silent = replace(refused, decision=Decision("rejected"))
    assert "Nothing is measured yet." in rules(TASK, [silent], PROMPT_VERSION).opening
