"""From nothing to design sessions: simulate, fit, solve, simulate again, write chat JSONL."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from scipy.stats import qmc

from acs_assistant.domain import Circuit, Spec
from acs_assistant.errors import ConfigError
from acs_assistant.library import load_circuit
from acs_assistant.sim.port import Simulator
from acs_assistant.training.archive import Archive, load_archive, simulate_positions
from acs_assistant.training.config import DataConfig
from acs_assistant.training.edge import explore_edge
from acs_assistant.training.sessions import Draft, Workshop
from acs_assistant.training.surrogate import Surrogate, fit_surrogate
from acs_assistant.training.tasks import (
    default_scores,
    draw_from_ranges,
    draw_specs,
    good_rows,
)

FloatArray = NDArray[np.float64]
Simulate = Callable[[FloatArray], Archive]

_HISTORY_NOISE = (0.03, 0.06, 0.12)
_LOOKED_AT = 400
_ALL_MOVE = 0.3
_EDGE_ROUNDS = 3
FEW = 5
"""Sizes that one change may move and still be told in a sentence."""


def make_data(config: DataConfig, simulator: Simulator, out: Path) -> None:
    """Writes ``<circuit>.npz`` (the archive) and ``<circuit>.jsonl`` (the sessions) into ``out``.

    What is already there is used: a killed run goes on with the circuit that it was at.
    """
    console = Console(stderr=True)
    for name in config.circuits:
        sessions = out / f"{name}.jsonl"
        if sessions.exists():
            console.print(f"{name}: sessions are there already")
            continue
        circuit = load_circuit(name)
        with _bar(console) as bar:
            records = circuit_sessions(circuit, config, _simulate(circuit, simulator, bar), out)
            write_jsonl(sessions, records)
        console.print(f"{name}: {sum(1 for _ in sessions.open())} sessions")


def circuit_sessions(
    circuit: Circuit, config: DataConfig, simulate: Simulate, out: Path
) -> list[dict[str, Any]]:
    """Simulates, fits and makes the sessions of one circuit."""
    rng = np.random.default_rng(config.seed)
    path = out / f"{circuit.name}.npz"
    if path.exists():
        archive = load_archive(path, circuit)
    else:
        archive = explore(circuit, config, simulate, rng)
        archive.save(path)
    records: list[dict[str, Any]] = []
    for turn in range(config.rounds):
        part = out / f"{circuit.name}.{turn}.part"
        if part.exists():
            records += read_jsonl(part)
            continue
        surrogate = fit(archive, seed=turn)
        anchor = best_position(archive)
        workshop = Workshop(archive, surrogate, anchor, simulate, rng)
        made = sessions(workshop, config.tasks, rng)
        archive = workshop.archive
        archive.save(path)
        write_jsonl(part, made)
        records += made
    if config.sketches or config.observations:
        workshop = Workshop(
            archive, fit(archive, config.rounds), best_position(archive), simulate, rng
        )
        records += sketches(workshop, config.sketches, rng)
        records += correction_sketches(workshop, config.sketches, rng)
        records += observations(workshop, config.observations, rng)
        records += observed_changes(workshop, config.observations, rng)
    return records


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def add_edge(path: Path, circuit: Circuit, count: int, simulator: Simulator) -> None:
    """Adds ``count`` sizings near the best trade-offs to the archive at ``path``, in rounds."""
    with _bar(Console(stderr=True)) as bar:
        simulate = _simulate(circuit, simulator, bar)
        for left in range(_EDGE_ROUNDS, 0, -1):
            archive = load_archive(path, circuit)
            rng = np.random.default_rng(len(archive))
            archive = explore_edge(archive, math.ceil(count / left), simulate, rng)
            archive.save(path)
            count -= math.ceil(count / left)


def best_position(archive: Archive) -> FloatArray:
    """Where the default specs were met best: the anchor of every first proposal."""
    best: FloatArray = archive.positions[int(np.argmax(default_scores(archive)))]
    return best


def explore(
    circuit: Circuit, config: DataConfig, simulate: Simulate, rng: np.random.Generator
) -> Archive:
    """Sobol over the whole box, then perturbations of the sizings that serve the specs best."""
    width = len(circuit.parameters)
    sobol = qmc.Sobol(width, seed=rng).random(config.sobol)
    archive = simulate(sobol)
    for share in (0.25, 0.35, 0.4):
        elite = np.argsort(-default_scores(archive))[: max(50, len(archive) // 40)]
        count = int(config.local * share)
        centre = archive.positions[rng.choice(elite, count)]
        step = 0.25 * rng.random((count, 1)) * rng.normal(size=(count, width))
        step *= _moved(count, width, rng)
        archive = archive.extended(simulate(np.clip(centre + step, 0.0, 1.0)))
    return archive


def _moved(count: int, width: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(count, width) which parameters a perturbation moves: all, or mostly only a few.

    A few, so that the pair shows what follows from them (``changes``).
    """
    most = np.where(rng.random((count, 1)) < _ALL_MOVE, width, rng.integers(1, FEW + 1, (count, 1)))
    rank: NDArray[np.int64] = np.argsort(rng.random((count, width)), axis=1)
    return np.asarray(rank < most)


def fit(archive: Archive, seed: int) -> Surrogate:
    """The surrogate, with more weight on sizings near what anybody would ask for."""
    focus = 0.1 + default_scores(archive) ** 4
    surrogate, errors = fit_surrogate(archive, focus, seed=seed)
    Console(stderr=True).print(
        f"{archive.circuit.name}: surrogate of {len(archive)} sizings, median error in spreads: "
        + ", ".join(f"{name} {error:.3f}" for name, error in errors.items())
    )
    return surrogate


def sessions(workshop: Workshop, count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Draws ``count`` tasks and makes every kind of session from them."""
    tasks, witnesses = draw_tasks(workshop.archive, count, rng)
    answers = workshop.first_answers(tasks, witnesses)
    solved = np.flatnonzero(answers >= 0)
    records = []
    for i in solved:
        draft = Draft(tasks[i])
        workshop.append(draft, int(answers[i]), learn=True)
        records.append(workshop.record(draft))
    records += corrections(workshop, [tasks[i] for i in solved], answers[solved], rng)
    some = rng.choice(solved, size=len(solved) // 12, replace=False)
    rejected = workshop.rejections([tasks[i] for i in some], answers[some])
    records += [workshop.record(draft) for draft in rejected]
    return records


def sketches(workshop: Workshop, count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Specs and the sizes that answer them, by the surrogate; short, and no claims.

    They teach which sizes belong to which specs at half of a session's tokens.
    """
    tasks, witnesses = draw_tasks(workshop.archive, count, rng)
    positions, good = workshop.estimates(tasks, witnesses)
    return [workshop.sketch(tasks[i], positions[i]) for i in np.flatnonzero(good)]


def correction_sketches(
    workshop: Workshop, count: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """The same after a measured miss: what is short, what it follows, which sizes change.

    The miss is one of the nearest to the specs among some hundreds of simulated sizings.
    """
    tasks, _ = draw_tasks(workshop.archive, count, rng)
    usable = np.flatnonzero(workshop.archive.ok)
    rows = np.full(len(tasks), -1)
    for i, specs in enumerate(tasks):
        some = rng.choice(usable, size=min(len(usable), _LOOKED_AT), replace=False)
        short = workshop.shortfalls(specs, some)
        missed = np.flatnonzero((short > 1e-3) & np.isfinite(short))
        if len(missed):
            near = missed[np.argsort(short[missed])[: int(rng.integers(1, 12))]]
            rows[i] = some[rng.choice(near)]
    have = np.flatnonzero(rows >= 0)
    chosen = [tasks[i] for i in have]
    positions, good = workshop.small_steps(chosen, rows[have])
    return [
        workshop.sketch(chosen[k], positions[k], int(rows[have[k]])) for k in np.flatnonzero(good)
    ]


def observations(workshop: Workshop, count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Simulated sizings and what followed from them, under specs near what each reached."""
    archive = workshop.archive
    rows = rng.permutation(np.flatnonzero(archive.ok))
    drawn = ((draw_specs(archive.circuit, archive.metrics[row], rng, 0.4), row) for row in rows)
    usable = ((specs, int(row)) for specs, row in drawn if specs is not None)
    return [workshop.observation(*pair) for pair in itertools.islice(usable, count)]


def observed_changes(
    workshop: Workshop, count: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Pairs of simulated sizings that differ in a few sizes: what followed from the change.

    The specs are near what the second reached, and the first missed one of them.
    """
    records: list[dict[str, Any]] = []
    for before, after in changes(workshop.archive, rng):
        specs = draw_specs(workshop.circuit, workshop.archive.metrics[after], rng, 0.4)
        if specs is None or workshop.archive.evaluation(before, specs).score.met:
            continue
        records.append(workshop.observation(specs, after, before))
        if len(records) == count:
            break
    return records


def changes(archive: Archive, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Pairs of working rows that differ in 1 to ``FEW`` parameters; at most two for each first."""
    rows = rng.permutation(np.flatnonzero(archive.ok))
    positions = archive.positions[rows]
    for index, row in enumerate(rows):
        differ = (positions != positions[index]).sum(axis=1)
        near = np.flatnonzero((differ > 0) & (differ <= FEW))
        for other in rng.permutation(near)[:2]:
            yield int(row), int(rows[other])


def corrections(
    workshop: Workshop,
    tasks: list[tuple[Spec, ...]],
    answers: NDArray[np.int64],
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Sessions that go wrong first: one to three missed turns, then the correction that meets."""
    drafts = [Draft(specs) for specs in tasks]
    noise = rng.choice(_HISTORY_NOISE, size=(len(drafts), 1))
    wrong = workshop.archive.positions[answers] + noise * workshop.jolt(len(drafts), 1.0)
    rows = workshop.simulate(np.clip(wrong, 0.0, 1.0))
    for draft, row in zip(drafts, rows, strict=True):
        workshop.append(draft, int(row), learn=False)
    drafts = [d for d in drafts if not workshop.meets(d)]
    longer = [d for d in drafts if rng.random() < 0.4]
    workshop.correct(longer, learn=False, noise=0.02)
    longest = [d for d in longer if not workshop.meets(d) and rng.random() < 0.5]
    workshop.correct(longest, learn=False, noise=0.01)
    drafts = [d for d in drafts if not workshop.meets(d)]
    workshop.correct(drafts, learn=True)
    done = [d for d in drafts if workshop.meets(d)]
    again = [d for d in drafts if not workshop.meets(d)]
    workshop.correct(again, learn=True)
    done += [d for d in again if workshop.meets(d)]
    return [workshop.record(draft) for draft in done]


def draw_tasks(
    archive: Archive, count: int, rng: np.random.Generator
) -> tuple[list[tuple[Spec, ...]], FloatArray]:
    """Spec sets and, per set, a position known (or, for stated ranges, hoped) to be near an answer.

    Half come from any working sizing, three in ten from good ones, the rest from stated ranges.
    """
    working, good = np.sort(good_rows(archive, 1)), good_rows(archive, 3)
    tasks: list[tuple[Spec, ...]] = []
    witnesses = []
    while len(tasks) < count:
        kind = rng.random()
        row = int(rng.choice(working if kind < 0.5 else good))
        if kind < 0.8:
            specs = draw_specs(archive.circuit, archive.metrics[row], rng, relax=0.14)
            if specs is None:
                continue
        else:
            specs = draw_from_ranges(archive.circuit, rng)
        tasks.append(specs)
        witnesses.append(archive.positions[row])
    return tasks, np.array(witnesses)


def write_jsonl(path: Path, records: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".tmp")
    with beside.open("w", encoding="utf-8") as stream:
        for record in records:
            stream.write(json.dumps(record, separators=(",", ":")) + "\n")
    beside.replace(path)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Reads chat JSONL.

    Raises:
        ConfigError: A line is not a JSON object with ``messages``.
    """
    records = []
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                record = json.loads(line)
                record["messages"]
            except (ValueError, TypeError, KeyError) as error:
                raise ConfigError(
                    "is not a chat record.",
                    hint='Each line is {"messages": [...]}, as `sessions export` writes.',
                    file=path,
                    line=number,
                ) from error
            records.append(record)
    return records


def _simulate(circuit: Circuit, simulator: Simulator, bar: Progress) -> Simulate:
    def simulate(positions: FloatArray) -> Archive:
        job = bar.add_task(f"{circuit.name}: simulate", total=len(positions))
        done = simulate_positions(
            circuit, positions, simulator, lambda count: bar.update(job, completed=count)
        )
        bar.remove_task(job)
        return done

    return simulate
