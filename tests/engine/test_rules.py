from __future__ import annotations

from dataclasses import replace

from acs_assistant.domain import Decision, Proposal, Sizing, Turn
from acs_assistant.engine.evaluate import evaluate
from acs_assistant.engine.rules import draft, rules, settled
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


def test_a_critic_says_what_to_expect_of_the_sizes_that_were_decided() -> None:
    asked: list[float] = []

    def foretell(sizing: Sizing) -> dict[str, float]:
        asked.append(sizing["w_in"])
        return {"gbw": 9e6, "power": 1e-4, "offset": 0.0}

    held = rules(TASK, [turn(1, 10e-6)], PROMPT_VERSION, foretell=foretell)
    said = "<think>\nAt best. So raise w_in from 10.0u to 20.0u. Expect "
    assert held.rest is not None and held.marker in said
    rest = held.rest(said)
    assert asked == [20e-6], "of the sizing that the call will hold"
    assert rest.startswith('root ::= "gbw to rise to 9.00meg'), "what was said is not said again"
    assert '"20.0u"' in rest and '"25.0u"' in rest


def test_settled_sizes_leave_the_words_free() -> None:
    sizing = {"w_in": 30e-6, "i_bias": 25e-6}
    first = rules(TASK, [], PROMPT_VERSION, sizing)
    assert 'v0 ::= "30.0u"' in first.opening and first.rest is not None
    assert "v0 ::=" not in first.rest(first.opening)
    later = rules(TASK, [turn(1, 10e-6)], PROMPT_VERSION, sizing).opening
    assert 'changes ::= "raise w_in from 10.0u to 30.0u"' in later


def test_a_draft_ends_where_its_sizes_are_decided() -> None:
    held = draft(rules(TASK, [turn(1, 10e-6)], PROMPT_VERSION))
    assert held.rest is None
    said = "<think>\nSo raise w_in from 10.0u to 20.0u. Expect "
    assert settled(said, TASK, [turn(1, 10e-6)]) == {"w_in": 20e-6, "i_bias": 25e-6}
    assert settled("Take w_in 20.0u. Expect ", TASK, []) == {}, "a size is open"
