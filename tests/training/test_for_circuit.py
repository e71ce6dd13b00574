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
from acs_assistant.training.surrogate import fit_scale, fit_surrogate
from acs_assistant.training.targets import met, solve, spec_arrays
from acs_assistant.training.tasks import draw_from_ranges, draw_specs
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


def test_a_spec_of_equality_asks_for_what_was_measured_and_is_met_on_both_sides() -> None:
    spec = Spec("match", "==", 0.5, tolerance=0.05, range=(0.2, 0.8))
    circuit = replace(CIRCUIT, specs=(spec,))
    rng = np.random.default_rng(0)
    for value in (0.31, 0.62):
        (asked,) = draw_specs(circuit, [value], rng, relax=0.14) or ()
        assert (asked.relation, asked.tolerance) == ("==", 0.05)
        assert asked.target == pytest.approx(value)
    (ranged,) = draw_from_ranges(circuit, rng)
    assert 0.2 <= ranged.target <= 0.8 and ranged.tolerance == 0.05
    archive = simulate_positions(circuit, np.linspace(0, 1, 200)[:, None], Formula())
    scale = fit_scale(archive.metrics)
    arrays = spec_arrays(circuit, [(spec,)] * len(archive), scale)
    found = met(arrays, scale, archive.metrics)
    values = archive.metrics[:, 0]
    assert np.array_equal(found, np.abs(values - 0.5) <= 0.05)
    surrogate, _ = fit_surrogate(archive, np.ones(len(archive)))
    some = arrays.take(np.arange(4))
    start = np.array([[0.1], [0.45], [0.55], [0.9]])
    solved = solve(surrogate, some, start, start)
    measured = simulate_positions(circuit, solved, Formula()).metrics[:, 0]
    assert np.abs(measured - 0.5).max() < 0.1  # the surrogate of 200 rows errs a little


def test_a_circuit_that_states_no_ranges_gives_its_own_specs() -> None:
    assert draw_from_ranges(CIRCUIT, np.random.default_rng(0)) == CIRCUIT.specs
