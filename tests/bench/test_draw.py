from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from acs_assistant.bench.draw import (
    Plan,
    _screens,
    check_witnesses,
    corner_variant,
    draw_tasks,
)
from acs_assistant.bench.taskfile import LEVELS
from acs_assistant.cancel import CancelToken
from acs_assistant.domain import CORNERS, Measurement, Metric, Spec, Testbench
from acs_assistant.errors import InputError
from acs_assistant.library import load_circuit
from acs_assistant.optimizers.space import DesignSpace
from acs_assistant.sim.port import SimulationRequest
from tests.bench.parts import load
from tests.optimizers.toy import ToySimulator, toy_circuit

PLAN = Plan(count=2, seed=3, simulations={"medium": 125, "hard": 250})


def test_every_task_is_met_by_its_witness_and_few_random_sizings() -> None:
    drawn = draw_tasks(toy_circuit(), ToySimulator(), PLAN)
    tasks = [task for task, _ in drawn]
    assert [t.level for t in tasks] == [level for level in LEVELS for _ in range(2)]
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
    assert every[2:4] == only
    other = draw_tasks(toy_circuit(), ToySimulator(), replace(PLAN, levels=("medium",), seed=4))
    assert [t.specs for t, _ in only] != [t.specs for t, _ in other]


def test_harder_levels_are_better_trade_offs() -> None:
    """Gain-bandwidth per power: optimized sizings have more of it than random working ones."""

    def merit(level: str) -> float:
        found = [w.metrics for t, w in drawn if t.level == level]
        return sorted(m["gbw"] / m["power"] for m in found)[len(found) // 2]

    drawn = draw_tasks(
        toy_circuit(), ToySimulator(), replace(PLAN, count=4, levels=("easy", "hard"))
    )
    assert merit("easy") < merit("hard")


def test_optimized_witnesses_of_a_level_lie_apart() -> None:
    space = DesignSpace(toy_circuit())
    plan = replace(PLAN, count=5, levels=("medium",))
    places = [space.to_unit(w.sizing) for _, w in draw_tasks(toy_circuit(), ToySimulator(), plan)]
    for number, place in enumerate(places):
        for other in places[:number]:
            assert max(abs(a - b) for a, b in zip(place, other, strict=True)) > 0.2


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


def test_a_corner_variant_is_the_same_witness_at_five_corners() -> None:
    for task, witness in draw_tasks(toy_circuit(), ToySimulator(), PLAN):
        made = corner_variant(task, witness, toy_circuit(), ToySimulator())
        assert made is not None
        variant, again = made
        assert variant.corners == CORNERS
        assert again.sizing == witness.sizing
        assert {s.metric for s in variant.specs} <= {s.metric for s in task.specs}
        ((_, evaluation),) = check_witnesses([variant], {again.id: again}, load, ToySimulator())
        assert evaluation is not None
        assert evaluation.score.met
        assert len(evaluation.measurements) == len(CORNERS)
        easier = {s.metric: s for s in task.specs}
        for spec in variant.specs:  # the worst corner is no better than tt
            sign = 1 if spec.relation == ">=" else -1
            assert sign * spec.target <= sign * easier[spec.metric].target


class _LostAtFf(ToySimulator):
    """Measures a slew rate too, and no dc gain at ff."""

    def simulate(
        self, request: SimulationRequest, cancel: CancelToken | None = None
    ) -> Measurement:
        measured = super().simulate(request, cancel)
        metrics = {**measured.metrics, "slew_rate": 1e6}
        if request.conditions.corner == "ff":
            del metrics["dc_gain"]
        return replace(measured, metrics=metrics)


def test_what_a_witness_loses_at_a_corner_is_not_asked_for() -> None:
    ((task, witness),) = draw_tasks(
        toy_circuit(), ToySimulator(), replace(PLAN, levels=("easy",), count=1)
    )
    assert corner_variant(task, witness, toy_circuit(), _LostAtFf()) is None
    slew = Spec("slew_rate", ">=", 1e5, range=(1e4, 1e7))
    more = replace(
        toy_circuit(),
        specs=(*toy_circuit().specs, slew),
        metrics=(*toy_circuit().metrics, Metric("slew_rate", "V/s", "ac", "formula")),
    )
    made = corner_variant(task, witness, more, _LostAtFf())
    assert made is not None  # the slew rate takes the place of the gain
    assert [s.metric for s in made[0].specs] == ["gbw", "phase_margin", "power", "slew_rate"]


def test_an_equality_asks_for_what_was_measured_within_its_own_tolerance() -> None:
    power = Spec("power", "==", 300e-6, tolerance=20e-6, range=(50e-6, 800e-6))
    others = tuple(s for s in toy_circuit().specs if s.metric != "power")
    circuit = replace(toy_circuit(), specs=(*others, power))
    found = set()
    for task, witness in draw_tasks(circuit, ToySimulator(), replace(PLAN, count=2)):
        spec = next(s for s in task.specs if s.metric == "power")
        assert spec.tolerance == 20e-6
        assert spec.target == pytest.approx(witness.metrics["power"], rel=0.005)
        found.add(spec.target)
        made = corner_variant(task, witness, circuit, ToySimulator())
        assert made is not None
        wider = next(s for s in made[0].specs if s.metric == "power")
        assert wider.tolerance >= spec.tolerance
    assert len(found) > 2


def test_random_sizings_are_given_up_at_the_first_testbench_that_they_fail() -> None:
    """The second testbench is simulated for the few that pass the first."""
    asked: list[int] = []

    class Counting(ToySimulator):
        def simulate(
            self, request: SimulationRequest, cancel: CancelToken | None = None
        ) -> Measurement:
            asked.append(len(request.circuit.metrics))
            return super().simulate(request, cancel)

    toy = toy_circuit()
    benches = (Testbench("ac", Path(), ""), Testbench("dc", Path(), ""))
    last = replace(toy.metrics[-1], testbench="dc")
    split = replace(toy, testbenches=benches, metrics=(*toy.metrics[:-1], last))
    plan = replace(PLAN, levels=("easy",))
    assert draw_tasks(split, Counting(), plan) == draw_tasks(toy, ToySimulator(), plan)
    assert 2 <= asked.count(4) < asked.count(3) / 2


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


def test_screens_of_real_circuits_have_something_to_run() -> None:
    def stages(name: str) -> list[set[str]]:
        circuit = load_circuit(name)
        return [{m.name for m in part.metrics} for part, _ in _screens(circuit, circuit.specs)]

    assert stages("ring_oscillator") == []  # one testbench, a transient
    first, second = stages("folded_cascode_ota")
    assert {"power", "area"} <= first < second
    assert "slew_rate" not in second
