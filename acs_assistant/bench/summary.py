"""What a benchmark found: shares met, simulations to success, and how sure we are of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acs_assistant.atomic import write_text
from acs_assistant.domain import Objective

CHECKPOINTS = (1, 3, 5, 10, 20, 50, 100)
SUMMARY, TABLES = "summary.json", "summary.md"
_RESAMPLES = 2000
_CONFIDENCE = 0.95

Run = Mapping[str, Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its bootstrap confidence interval (95 %)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.0f} ({100 * self.low:.0f}–{100 * self.high:.0f})"


@dataclass(frozen=True, slots=True)
class Measures:
    """One proposer on one set of tasks.

    Attributes:
        met_at: Share of runs that met all specs within so many simulations.
        median_to_success: Simulations to the first success, unmet runs counted as endless; None
            when fewer than half of the runs met their specs.
        area: Mean of the best score so far over the simulations of the budget, in [0, 1]; a run
            that stopped keeps its best score.
        objective: Geometric mean, over the tasks that it met, of its best objective over the best
            that any proposer of the run reached there; 1 is best, larger is worse. None without
            an objective or a task that it met.
        model_seconds: Proposing, per turn.
        simulate_seconds: Simulating, per simulation.
        failed: Share of simulations that failed.
        invalid: Turns without a usable proposal, per run.
    """

    tasks: int
    runs: int
    met_at: dict[int, Estimate]
    median_to_success: float | None
    area: Estimate
    objective: float | None
    model_seconds: float
    simulate_seconds: float
    failed: float
    invalid: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Measures by proposer: of all tasks, by circuit and by level of difficulty."""

    budget: int
    seeds: int
    overall: dict[str, Measures]
    circuits: dict[str, dict[str, Measures]]
    levels: dict[str, dict[str, Measures]]


def summarize(
    runs: Sequence[Run], objectives: Mapping[str, Objective | None] | None = None
) -> Summary:
    """Summarizes runs of one budget.

    Args:
        runs: Lines of ``results.jsonl``.
        objectives: The circuits' objectives by name; circuits left out have none.
    """
    best = _best_objectives(runs, objectives or {})

    def by_proposer(chosen: Iterable[Run]) -> dict[str, Measures]:
        groups: dict[str, list[Run]] = {}
        for run in chosen:
            groups.setdefault(run["proposer"], []).append(run)
        return {name: _measures(group, best, objectives or {}) for name, group in groups.items()}

    levels = [level for level in dict.fromkeys(run.get("level", "") for run in runs) if level]
    return Summary(
        budget=max((run["budget"] for run in runs), default=0),
        seeds=len({run["seed"] for run in runs}),
        overall=by_proposer(runs),
        circuits={
            name: by_proposer(run for run in runs if run["circuit"] == name)
            for name in dict.fromkeys(run["circuit"] for run in runs)
        },
        levels={
            level: by_proposer(run for run in runs if run.get("level") == level) for level in levels
        },
    )


def shared_tasks(runs: Sequence[Run], proposers: Sequence[str]) -> list[Run]:
    """The runs of these proposers on the tasks and seeds that each of them has run."""
    made = {(run["proposer"], run["task"], run["seed"]) for run in runs}
    return [
        run
        for run in runs
        if run["proposer"] in proposers
        and all((name, run["task"], run["seed"]) in made for name in proposers)
    ]


def write_summary(summary: Summary, out: Path) -> None:
    """Writes ``summary.json`` and ``summary.md``."""
    write_text(out / SUMMARY, json.dumps(asdict(summary), indent=1, allow_nan=False) + "\n")
    write_text(out / TABLES, markdown(summary))


def markdown(summary: Summary) -> str:
    """Tables for a person: shares met in percent with their intervals, then the other measures."""
    parts = [f"Budget {summary.budget} simulations, {summary.seeds} seed(s).\n"]
    sections = [("All tasks", summary.overall)]
    sections += [(f"Level: {name}", group) for name, group in summary.levels.items()]
    sections += [(f"Circuit: {name}", group) for name, group in summary.circuits.items()]
    for title, group in sections:
        runs = next(iter(group.values()), None)
        if runs is None:
            continue
        parts += [f"## {title} ({runs.tasks} tasks)\n", _shares(group), _others(group)]
    return "\n".join(parts)


def success_curve(runs: Sequence[Run], budget: int) -> tuple[Floats, Floats, Floats]:
    """Share of runs that met their specs after 1..budget simulations, with its interval."""
    steps = np.arange(1, budget + 1)
    hits = np.array([[_first(run) <= step for step in steps] for run in runs], dtype=float)
    return _bootstrap(hits, [run["task"] for run in runs])


def _measures(
    runs: Sequence[Run],
    best: Mapping[str, float],
    objectives: Mapping[str, Objective | None],
) -> Measures:
    budget = max(run["budget"] for run in runs)
    tasks = [run["task"] for run in runs]
    steps = [step for step in CHECKPOINTS if step <= budget]
    firsts = np.array([_first(run) for run in runs])
    mean, low, high = _bootstrap(
        np.array([[first <= step for step in steps] for first in firsts], dtype=float), tasks
    )
    area_mean, area_low, area_high = _bootstrap(
        np.array([[_area(run, budget)] for run in runs]), tasks
    )
    median = float(np.median(firsts))
    simulations = sum(run["simulations"] for run in runs)
    turns = sum(len(run["turns"]) for run in runs)
    failed = sum(turn["status"] == "failed" for run in runs for turn in run["turns"])
    return Measures(
        tasks=len(set(tasks)),
        runs=len(runs),
        met_at={
            step: Estimate(float(mean[i]), float(low[i]), float(high[i]))
            for i, step in enumerate(steps)
        },
        median_to_success=median if math.isfinite(median) else None,
        area=Estimate(float(area_mean[0]), float(area_low[0]), float(area_high[0])),
        objective=_objective_ratio(runs, best, objectives),
        model_seconds=sum(run["seconds"]["model"] for run in runs) / max(turns, 1),
        simulate_seconds=sum(run["seconds"]["simulate"] for run in runs) / max(simulations, 1),
        failed=failed / max(simulations, 1),
        invalid=sum(turn["status"] == "invalid" for r in runs for turn in r["turns"]) / len(runs),
    )


def _bootstrap(values: Floats, tasks: Sequence[str]) -> tuple[Floats, Floats, Floats]:
    """Mean of the rows of ``values`` (runs, columns) with percentile intervals.

    Tasks are resampled with replacement, and the runs (seeds) of each drawn task again within it,
    since runs of one task are alike. The generator is seeded: the same runs, the same interval.
    """
    groups: dict[str, list[int]] = {}
    for row, task in enumerate(tasks):
        groups.setdefault(task, []).append(row)
    members = list(groups.values())
    most = max(len(rows) for rows in members)
    table = np.array([np.resize(rows, most) for rows in members])  # shorter groups repeat
    sizes = np.array([len(rows) for rows in members])
    rng = np.random.default_rng(0)
    means = np.empty((_RESAMPLES, values.shape[1]))
    for resample in range(_RESAMPLES):
        drawn = rng.integers(len(members), size=len(members))
        within = (rng.random((len(drawn), most)) * sizes[drawn, None]).astype(int)
        means[resample] = values[table[drawn[:, None], within].ravel()].mean(axis=0)
    tail = 100 * (1 - _CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return values.mean(axis=0), low, high


def _first(run: Run) -> float:
    """Simulations to the first success, infinite without one."""
    first = run["first_met_at"]
    return math.inf if first is None else float(first)


def _area(run: Run, budget: int) -> float:
    best, total, spent = 0.0, 0.0, 0
    for turn in run["turns"]:
        if turn["score"] is None:
            continue
        best = max(best, turn["score"])
        total += best
        spent += 1
    return (total + best * (budget - spent)) / budget


def _reached(run: Run, objective: Objective | None) -> float | None:
    """The best objective among the run's sizings that meet the specs."""
    if objective is None:
        return None
    values = [
        turn["metrics"][objective.metric]
        for turn in run["turns"]
        if turn["met"] and turn["metrics"].get(objective.metric) is not None
    ]
    if not values:
        return None
    return float(min(values) if objective.goal == "minimize" else max(values))


def _best_objectives(
    runs: Sequence[Run], objectives: Mapping[str, Objective | None]
) -> dict[str, float]:
    best: dict[str, float] = {}
    for run in runs:
        objective = objectives.get(run["circuit"])
        value = _reached(run, objective)
        if value is not None and objective is not None:
            better = min if objective.goal == "minimize" else max
            best[run["task"]] = better(best.get(run["task"], value), value)
    return best


def _objective_ratio(
    runs: Sequence[Run], best: Mapping[str, float], objectives: Mapping[str, Objective | None]
) -> float | None:
    logs = []
    for run in runs:
        objective = objectives.get(run["circuit"])
        value = _reached(run, objective)
        if value is None or objective is None or value <= 0 or best[run["task"]] <= 0:
            continue
        ratio = value / best[run["task"]]
        logs.append(math.log(ratio if objective.goal == "minimize" else 1 / ratio))
    return math.exp(sum(logs) / len(logs)) if logs else None


def _shares(group: Mapping[str, Measures]) -> str:
    steps = sorted({step for measures in group.values() for step in measures.met_at})
    header = ["met, %", *(f"≤ {step}" for step in steps)]
    rows = [
        [name, *(str(m.met_at[s]) if s in m.met_at else "" for s in steps)]
        for name, m in group.items()
    ]
    return _table(header, rows)


def _others(group: Mapping[str, Measures]) -> str:
    header = ["", "median simulations", "area", "objective", "s/proposal", "s/simulation",
              "failed, %", "invalid/run"]  # fmt: skip
    rows = [
        [
            name,
            "–" if m.median_to_success is None else f"{m.median_to_success:g}",
            f"{m.area.value:.3f} ({m.area.low:.3f}–{m.area.high:.3f})",
            "–" if m.objective is None else f"{m.objective:.2f}",
            f"{m.model_seconds:.2f}",
            f"{m.simulate_seconds:.3f}",
            f"{100 * m.failed:.1f}",
            f"{m.invalid:.2f}",
        ]
        for name, m in group.items()
    ]
    return _table(header, rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
