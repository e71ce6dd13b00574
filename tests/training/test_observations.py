"""What is learned from pairs of simulated sizings: every figure in it was measured."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from acs_assistant.domain import Circuit
from acs_assistant.library import load_circuit
from acs_assistant.prompting.numbers import format_value
from acs_assistant.prompting.render import size_text
from acs_assistant.training.archive import Archive, position_of, sizing_at
from acs_assistant.training.config import DataConfig
from acs_assistant.training.data import FEW, FloatArray, changes, explore, observed_changes
from acs_assistant.training.sessions import Workshop
from acs_assistant.training.surrogate import fit_surrogate


@pytest.fixture(scope="module")
def circuit() -> Circuit:
    return load_circuit("ota_5t")


def formula(circuit: Circuit, positions: FloatArray) -> Archive:
    """Metrics that grow with sums of positions, on the grid that sizes are told on."""
    told = np.array([position_of(circuit, sizing_at(circuit, row)) for row in positions])
    weights = np.random.default_rng(5).uniform(0.5, 2.0, (told.shape[1], len(circuit.metrics)))
    metrics = np.exp(told @ weights) * 10.0
    count = len(told)
    return Archive(
        circuit, told, metrics, np.zeros((count, 0), dtype=np.int8), np.ones(count, bool), ()
    )


@pytest.fixture(scope="module")
def archive(circuit: Circuit) -> Archive:
    config = DataConfig(circuits=[circuit.name], sobol=64, local=300)
    rng = np.random.default_rng(1)
    return explore(circuit, config, lambda rows: formula(circuit, rows), rng)


@pytest.fixture(scope="module")
def pairs(archive: Archive) -> list[tuple[int, int]]:
    return list(changes(archive, np.random.default_rng(2)))


def test_exploring_leaves_pairs_that_differ_in_a_few_sizes(
    archive: Archive, pairs: list[tuple[int, int]]
) -> None:
    assert len(pairs) > 100
    for before, after in pairs:
        differ = int((archive.positions[before] != archive.positions[after]).sum())
        assert 1 <= differ <= FEW


def _records(archive: Archive) -> Iterator[tuple[dict[str, str], str]]:
    surrogate, _ = fit_surrogate(archive, np.ones(len(archive)), seed=0)
    rng = np.random.default_rng(3)
    workshop = Workshop(archive, surrogate, archive.positions[0], None, rng)  # type: ignore[arg-type]
    for record in observed_changes(workshop, 12, rng):
        assert record["train"] == []
        answers = [m for m in record["messages"] if m["role"] == "assistant"]
        arguments = json.loads(answers[-1]["tool_calls"][0]["function"]["arguments"])
        yield arguments, answers[-1]["reasoning_content"]


def test_an_observed_change_tells_the_miss_the_change_and_what_was_measured(
    archive: Archive,
) -> None:
    told = {
        json.dumps(_call(archive.circuit, row)): archive.measured(index)
        for index, row in enumerate(archive.positions)
    }
    seen = 0
    for arguments, thought in _records(archive):
        measured = told[json.dumps(arguments)]
        assert "At best " in thought
        for metric, value in measured.items():
            for verb in ("rise to", "fall to"):
                if f"{metric} to {verb} " in thought:
                    assert f"{metric} to {verb} {format_value(value)}" in thought
                    seen += 1
    assert seen > 12


def _call(circuit: Circuit, row: FloatArray) -> dict[str, str]:
    sizing = sizing_at(circuit, row)
    return {p.name: size_text(p, sizing[p.name]) for p in circuit.parameters}
