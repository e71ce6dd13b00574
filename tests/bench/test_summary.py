from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acs_assistant.bench.figures import BOXES, CURVES, write_figures
from acs_assistant.bench.summary import (
    markdown,
    shared_tasks,
    success_curve,
    summarize,
    write_summary,
)
from acs_assistant.domain import Objective


def run(
    task: str,
    proposer: str,
    scores: list[float],
    *,
    seed: int = 0,
    budget: int = 10,
    circuit: str = "toy",
    powers: list[float] | None = None,
    failed: tuple[int, ...] = (),
) -> dict[str, Any]:
    turns = [
        {
            "turn": i + 1,
            "sizing": {},
            "metrics": {"power": powers[i]} if powers else {},
            "score": score,
            "met": score == 1.0,
            "status": "failed" if i in failed else "ok",
        }
        for i, score in enumerate(scores)
    ]
    met = [i + 1 for i, score in enumerate(scores) if score == 1.0]
    return {
        "task": task,
        "level": "easy",
        "circuit": circuit,
        "proposer": proposer,
        "seed": seed,
        "budget": budget,
        "simulations": len(scores),
        "met": bool(met),
        "first_met_at": met[0] if met else None,
        "turns": turns,
        "seconds": {"model": 0.5 * len(scores), "simulate": 0.1 * len(scores), "total": 1.0},
    }


def test_measures_by_hand() -> None:
    runs = [
        run("a", "x", [0.5, 1.0]),
        run("b", "x", [0.2, 0.4, 0.3, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4], failed=(0, 2)),
        run("c", "x", [1.0]),
    ]
    measures = summarize(runs).overall["x"]
    assert {step: e.value for step, e in measures.met_at.items()} == pytest.approx(
        {1: 1 / 3, 3: 2 / 3, 5: 2 / 3, 10: 2 / 3}
    )
    assert measures.median_to_success == 2
    area = ((0.5 + 9 * 1.0) / 10 + (0.2 + 9 * 0.4) / 10 + 1.0) / 3
    assert measures.area.value == pytest.approx(area)
    assert measures.failed == pytest.approx(2 / 13)
    assert measures.model_seconds == pytest.approx(0.5)
    assert measures.simulate_seconds == pytest.approx(0.1)


def test_no_median_when_most_runs_never_meet() -> None:
    runs = [run("a", "x", [1.0]), run("b", "x", [0.1]), run("c", "x", [0.1])]
    assert summarize(runs).overall["x"].median_to_success is None


def test_objective_is_relative_to_the_best_on_the_same_task() -> None:
    runs = [
        run("a", "x", [1.0, 1.0], powers=[4e-4, 2e-4]),
        run("a", "y", [1.0, 0.9], powers=[1e-4, 1e-6]),
        run("b", "x", [1.0], powers=[3e-4]),
        run("b", "y", [0.5], powers=[1e-6]),
    ]
    measures = summarize(runs, {"toy": Objective("power")}).overall
    assert measures["x"].objective == pytest.approx(2**0.5)
    assert measures["y"].objective == pytest.approx(1.0)
    assert summarize(runs).overall["x"].objective is None


def test_interval_has_the_width_of_a_binomial_and_knows_repeated_tasks() -> None:
    rng = np.random.default_rng(1)
    runs = [run(f"t{i}", "x", [1.0 if rng.random() < 0.4 else 0.5]) for i in range(100)]
    wide = summarize(runs).overall["x"].met_at[1]
    assert wide.high - wide.low == pytest.approx(2 * 1.96 * (0.4 * 0.6 / 100) ** 0.5, rel=0.15)
    # Four seeds that always agree are not four times the evidence.
    copies = [r | {"seed": seed} for r in runs for seed in range(4)]
    same = summarize(copies).overall["x"].met_at[1]
    assert (same.value, same.low, same.high) == pytest.approx(
        (wide.value, wide.low, wide.high), abs=0.03
    )
    assert summarize(runs).overall["x"].met_at[1] == wide, "the interval is repeatable"


def test_curve_never_falls_and_ends_at_the_share_met() -> None:
    runs = [run("a", "x", [0.5, 1.0]), run("b", "x", [0.5] * 10), run("c", "x", [0.1] * 6 + [1.0])]
    mean, low, high = success_curve(runs, 10)
    assert mean[-1] == pytest.approx(2 / 3)
    assert np.all(np.diff(mean) >= 0)
    assert np.all((low <= mean) & (mean <= high))


def test_files(tmp_path: Path) -> None:
    runs = [
        run(f"{c}{i}", p, [0.5] * i + [1.0], circuit=c, powers=[1e-4] * (i + 1))
        for c in ("toy", "other")
        for p in ("model", "tpe")
        for i in range(4)
    ]
    summary = summarize(runs, {"toy": Objective("power"), "other": None})
    write_summary(summary, tmp_path)
    document = json.loads((tmp_path / "summary.json").read_text())
    assert set(document["circuits"]) == {"toy", "other"}
    assert document["overall"]["model"]["met_at"]["1"]["value"] == 0.25
    text = (tmp_path / "summary.md").read_text()
    assert text == markdown(summary)
    assert "| model | 25 (" in text
    assert "## Circuit: other (4 tasks)" in text
    write_figures(runs, tmp_path)
    svg = (tmp_path / CURVES).read_text()
    assert "<svg" in svg
    assert (tmp_path / BOXES).with_suffix(".png").stat().st_size > 5000
    write_figures(runs, tmp_path)
    assert (tmp_path / CURVES).read_text() == svg, "the same runs, the same figure"


def test_proposers_are_compared_on_what_each_of_them_has_run() -> None:
    runs = [
        run("a", "x", [1.0]),
        run("a", "y", [0.5]),
        run("a", "x", [1.0], seed=1),
        run("b", "x", [1.0]),
        run("b", "z", [1.0]),
    ]
    shared = [(r["task"], r["proposer"], r["seed"]) for r in shared_tasks(runs, ("x", "y"))]
    assert shared == [("a", "x", 0), ("a", "y", 0)]
    assert len(shared_tasks(runs, ("x",))) == 3
    assert shared_tasks(runs, ("x", "y", "z")) == []
