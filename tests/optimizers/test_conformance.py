"""One suite that every optimizer passes, on an amplifier that is a few formulas."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from acs_assistant.domain import Evaluation, Measurement, Sizing, Task
from acs_assistant.errors import InputError
from acs_assistant.optimizers import OPTIMIZERS, make_optimizer
from acs_assistant.optimizers.port import Optimizer
from acs_assistant.scoring import score
from tests.optimizers.toy import evaluate, toy_task

LEARNERS = tuple(name for name in OPTIMIZERS if name not in ("random", "sobol"))
GOOD = {
    "w_in": 11.4e-6, "l_in": 0.41e-6, "w_load": 90e-6, "l_load": 2e-6, "w_out": 65e-6,
    "l_out": 0.26e-6, "i_tail": 12.7e-6, "c_c": 2e-12, "fold": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def task() -> Task:
    return toy_task()


def run(optimizer: Optimizer, task: Task, turns: int) -> list[tuple[Sizing, Evaluation]]:
    done = []
    for _ in range(turns):
        sizing = optimizer.ask()
        evaluation = evaluate(task, sizing)
        optimizer.tell(sizing, evaluation)
        done.append((sizing, evaluation))
    return done


def failed(task: Task) -> Evaluation:
    measurements = (Measurement("failed", {}, conditions=task.conditions, error="no convergence"),)
    return Evaluation(measurements, score(task.specs, measurements))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_same_seed_same_sizings_and_another_seed_others(name: str, task: Task) -> None:
    first, again, other = (
        [s for s, _ in run(make_optimizer(name, task, seed, 50), task, 11)] for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_sizing_is_whole_on_the_grid_and_inside_bounds(name: str, task: Task) -> None:
    optimizer = make_optimizer(name, task, 0, 50)
    assert optimizer.name == name
    for sizing, _ in run(optimizer, task, 11):
        assert list(sizing) == [p.name for p in task.circuit.parameters]
        assert dict(sizing) == task.circuit.snap(sizing)


@pytest.mark.parametrize("name", LEARNERS)
def test_told_history_makes_the_first_proposals_good(name: str, task: Task) -> None:
    """Handed over near a solution, an optimizer proposes near it and not over the whole box."""
    optimizer = make_optimizer(name, task, 0, 60)
    for sizing, evaluation in run(make_optimizer("sobol", task, 7, 60), task, 14):
        optimizer.tell(sizing, evaluation)
    for factor in (0.9, 1.0, 1.1):
        near = task.circuit.snap(GOOD | {"w_in": GOOD["w_in"] * factor})
        optimizer.tell(near, evaluate(task, near))
    informed = [e.score.value for _, e in run(optimizer, task, 2)]
    blind = [e.score.value for _, e in run(make_optimizer("random", task, 0, 60), task, 40)]
    assert sum(informed) / len(informed) > sum(blind) / len(blind) + 0.02


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_edited_proposal_and_failures_are_taken(name: str, task: Task) -> None:
    optimizer = make_optimizer(name, task, 1, 50)
    for turn in range(12):
        asked = optimizer.ask()
        if turn % 3 == 0:
            edited = task.circuit.snap(dict(asked) | {"w_in": 10e-6})
            optimizer.tell(edited, evaluate(task, edited))
        elif turn % 3 == 1:
            optimizer.tell(asked, failed(task))
        # Every third proposal is rejected: asked again without being told.
    assert task.circuit.snap(optimizer.ask())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_works_when_everything_fails(name: str, task: Task) -> None:
    optimizer = make_optimizer(name, task, 1, 50)
    for _ in range(10):
        optimizer.tell(optimizer.ask(), failed(task))
    assert task.circuit.snap(optimizer.ask())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_works_without_an_objective_and_with_one_spec(name: str) -> None:
    task = toy_task(objective=False)
    task = replace(task, specs=task.specs[:1])
    turns = run(make_optimizer(name, task, 0, 50), task, 12)
    assert any(e.score.met for _, e in turns)


BUDGET = {"gp": 14, "scbo": 15, "turbo": 22}  # a model step costs up to a second


@pytest.mark.parametrize("name", LEARNERS)
def test_beats_random_on_a_constrained_problem(name: str, task: Task) -> None:
    """Random meets these specs once in two thousand draws."""

    def best(make: Callable[[int], Optimizer], budget: int) -> float:
        return max(e.score.value for _, e in run(make(2), task, budget))

    budget = BUDGET.get(name, 60)
    mine = best(lambda seed: make_optimizer(name, task, seed, 50), budget)
    luck = best(lambda seed: make_optimizer("random", task, seed, 50), budget)
    assert mine > luck
    assert mine > 0.9


def test_goes_on_to_lower_the_objective_once_specs_are_met(task: Task) -> None:
    optimizer = make_optimizer("tpe", task, 0, 80)
    start = task.circuit.snap(GOOD)
    assert evaluate(task, start).score.met
    optimizer.tell(start, evaluate(task, start))
    met = [e for _, e in run(optimizer, task, 80) if e.score.met]
    powers = [e.nominal.metrics["power"] for e in met]
    assert min(powers) < evaluate(task, start).nominal.metrics["power"]


def test_unknown_name_offers_the_nearest(task: Task) -> None:
    with pytest.raises(InputError, match="Did you mean 'cmaes'"):
        make_optimizer("cma-es", task, 0, 10)


def test_torch_loads_only_for_those_that_need_it() -> None:
    code = (
        "import sys; from tests.optimizers.toy import toy_task;"
        "from acs_assistant.optimizers import make_optimizer as m;"
        "[m(n, toy_task(), 0, 9).ask() for n in ('tpe', 'cmaes', 'random', 'sobol')];"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_is_printed(task: Task, capfd: pytest.CaptureFixture[str]) -> None:
    for name in OPTIMIZERS:
        optimizer = make_optimizer(name, task, 0, 30)
        for sizing, evaluation in run(make_optimizer("sobol", task, 1, 9), task, 12):
            optimizer.tell(sizing, evaluation)
        optimizer.ask()
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
