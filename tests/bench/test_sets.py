from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from acs_assistant.bench.draw import Plan
from acs_assistant.bench.sets import TaskSet, draw_corners, draw_set, infeasible
from acs_assistant.bench.taskfile import witness_file, write_tasks
from acs_assistant.cancel import CancelToken
from acs_assistant.domain import CORNERS, Circuit, Measurement
from acs_assistant.errors import InputError
from acs_assistant.sim.port import SimulationRequest
from tests.optimizers.toy import ToySimulator, toy_circuit

PLAN = Plan(count=3, levels=("easy", "medium"), seed=3, simulations={"medium": 125})
TWO = (toy_circuit(), replace(toy_circuit(), name="other"))


def load(name: str) -> Circuit:
    return replace(toy_circuit(), name=name)


class Stopped(ToySimulator):
    """Is interrupted after some simulations."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._left = most

    def simulate(
        self, request: SimulationRequest, cancel: CancelToken | None = None
    ) -> Measurement:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return super().simulate(request, cancel)


def test_a_stopped_drawing_goes_on_and_gives_the_same_set(tmp_path: Path) -> None:
    whole, stopped = TaskSet(tmp_path / "whole.json"), TaskSet(tmp_path / "stopped.json")
    calls: list[tuple[int, int]] = []
    simulator = ToySimulator()
    draw_set(whole, TWO, simulator, PLAN, progress=lambda *counts: calls.append(counts))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    with pytest.raises(KeyboardInterrupt):
        draw_set(stopped, TWO, Stopped(2 * simulator.count // 3), PLAN)
    some = {task.id for task, _ in stopped.read()}
    assert 0 < len(some) < 12
    draw_set(stopped, TWO, ToySimulator(), PLAN, workers=2)
    assert stopped.path.read_text() == whole.path.read_text()
    assert witness_file(stopped.path).read_text() == witness_file(whole.path).read_text()
    assert draw_set(whole, TWO, Stopped(0), PLAN) == whole.read()  # nothing is left to simulate


def test_levels_may_be_added_later(tmp_path: Path) -> None:
    target = TaskSet(tmp_path / "set.json")
    draw_set(target, TWO, ToySimulator(), replace(PLAN, levels=("medium",), count=2))
    draw_set(target, TWO, ToySimulator(), replace(PLAN, levels=("easy",)))
    assert [(t.circuit, t.level) for t, _ in target.read()] == [
        (name, level)
        for name in ("other", "toy")
        for level in ("easy", "easy", "easy", "medium", "medium")
    ]


def test_the_corner_variant_is_a_set_of_its_own_and_goes_on_too(tmp_path: Path) -> None:
    target = TaskSet(tmp_path / "set.json")
    pairs = draw_set(target, TWO, ToySimulator(), PLAN)
    with pytest.raises(KeyboardInterrupt):
        draw_corners(target, load, Stopped(17))
    assert len(target.corners.read()) == 3
    assert draw_corners(target, load, ToySimulator()) == []
    variants = target.corners.read()
    assert target.corners.path.name == "set_corners.json"
    assert [t.id for t, _ in variants] == [f"{t.id}-corners" for t, _ in pairs]
    assert all(t.corners == CORNERS for t, _ in variants)
    assert infeasible(target.corners, load, ToySimulator()) == []


def test_a_task_that_its_witness_misses_is_named(tmp_path: Path) -> None:
    target = TaskSet(tmp_path / "set.json")
    pairs = draw_set(target, TWO[:1], ToySimulator(), PLAN)
    task, witness = pairs[2]
    spec = next(s for s in task.specs if s.relation == ">=")
    harder = tuple(replace(s, target=10 * s.target) if s is spec else s for s in task.specs)
    target.write([*pairs[:2], (replace(task, specs=harder), witness), *pairs[3:]])
    assert infeasible(target, load, ToySimulator()) == [task.id]


def test_a_file_without_witnesses_is_not_written_over(tmp_path: Path) -> None:
    target = TaskSet(tmp_path / "set.json")
    pairs = draw_set(target, TWO[:1], ToySimulator(), PLAN)
    target.write(pairs[:-1])
    write_tasks(target.path, [task for task, _ in pairs])
    with pytest.raises(InputError, match=pairs[-1][0].id):
        draw_set(target, TWO, ToySimulator(), PLAN)
