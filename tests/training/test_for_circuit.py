"""A circuit without sessions: simulated, solved, learned and judged on a tiny budget."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acs_assistant import llm
from acs_assistant.domain import Spec
from acs_assistant.errors import InputError
from acs_assistant.training.archive import simulate_positions
from acs_assistant.training.config import CircuitTable, FromSessionsConfig
from acs_assistant.training.for_circuit import (
    CircuitTasks,
    estimate,
    plan_for,
    train_for_circuit,
)
from tests.training.test_from_sessions import card
from tests.training.toy import CIRCUIT, Formula

__all__ = ["card"]
pytestmark = pytest.mark.timeout(900)

TINY = FromSessionsConfig(
    circuit=CircuitTable(sobol=256, local=128, tasks=24, sft_seconds=0.5),
    rl_steps=1, tasks=1, group=2, turns=1, max_tokens=64, held_out=2, budget=2, threads=1,
    precision="f32",
)  # fmt: skip


def test_a_circuit_without_sessions_leads_to_an_evaluated_model(
    card: llm.ModelCard, tmp_path: Path
) -> None:
    out, simulator = tmp_path / "run", Formula()
    said: list[str] = []
    outcome = train_for_circuit(CIRCUIT, card, TINY, simulator, out, say=said.append)
    records = [
        json.loads(line) for line in (out / "sessions" / "toy.jsonl").read_text().splitlines()
    ]
    assert outcome.right == outcome.sessions == len(records) > 10
    assert all(len(r["messages"]) > 2 for r in records)
    assert len((out / "rl" / "metrics.jsonl").read_text().splitlines()) == 1
    assert outcome.draws == 2 and set(outcome.after.met_at) == {1, 2}
    facts = json.loads(outcome.model.with_suffix(".json").read_text())
    assert facts["circuit"] == "toy" and facts["start"]["sha256"] == card.sha256
    default = llm.default_model().name
    assert default == (outcome.adopted if outcome.not_worse else card.name)
    assert [text.split()[0] for text in said] == [
        "Simulating", "Solving", "Imitating", "TL-GRPO", "Evaluation"
    ]  # fmt: skip
    before = len(simulator.requests)
    again = train_for_circuit(CIRCUIT, card, TINY, simulator, out)
    assert len(simulator.requests) - before <= 2 * outcome.draws * 2  # only the evaluation
    assert again.after == outcome.after
    with pytest.raises(InputError, match="other settings"):
        other = TINY.model_copy(update={"seed": 2})
        train_for_circuit(CIRCUIT, card, other, simulator, out)


def test_a_changed_circuit_is_another_run(card: llm.ModelCard) -> None:
    changed = replace(CIRCUIT, netlist="* another")
    assert plan_for(changed, card, TINY) != plan_for(CIRCUIT, card, TINY)
    moved = replace(CIRCUIT, path=Path("elsewhere"))
    assert plan_for(moved, card, TINY) == plan_for(CIRCUIT, card, TINY)


def test_held_out_draws_come_from_what_was_simulated_apart() -> None:
    simulator = Formula()
    inner, outer = np.linspace(0.4, 0.6, 40)[:, None], np.linspace(0.3, 0.7, 40)[:, None]
    archive = simulate_positions(CIRCUIT, inner, simulator)
    held = simulate_positions(CIRCUIT, outer, simulator)
    tasks = CircuitTasks(archive, held)
    draws = tasks.held_out(30, seed=1)
    assert [d.specs for d in draws] == [d.specs for d in tasks.held_out(30, seed=1)]
    rng = np.random.default_rng(0)
    lowest = min(tasks.draw(rng).specs[0].target for _ in range(200))
    assert min(d.specs[0].target for d in draws) < lowest  # only the others go down so far


def test_a_circuit_whose_specs_nothing_meets_is_refused(
    card: llm.ModelCard, tmp_path: Path
) -> None:
    impossible = replace(CIRCUIT, specs=(Spec("match", ">=", 1e6),))
    with pytest.raises(InputError, match="comes near its specs") as caught:
        train_for_circuit(impossible, card, TINY, Formula(), tmp_path / "run")
    assert "circuits check" in caught.value.hint


def test_the_estimate_counts_simulations_and_stages() -> None:
    told = estimate(CIRCUIT, TINY, Formula())
    assert told.simulations == 256 + 128 + 4 * 24 + 8 + 2 * 2 * 2
    assert told.seconds["imitating"] == 0.5 and told.seconds["TL-GRPO"] == 600
    assert told.text().startswith("About 10 minutes, 496 simulations (simulating ")
