"""Simulations near the best trade-offs, and the critic that is fitted to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acs_assistant import paths
from acs_assistant.domain import Circuit, Conditions, Metric, Parameter, Spec, Task
from acs_assistant.engine.critic import find_critic
from acs_assistant.training import edge
from acs_assistant.training.archive import Archive, FloatArray
from acs_assistant.training.critic import make_critic
from acs_assistant.training.edge import believed, explore_edge
from acs_assistant.training.surrogate import fit_surrogate

NAMES = ("a", "b", "c")
CIRCUIT = Circuit(
    name="hills",
    title="Hills",
    pdk="none",
    category="toy",
    description="",
    path=Path("hills"),
    parameters=tuple(Parameter(name, "m", 1e-6, 100e-6, 1e-9, scale="log") for name in NAMES),
    metrics=(Metric("speed", "Hz", "ac", "meas"), Metric("power", "W", "ac", "meas")),
    specs=(
        Spec("speed", ">=", 2e6, range=(1e6, 4e6)),
        Spec("power", "<=", 2e-3, range=(0.5e-3, 4e-3)),
    ),
    conditions=Conditions(),
    netlist="",
    testbenches=(),
)


def formula(places: FloatArray) -> FloatArray:
    """Speed costs power, and c is best in the middle: the best trade-offs lie on c = 0.5."""
    a, b, c = places.T
    speed = 1e6 * np.exp(2.0 * a + b) / (1.0 + 8.0 * (c - 0.5) ** 2)
    return np.stack([speed, 1e-3 * np.exp(2.0 * a - b)], axis=1)


def archived(places: FloatArray) -> Archive:
    count = len(places)
    regions, ok = np.zeros((count, 0), dtype=np.int8), np.ones(count, dtype=bool)
    return Archive(CIRCUIT, places, formula(places), regions, ok, ())


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "_STEPS", 400)


@pytest.fixture(scope="module")
def start() -> Archive:
    return archived(np.random.default_rng(1).random((600, 3)))


def test_further_sizings_lie_nearer_to_the_edge(start: Archive) -> None:
    known = explore_edge(start, 90, archived, np.random.default_rng(2))
    new = known.positions[len(start) :]
    assert len(new) == 90 and new.min() >= 0.0 and new.max() <= 1.0
    assert np.median(np.abs(new[:, 2] - 0.5)) < 0.5 * np.median(np.abs(start.positions[:, 2] - 0.5))
    assert np.median(new[:, 1]) > 0.85, "more speed for less power"


def test_a_single_value_out_of_line_is_not_believed(start: Archive) -> None:
    surrogate, _ = fit_surrogate(start, np.ones(len(start)), steps=400)
    metrics = start.metrics.copy()
    metrics[7, 1] *= 1e-3
    left = believed(replace(start, metrics=metrics), surrogate).metrics
    assert np.isnan(left[7, 1]) and np.isfinite(left).sum() == left.size - 1


def test_a_critic_states_the_error_that_it_has(
    start: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "user_models", lambda: tmp_path)
    errors = make_critic(start, tmp_path, networks=2, steps=400)
    critic = find_critic(Task(CIRCUIT, CIRCUIT.specs, CIRCUIT.conditions))
    assert critic is not None and critic.layers[0][0].shape == (2, 192, 3)
    assert critic.error.tolist() == pytest.approx(list(errors.values()))
    places = np.random.default_rng(3).random((200, 3))
    told = [critic.foretell(CIRCUIT, archived(places).sizing(i)).metrics for i in range(200)]
    power = np.array([metrics["power"] for metrics in told])
    missed = np.abs(np.log(power / archived(places).metrics[:, 1])) / critic.spread[1]
    assert np.mean(missed < 2.0 * critic.error[1] + 0.01) > 0.5
    assert np.median(missed) < 0.1
