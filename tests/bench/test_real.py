"""The benchmark on ngspice and SKY130, and the task sets that the package carries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import acs_assistant.bench
from acs_assistant.bench.draw import Plan, check_witnesses, draw_tasks
from acs_assistant.bench.runner import Bench, run_bench
from acs_assistant.bench.taskfile import read_tasks, read_witnesses, witness_file
from acs_assistant.cli.compose import benchmark_services
from acs_assistant.config import Settings
from acs_assistant.domain import Measurement
from acs_assistant.library import load_circuit
from acs_assistant.scoring import score
from acs_assistant.sim import make_simulator
from acs_assistant.sim.port import Simulator

SETS = sorted((Path(acs_assistant.bench.__file__).parent / "tasks").glob("*.json"))


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    made = make_simulator(1)
    yield made
    made.close()


def test_draw_and_run(simulator: Simulator, tmp_path: Path) -> None:
    circuit = load_circuit("ota_5t")
    drawn = draw_tasks(circuit, simulator, Plan(count=1, levels=("easy",), seed=2))
    tasks = [task for task, _ in drawn]
    ((_, evaluation),) = check_witnesses(
        tasks, {w.id: w for _, w in drawn}, load_circuit, simulator
    )
    assert evaluation is not None
    assert evaluation.score.met
    plan = Bench(tasks, ("tpe",), budget=3, workers=1, settings=Settings())
    (result,) = run_bench(plan, tmp_path, benchmark_services)
    assert result["simulations"] == 3 or result["met"]
    assert all(turn["status"] == "ok" for turn in result["turns"])
    assert set(result["turns"][0]["metrics"]) <= {m.name for m in circuit.metrics}


def test_the_package_carries_task_sets() -> None:
    assert SETS


@pytest.mark.parametrize("file", SETS, ids=lambda path: path.stem)
def test_every_task_of_a_set_has_a_witness(file: Path) -> None:
    tasks, witnesses = read_tasks(file), read_witnesses(witness_file(file))
    assert [task.id for task in tasks] == list(witnesses)
    for entry in tasks:
        task = entry.task(load_circuit(entry.circuit))
        witness = witnesses[entry.id]
        assert task.circuit.snap(witness.sizing) == dict(witness.sizing)
        if len(task.corners) == 1:
            assert score(task.specs, [Measurement("ok", witness.metrics)]).met


@pytest.mark.parametrize("file", SETS, ids=lambda path: path.stem)
def test_witnesses_meet_their_tasks_on_ngspice(file: Path, simulator: Simulator) -> None:
    """One of each level and circuit; the rest is checked against what was measured once."""
    first = {(t.circuit, t.level): t for t in reversed(read_tasks(file))}
    witnesses = read_witnesses(witness_file(file))
    for name, evaluation in check_witnesses(first.values(), witnesses, load_circuit, simulator):
        assert evaluation is not None
        assert evaluation.score.met, name
