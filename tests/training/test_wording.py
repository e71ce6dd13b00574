"""The grammar of the small model's sentences admits what it is taught to say, and no lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from acs_assistant.domain import Circuit, Decision, Proposal, Spec, Turn
from acs_assistant.library import load_circuit
from acs_assistant.llm.decoding import Grammar, Sampler
from acs_assistant.llm.native import Weights
from acs_assistant.llm.port import Sampling
from acs_assistant.prompting.wording import demand, first_grammar, next_grammar
from acs_assistant.training.reasoning import first_thought, next_thought

GGUF = Path(__file__).parents[2] / "models" / "acs-small.gguf"
MEASURED = {"dc_gain": 40.0, "gbw": 9e6, "phase_margin": 80.0, "offset": -1e-3}
EXPECTED = {"dc_gain": 40.1, "gbw": 12e6, "phase_margin": 75.0, "offset": -2e-3}


@pytest.fixture(scope="module")
def weights() -> Iterator[Weights]:
    weights = Weights(GGUF)
    yield weights
    weights.close()


@pytest.fixture(scope="module")
def circuit() -> Circuit:
    return load_circuit("ota_5t")


SPECS = (
    Spec("dc_gain", ">=", 38.0),
    Spec("gbw", ">=", 10e6),
    Spec("phase_margin", ">=", 60.0),
    Spec("offset", "<=", 2e-3),
)


def sizing(circuit: Circuit, position: float) -> dict[str, float]:
    return {p.name: p.snap(p.from_unit(position)) for p in circuit.parameters}


def admits(weights: Weights, grammar: str, thought: str) -> bool:
    """Whether the grammar has this thought, token by token."""
    sampler = Sampler(weights, Sampling(), 1, Grammar(weights, grammar))
    try:
        text = f"<think>\n{thought}\n</think>\n"
        return all(sampler.admit(token) for token in weights.tokenize(text))
    finally:
        sampler.close()


def test_a_first_thought_is_admitted(weights: Weights, circuit: Circuit) -> None:
    influence = np.ones((len(circuit.metrics), len(circuit.parameters)))
    thought = first_thought(circuit, SPECS, sizing(circuit, 0.5), EXPECTED, influence)
    grammar = first_grammar(circuit, SPECS)
    assert admits(weights, grammar, thought)
    assert not admits(weights, grammar, thought.replace("w_load", "w_lost"))


def test_a_later_thought_is_held_to_the_record(weights: Weights, circuit: Circuit) -> None:
    influence = np.ones((len(circuit.metrics), len(circuit.parameters)))
    before = sizing(circuit, 0.5)
    after = {**before, "w_in": 2 * before["w_in"], "i_bias": 0.5 * before["i_bias"]}
    thought = next_thought(circuit, SPECS, before, MEASURED, after, EXPECTED, influence)
    grammar = next_grammar(circuit, SPECS, [SPECS[1]], before, MEASURED)
    assert "gbw 9.00meg is short of 10.0meg" in thought
    assert admits(weights, grammar, thought)
    for true, false in (
        ("9.00meg is short", "9.50meg is short"),
        ("raise w_in", "lower w_in"),
        ("gbw to rise to 12.0meg", "gbw to rise to 8.00meg"),
        ("dc_gain to stay near 40.0", "dc_gain to stay near 41.0"),
        ("At best gbw", "At best offset"),
    ):
        assert true in thought
        assert not admits(weights, grammar, thought.replace(true, false)), false


def test_after_the_specs_are_met_nothing_false_is_said_of_them(
    weights: Weights, circuit: Circuit
) -> None:
    influence = np.ones((len(circuit.metrics), len(circuit.parameters)))
    before = sizing(circuit, 0.5)
    after = {**before, "w_in": 2 * before["w_in"]}
    measured = {**MEASURED, "gbw": 11e6}
    thought = next_thought(circuit, SPECS, before, measured, after, EXPECTED, influence)
    grammar = next_grammar(circuit, SPECS, [], before, measured)
    assert thought.startswith("Every spec is met. So raise w_in")
    assert admits(weights, grammar, thought)
    false = "At best gbw 9.00meg is short of 10.0meg. gbw follows w_in most."
    assert not admits(weights, grammar, thought.replace("Every spec is met.", false))


@pytest.mark.parametrize("measured", [{}, MEASURED])
def test_a_rejection_is_told_as_it_was_said(
    weights: Weights, circuit: Circuit, measured: dict[str, float]
) -> None:
    influence = np.ones((len(circuit.metrics), len(circuit.parameters)))
    before = sizing(circuit, 0.5)
    after = {**before, "w_in": 2 * before["w_in"]}
    asked = demand(rejected('w_in  "wider" than 20u\n\\.'))
    assert asked == 'w_in "wider" than 20u \\'
    short = [SPECS[1]] if measured else []
    expected = {**EXPECTED, "offset": 2e-3}
    thought = next_thought(circuit, SPECS, before, measured, after, expected, influence, asked)
    grammar = next_grammar(circuit, SPECS, short, before, measured, asked)
    assert thought.startswith(f"The engineer wants {asked}. ")
    assert admits(weights, grammar, thought)
    assert not admits(weights, grammar, thought.replace("wider", "narrower"))


def rejected(reason: str) -> Turn:
    return Turn(1, None, 1, Proposal({}, "model"), Decision("rejected", {}, reason, "engineer"))
