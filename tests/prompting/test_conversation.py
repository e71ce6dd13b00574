from __future__ import annotations

import json
from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acs_assistant.domain import Circuit, Decision, Relation, Spec, Task, Turn
from acs_assistant.prompting import parse, render
from acs_assistant.prompting.grammar import THOUGHT, call_grammar
from acs_assistant.prompting.wording import complaint


def test_the_user_message_states_everything(task: Task) -> None:
    text = render.messages(task)[1]["content"]
    assert "supply 1.80 V, 27.0 C, load 5.00p, corner tt" in text
    assert "w_in 420n to 100u m: input pair, M1 M2" in text
    assert text.endswith("Specs:\ngbw >= 10.0meg Hz\npower <= 300u W")


def test_a_spec_is_never_rounded_to_the_easier_side(task: Task) -> None:
    odd = replace(task, specs=(Spec("gbw", ">=", 1.0004e7), Spec("power", "<=", 2.9999e-4)))
    text = render.messages(odd)[1]["content"]
    assert "gbw >= 10.1meg" in text
    assert "power <= 298u" in text


@pytest.mark.parametrize(
    ("relation", "value", "said"),
    [
        (">=", 8e6, "gbw 8.00meg is short of 10.0meg"),
        ("<=", 12e6, "gbw 12.0meg is over 10.0meg"),
        ("==", 8e6, "gbw 8.00meg is short of 10.0meg"),
        ("==", 12e6, "gbw 12.0meg is over 10.0meg"),
    ],
)
def test_a_complaint_says_on_which_side_of_the_target_a_value_lies(
    relation: Relation, value: float, said: str
) -> None:
    assert complaint(Spec("gbw", relation, 10e6, tolerance=1e5), value) == said


def test_the_tool_message_states_margins_failures_and_regions(task: Task, turn: Turn) -> None:
    chat = render.messages(task, [turn])
    assert [m["role"] for m in chat] == ["system", "user", "assistant", "tool"]
    assert json.loads(chat[2]["tool_calls"][0]["function"]["arguments"])["w_in"] == "20.0u"
    told = chat[3]["content"]
    assert told.startswith("Turn 1: score 94.8 percent, 1 of 2 specs fail.")
    assert "gbw 8.10meg, >= 10.0meg: FAIL, short by 1.90meg" in told
    assert "power 210u, <= 300u: ok, margin 90.0u" in told
    assert "also: phase_margin 62.0" in told
    assert told.endswith("not in saturation: M1 linear")


def test_rejections_edits_and_new_specs_are_told(task: Task, turn: Turn) -> None:
    rejected = replace(
        turn, decision=Decision("rejected", {}, "w_in at most 10.0u", "engineer"), evaluation=None
    )
    assert (
        "rejected this sizing: w_in at most 10.0u"
        in render.messages(task, [rejected])[3]["content"]
    )
    edited = replace(
        turn, decision=Decision("edited", {**turn.proposal.sizing, "w_in": 3e-5}, by="engineer")
    )
    told = render.messages(task, [edited])[3]["content"]
    assert told.startswith("The engineer changed w_in 30.0u before simulating.")
    harder = replace(task, specs=(Spec("gbw", ">=", 2e7),))
    assert render.messages(harder, [turn])[-1] == {
        "role": "user",
        "content": "The specs are now:\ngbw >= 20.0meg Hz",
    }


def test_what_is_written_reads_back(amplifier: Circuit) -> None:
    sizing = {"w_in": 2e-5, "c_c": 1.5e-12, "fingers": 3.0}
    text = render.assistant_text(amplifier, "Expect gbw to rise to 12.4meg, power 210u.", sizing)
    reply = parse.parse(text, amplifier)
    assert reply.error == ""
    assert reply.sizing == pytest.approx(sizing)
    assert reply.predictions == {"gbw": 12.4e6, "power": 210e-6}


CALL = '<tool_call>{"name": "simulate", "arguments": %s}</tool_call>'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("no call at all", "no complete tool call"),
        (CALL % '{"w_in": "20u", "c_c": "1p"}', "'fingers' has no value"),
        (CALL % '{"w_in": "20u", "c_c": "1p", "fingers": 2, "w_im": 1}', "Did you mean 'w_in'"),
        (CALL % '{"w_in": "20u", "w_in": "21u", "c_c": "1p", "fingers": 2}', "stands twice"),
        (CALL % '{"w_in": "20m", "c_c": "1p", "fingers": 2}', "out of bounds"),
        (CALL % '{"w_in": "wide", "c_c": "1p", "fingers": 2}', "is not a number"),
        (CALL % '{"w_in": true, "c_c": "1p", "fingers": 2}', "is not a number"),
        (CALL % "[1]", "no arguments"),
        (CALL % "{", "not JSON"),
        ('<tool_call>{"name": "rm", "arguments": {}}</tool_call>', "not to 'simulate'"),
        ((CALL % "{}") * 2, "more than once"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(amplifier: Circuit, text: str, complaint: str) -> None:
    reply = parse.parse(text, amplifier)
    assert reply.sizing is None
    assert complaint in reply.error


@given(st.text(alphabet="<>/think_toolcal \n{}x"), st.integers(1, 5))
def test_splitting_pieces_equals_splitting_the_whole(text: str, size: int) -> None:
    def channels(pieces: list[str]) -> list[tuple[str, str]]:
        splitter = parse.StreamSplitter()
        out = [part for piece in pieces for part in splitter.feed(piece)] + splitter.flush()
        return [(c, "".join(t for _, t in group)) for c, group in groupby(out, key=lambda p: p[0])]

    assert channels([text]) == channels([text[i : i + size] for i in range(0, len(text), size)])


def test_the_splitter_knows_the_channels(amplifier: Circuit) -> None:
    sizing = {"w_in": 2e-5, "c_c": 1.5e-12, "fingers": 3.0}
    splitter = parse.StreamSplitter()
    out = splitter.feed(render.assistant_text(amplifier, "Because.", sizing)) + splitter.flush()
    assert "".join(t for c, t in out if c == "reasoning") == "\nBecause.\n"
    assert json.loads("".join(t for c, t in out if c == "call"))["name"] == "simulate"


class TestGrammar:
    """The grammar is read by llama.cpp itself and accepts exactly the sizes inside the bounds."""

    @pytest.mark.parametrize(
        ("low", "high"), [(4.2e-7, 1e-4), (1.0, 12.0), (1.07e-12, 1.09e-12), (0.5e3, 20e3)]
    )
    def test_values_in_bounds_and_no_others(self, low: float, high: float) -> None:
        import re

        from acs_assistant.prompting.numbers import all_values
        from acs_assistant.prompting.ranges import between
        from acs_assistant.units import parse_quantity

        rule = between(low, high)
        pattern = re.compile(
            "|".join(
                "".join(re.escape(t[1:-1]) if t.startswith('"') else t for t in alt.split(" "))
                for alt in rule.split(" | ")
            )
        )
        for text in all_values():
            inside = low * (1 - 1e-9) <= parse_quantity(text) <= high * (1 + 1e-9)
            assert bool(pattern.fullmatch(text)) == inside, text

    def test_llama_cpp_reads_it(self, amplifier: Circuit) -> None:
        from llama_cpp import LlamaGrammar

        for part in (THOUGHT, call_grammar(amplifier, {})):
            assert LlamaGrammar.from_string(part, verbose=False) is not None
