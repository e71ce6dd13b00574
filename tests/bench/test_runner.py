from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from acs_assistant.bench import runner
from acs_assistant.bench.draw import Plan, draw_tasks
from acs_assistant.bench.runner import RESULTS, Bench, read_results, run_bench, sample_tasks
from acs_assistant.bench.taskfile import BenchTask
from acs_assistant.domain import Spec
from acs_assistant.errors import InputError, InternalError
from tests.bench.parts import deadly_services, toy_services
from tests.optimizers.toy import ToySimulator, toy_circuit


@pytest.fixture(scope="module")
def tasks() -> list[BenchTask]:
    plan = Plan(count=3, levels=("easy",), seed=1)
    return [task for task, _ in draw_tasks(toy_circuit(), ToySimulator(), plan)]


def bench(tasks: Sequence[BenchTask], **changes: Any) -> Bench:
    chosen: dict[str, Any] = {
        "tasks": tasks, "proposers": ("tpe", "random"), "budget": 15, "seeds": 2, "workers": 1,
    }  # fmt: skip
    return Bench(**(chosen | changes))


def timeless(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in result.items() if k != "seconds"} for result in results]


def test_one_solve_document_per_run(tasks: list[BenchTask], tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    results = run_bench(
        bench(tasks), tmp_path, toy_services, lambda done, total: calls.append((done, total))
    )
    assert len(results) == 12
    assert calls == [(done, 12) for done in range(13)]
    assert {(r["task"], r["proposer"], r["seed"]) for r in results} == {
        (t.id, p, s) for t in tasks for p in ("tpe", "random") for s in (0, 1)
    }
    for result in results:
        assert result["circuit"] == "toy"
        assert result["level"] == "easy"
        assert 1 <= result["simulations"] == len(result["turns"]) <= 15
        assert result["met"] == (result["first_met_at"] is not None)
        assert result["first_met_at"] in (None, result["simulations"])
        assert set(result["seconds"]) == {"model", "simulate", "total"}
    lines = (tmp_path / RESULTS).read_text().splitlines()
    assert [json.loads(line)["task"] for line in lines] == [r["task"] for r in results]


def test_identical_seeds_identical_results_in_one_process_or_two(
    tasks: list[BenchTask], tmp_path: Path
) -> None:
    alone = run_bench(bench(tasks), tmp_path / "a", toy_services)
    spread = run_bench(bench(tasks, workers=2), tmp_path / "b", toy_services)
    assert timeless(alone) == timeless(spread)
    by_seed = [[r["turns"] for r in alone if r["seed"] == seed] for seed in (0, 1)]
    assert by_seed[0] != by_seed[1]
    first_points = {json.dumps(r["turns"][0]["sizing"]) for r in alone if r["seed"] == 0}
    assert len(first_points) > 1, "tasks must not share their random first points"


def test_goes_on_where_it_stopped(
    tasks: list[BenchTask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_bench(bench(tasks), tmp_path / "whole", toy_services)
    out = tmp_path / "cut"
    run_bench(bench(tasks, proposers=("tpe",)), out, toy_services)
    file = out / RESULTS
    text = file.read_text()
    file.write_text(text[: len(text) // 2])  # killed in the middle of a line
    kept = text[: len(text) // 2].count("\n")
    made: list[runner.Job] = []
    real = runner.run_job
    monkeypatch.setattr(
        runner, "run_job", lambda job, services: made.append(job) or real(job, services)
    )
    results = run_bench(bench(tasks), out, toy_services)
    assert len(made) == 12 - kept
    assert timeless(results) == timeless(whole)


def test_optimize_goes_on_after_success(tasks: list[BenchTask], tmp_path: Path) -> None:
    results = run_bench(
        bench(tasks[:1], proposers=("tpe",), seeds=1, budget=40, optimize=True),
        tmp_path,
        toy_services,
    )
    assert results[0]["simulations"] == 40


def test_another_budget_needs_another_folder(tasks: list[BenchTask], tmp_path: Path) -> None:
    run_bench(bench(tasks[:1], proposers=("random",), seeds=1), tmp_path, toy_services)
    with pytest.raises(InputError, match="another benchmark"):
        run_bench(bench(tasks, budget=16), tmp_path, toy_services)


def test_unknown_names_are_found_before_anything_runs(
    tasks: list[BenchTask], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"unknown proposer 'tpf'.*\n.*'tpe'"):
        run_bench(bench(tasks, proposers=("random", "tpf")), tmp_path, toy_services)
    elsewhere = BenchTask("x", "nowhere", (Spec("gbw", ">=", 1.0),))
    with pytest.raises(InputError, match="unknown circuit 'nowhere'"):
        run_bench(bench([*tasks, elsewhere]), tmp_path, toy_services)
    assert not (tmp_path / RESULTS).exists() or not (tmp_path / RESULTS).read_text()


def test_a_file_that_is_not_results_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / RESULTS
    file.write_text("my notes\nmore notes\n")
    with pytest.raises(InputError, match="not a line of benchmark results"):
        read_results(file)
    assert file.read_text() == "my notes\nmore notes\n"


def test_a_killed_worker_is_explained(tasks: list[BenchTask], tmp_path: Path) -> None:
    with pytest.raises(InternalError, match=r"was killed.*\n.*finished runs are kept"):
        run_bench(bench(tasks, workers=2), tmp_path, deadly_services)


def many() -> list[BenchTask]:
    """Two levels of two circuits and one of a third, circuit by circuit as in a file."""
    return [
        BenchTask(f"{circuit}-{level}-{index}", circuit, (Spec("gbw", ">=", 1.0),), level=level)
        for circuit, levels in (("a", ("easy", "hard")), ("b", ("easy", "hard")), ("c", ("easy",)))
        for level in levels
        for index in range(3)
    ]


def test_runs_take_turns_over_circuits_and_levels() -> None:
    jobs = Bench(many(), ("tpe", "random"), seeds=2).jobs()
    assert len({job.key for job in jobs}) == 60
    assert [job.seed for job in jobs] == [0] * 30 + [1] * 30
    first = [job.task.id for job in jobs if job.proposer == "tpe"][:6]
    assert first == ["a-easy-0", "b-easy-0", "c-easy-0", "a-hard-0", "b-hard-0", "c-easy-1"]


def test_a_sample_is_as_many_of_each_circuit_and_level_and_always_the_same() -> None:
    drawn = sample_tasks(many(), 2)
    assert [(task.circuit, task.level) for task in drawn] == [
        pair for pair in dict.fromkeys((t.circuit, t.level) for t in many()) for _ in range(2)
    ]
    assert drawn == sample_tasks(many(), 2)
    without_hard = [task for task in many() if task.level != "hard"]
    assert sample_tasks(without_hard, 2) == [task for task in drawn if task.level != "hard"]
    assert [task.id for task in drawn] != [t.id for t in many() if not t.id.endswith("2")]
    assert sample_tasks(many(), 50) == many()
