from __future__ import annotations

from dataclasses import replace

import pytest

from acs_assistant.bench.draw import Plan, check_witnesses, draw_tasks
from acs_assistant.bench.taskfile import LEVELS
from acs_assistant.errors import InputError
from tests.bench.parts import load
from tests.optimizers.toy import ToySimulator, toy_circuit

PLAN = Plan(count=4, seed=3, simulations={"medium": 30, "hard": 120})


def test_every_task_is_met_by_its_witness_and_few_random_sizings() -> None:
    drawn = draw_tasks(toy_circuit(), ToySimulator(), PLAN)
    tasks = [task for task, _ in drawn]
    assert [t.level for t in tasks] == [level for level in LEVELS for _ in range(4)]
    assert len({t.id for t in tasks}) == len(tasks)
    witnesses = {w.id: w for _, w in drawn}
    for _, evaluation in check_witnesses(tasks, witnesses, load, ToySimulator()):
        assert evaluation is not None
        assert evaluation.score.met
    defaults = {s.metric: s.relation for s in toy_circuit().specs}
    for task in tasks:
        assert len(task.specs) == 4
        assert all(defaults[s.metric] == s.relation for s in task.specs)


def test_specs_are_the_witness_relaxed_by_what_the_level_says() -> None:
    for task, witness in draw_tasks(toy_circuit(), ToySimulator(), PLAN):
        relax = 0.03 if task.level == "hard" else 0.10
        for spec in task.specs:
            measured = witness.metrics[spec.metric]
            slack = (measured - spec.target) / abs(measured)
            slack = slack if spec.relation == ">=" else -slack
            # Rounding to three digits, never harder, adds up to 1 % of the target.
            assert relax - 1e-9 <= slack <= relax + 0.011


def test_same_seed_same_tasks_and_levels_do_not_depend_on_each_other() -> None:
    every = draw_tasks(toy_circuit(), ToySimulator(), PLAN)
    only = draw_tasks(toy_circuit(), ToySimulator(), replace(PLAN, levels=("medium",)))
    assert every[4:8] == only
    other = draw_tasks(toy_circuit(), ToySimulator(), replace(PLAN, levels=("medium",), seed=4))
    assert [t.specs for t, _ in only] != [t.specs for t, _ in other]


def test_harder_levels_are_better_trade_offs() -> None:
    """Gain-bandwidth per power: optimized sizings have more of it than random working ones."""

    def merit(level: str) -> float:
        found = [w.metrics for t, w in drawn if t.level == level]
        return sorted(m["gbw"] / m["power"] for m in found)[len(found) // 2]

    drawn = draw_tasks(toy_circuit(), ToySimulator(), replace(PLAN, count=7))
    assert merit("easy") < merit("hard")


def test_conditions_are_drawn_inside_the_circuits_ranges() -> None:
    plan = replace(PLAN, levels=("easy",), vary_conditions=True)
    loads = set()
    for task, witness in draw_tasks(toy_circuit(), ToySimulator(), plan):
        assert 1e-12 <= task.conditions["load"] <= 5e-12
        assert 1.6 <= task.conditions["supply"] <= 2.0
        loads.add(task.conditions["load"])
        (found,) = check_witnesses([task], {task.id: witness}, load, ToySimulator())
        assert found[1] is not None and found[1].score.met
    assert len(loads) > 1


def test_corner_tasks_hold_at_every_corner() -> None:
    plan = replace(PLAN, levels=("easy",), count=2, corners=("tt", "ss"))
    for task, witness in draw_tasks(toy_circuit(), ToySimulator(), plan):
        assert task.corners == ("tt", "ss")
        ((_, evaluation),) = check_witnesses([task], {task.id: witness}, load, ToySimulator())
        assert evaluation is not None
        assert len(evaluation.measurements) == 2


def test_missing_witness_is_told() -> None:
    drawn = draw_tasks(toy_circuit(), ToySimulator(), replace(PLAN, levels=("easy",), count=1))
    assert list(check_witnesses([drawn[0][0]], {}, load, ToySimulator())) == [
        (drawn[0][0].id, None)
    ]


def test_circuit_without_ranges_or_without_working_sizings() -> None:
    bare = replace(toy_circuit(), specs=tuple(replace(s, range=None) for s in toy_circuit().specs))
    with pytest.raises(InputError, match="no range"):
        draw_tasks(bare, ToySimulator(), PLAN)
    first = replace(toy_circuit().specs[0], range=(500.0, 600.0))
    dead = replace(toy_circuit(), specs=(first, *toy_circuit().specs[1:]))
    with pytest.raises(InputError, match="no working sizing"):
        draw_tasks(dead, ToySimulator(), replace(PLAN, patience=50))
