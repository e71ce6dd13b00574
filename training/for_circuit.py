"""Fine-tuning on a circuit that has no sessions yet: simulate it, solve spec sets, then tune.

The sessions to imitate are made as the shipped model's were (``data``); the evaluation draws its
spec sets from sizings that were simulated apart and joined no archive.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from scipy.stats import qmc

from acs_assistant.domain import Circuit, Task
from acs_assistant.errors import InputError
from acs_assistant.llm import ModelCard
from acs_assistant.sim.port import Simulator
from acs_assistant.training.archive import Archive, load_archive, simulate_positions
from acs_assistant.training.config import DataConfig, FromSessionsConfig
from acs_assistant.training.data import (
    Simulate,
    circuit_sessions,
    explore,
    read_jsonl,
    write_jsonl,
)
from acs_assistant.training.tasks import RowTasks, good_rows
from acs_assistant.training.tuning import SESSIONS, Lesson, Outcome, Say, claim, tune

_RELAX = 0.08
_PER_SPEC_SET = 4
"""Simulations per spec set and round, by experience: its answer, misses, a wrong turn, its mend."""
_FIT_STEP_SECONDS = 1.5e-3
_TURN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a run will take, in seconds by stage; ``simulations`` in all."""

    simulations: int
    seconds: dict[str, float]

    def text(self) -> str:
        parts = ", ".join(f"{name} {value / 60:.1f}" for name, value in self.seconds.items())
        total = sum(self.seconds.values()) / 60
        return f"About {total:.0f} minutes, {self.simulations} simulations ({parts})."


def estimate(circuit: Circuit, config: FromSessionsConfig, simulator: Simulator) -> Estimate:
    """Measures how fast the circuit simulates here; the other stages have their budgets."""
    positions = qmc.Sobol(len(circuit.parameters), seed=0).random(16)
    simulate_positions(circuit, positions[:4], simulator)  # starts the workers
    began = time.monotonic()
    simulate_positions(circuit, positions[4:], simulator)
    each = (time.monotonic() - began) / 12
    table = config.circuit
    rows = table.sobol + table.local
    count = rows + table.rounds * _PER_SPEC_SET * table.tasks + _held(config)
    played = 2 * config.held_out * config.budget
    return Estimate(
        count + played,
        {
            "simulating": count * each,
            "fitting": table.rounds * 40 * (rows / 256 + 1) * _FIT_STEP_SECONDS,
            "imitating": table.sft_seconds,
            "TL-GRPO": config.rl_seconds,
            "evaluating": played * (each + _TURN_SECONDS),
        },
    )


def plan_for(circuit: Circuit, card: ModelCard, config: FromSessionsConfig) -> str:
    """What a run depends on; its output folder serves no other."""
    whole = repr(replace(circuit, path=Path(circuit.name)))
    plan = {
        "model": card.sha256,
        "circuit": hashlib.sha256(whole.encode()).hexdigest(),
        "settings": config.model_dump(),
    }
    return json.dumps(plan, sort_keys=True)


def train_for_circuit(
    circuit: Circuit,
    card: ModelCard,
    config: FromSessionsConfig,
    simulator: Simulator,
    out: Path,
    *,
    may_adopt: bool = True,
    say: Say = lambda _: None,
) -> Outcome:
    """Runs every stage that ``out`` has no product of yet.

    Raises:
        InputError: No sizing comes near the circuit's specs, or ``out`` belongs to another run.
        ModelError: The model in use cannot be trained further.
    """
    plan = plan_for(circuit, card, config)
    claim(out, plan)
    rng = np.random.default_rng(config.seed)
    table = config.circuit
    recipe = DataConfig(
        circuits=[circuit.name],
        sobol=table.sobol,
        local=table.local,
        rounds=table.rounds,
        tasks=table.tasks,
        seed=config.seed,
    )
    say(f"Simulating {circuit.name}")

    def simulate(positions: NDArray[np.float64]) -> Archive:
        return _with_bar(circuit, positions, simulator)

    folder = out / "archive"
    path = folder / f"{circuit.name}.npz"
    if not path.exists():
        explore(circuit, recipe, simulate, rng).save(path)
    held = _held_out(load_archive(path, circuit), config, simulate, out / "held_out.npz")
    sessions = out / SESSIONS / f"{circuit.name}.jsonl"
    if not sessions.exists():
        say("Solving spec sets and writing sessions")
        write_jsonl(sessions, circuit_sessions(circuit, recipe, simulate, folder))
    count = len(read_jsonl(sessions))
    if not count:
        raise InputError(
            f"no set of specs of circuit {circuit.name} could be met in simulation.",
            hint="Look at its ranges: acs-assistant circuits check PATH",
            file=circuit.path,
        )
    lesson = Lesson(
        f"{count} sessions made by simulating {circuit.name}",
        count,
        count,
        0,
        {"circuit": circuit.name, "sessions": count, "simulated": len(load_archive(path, circuit))},
    )
    budget = config.model_copy(
        update={"sft_seconds": table.sft_seconds, "sft_rate": table.sft_rate}
    )
    source = CircuitTasks(load_archive(path, circuit), held)
    return tune(plan, card, budget, simulator, out, source, lesson, may_adopt=may_adopt, say=say)


class CircuitTasks:
    """Training tasks from the archive, held-out ones from what was simulated apart."""

    def __init__(self, archive: Archive, held: Archive) -> None:
        self._training = RowTasks([archive], _RELAX)
        self._held = RowTasks([held], _RELAX)

    @property
    def circuits(self) -> Sequence[Circuit]:
        return self._training.circuits

    def draw(self, rng: np.random.Generator) -> Task:
        return self._training.draw(rng)

    def held_out(self, count: int, seed: int) -> list[Task]:
        rng = np.random.default_rng([seed, 1])
        return [self._held.draw(rng) for _ in range(count)]


def _held(config: FromSessionsConfig) -> int:
    return 4 * config.held_out


def _held_out(
    archive: Archive, config: FromSessionsConfig, simulate: Simulate, path: Path
) -> Archive:
    """Sizings around good ones that no session is made from."""
    if path.exists():
        return load_archive(path, archive.circuit)
    good = good_rows(archive, 4)
    if not len(good):
        raise InputError(
            f"no simulated sizing of circuit {archive.circuit.name} comes near its specs.",
            hint="Check the circuit and its ranges: acs-assistant circuits check PATH",
            file=archive.circuit.path,
        )
    rng = np.random.default_rng([config.seed, 2])
    centre = archive.positions[rng.choice(good, _held(config))]
    moved = np.clip(centre + 0.05 * rng.normal(size=centre.shape), 0.0, 1.0)
    held = simulate(moved)
    held.save(path)
    return held


def _with_bar(circuit: Circuit, positions: NDArray[np.float64], simulator: Simulator) -> Archive:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        job = bar.add_task(f"{circuit.name}: simulate", total=len(positions))
        return simulate_positions(
            circuit, positions, simulator, lambda done: bar.update(job, completed=done)
        )
