"""Task sets on disk: drawn circuit by circuit and level by level, so that a stop loses one of them.

A set may have a corner variant beside it: the same witnesses, held against all five corners.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from acs_assistant.bench.draw import Plan, check_witnesses, corner_variant, draw_tasks
from acs_assistant.bench.taskfile import (
    LEVELS,
    BenchTask,
    Level,
    Witness,
    read_tasks,
    read_witnesses,
    witness_file,
    write_tasks,
    write_witnesses,
)
from acs_assistant.domain import Circuit
from acs_assistant.errors import InputError
from acs_assistant.sim.port import Simulator

Pair = tuple[BenchTask, Witness]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class TaskSet:
    """A task file and the witnesses beside it."""

    path: Path

    def read(self) -> list[Pair]:
        """Its tasks with their witnesses; none when there is no file yet.

        Raises:
            InputError: A file cannot be read, or a task has no witness.
        """
        if not self.path.exists():
            return []
        tasks, witnesses = read_tasks(self.path), read_witnesses(witness_file(self.path))
        for task in tasks:
            if task.id not in witnesses:
                raise InputError(
                    f"task {task.id} has no witness in {witness_file(self.path)}.",
                    hint="Choose another file for tasks that are drawn.",
                    file=self.path,
                )
        return [(task, witnesses[task.id]) for task in tasks]

    def write(self, pairs: Sequence[Pair]) -> None:
        write_witnesses(witness_file(self.path), [witness for _, witness in pairs])
        write_tasks(self.path, [task for task, _ in pairs])

    @property
    def corners(self) -> TaskSet:
        """Its corner variant: ``set_corners.json`` beside ``set.json``."""
        return TaskSet(self.path.with_stem(f"{self.path.stem}_corners"))


def draw_set(
    target: TaskSet,
    circuits: Sequence[Circuit],
    simulator: Simulator,
    plan: Plan,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Pair]:
    """Draws what ``target`` does not hold yet; a finished level of a circuit is written at once.

    The same seed gives the same tasks, whatever was there before and however many workers.

    Args:
        workers: Circuits that are drawn side by side.
        progress: Called with (levels of circuits done, in all).

    Raises:
        InputError: A circuit has no ranges, or none of its random sizings works.
    """
    pairs = {task.id: (task, witness) for task, witness in target.read()}
    units = [(level, circuit) for level in plan.levels for circuit in circuits]
    todo = [unit for unit in units if not _complete(pairs.values(), *unit, plan)]
    with ThreadPoolExecutor(max(1, workers)) as threads:
        futures = [
            threads.submit(draw_tasks, circuit, simulator, replace(plan, levels=(level,)))
            for level, circuit in todo
        ]
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                pairs |= {task.id: (task, witness) for task, witness in future.result()}
                target.write(_sorted(pairs.values()))
                if progress is not None:
                    progress(len(units) - len(todo) + number, len(units))
        finally:
            for future in futures:
                future.cancel()
    return _sorted(pairs.values())


def draw_corners(
    target: TaskSet,
    load: Callable[[str], Circuit],
    simulator: Simulator,
    progress: Progress | None = None,
) -> list[str]:
    """Writes the corner variant of every task of a set that has none yet.

    Returns:
        The tasks without one: their witness does not simulate at some corner.

    Raises:
        InputError: The set cannot be read.
    """
    base, variants = target.read(), target.corners.read()
    known = {task.id for task, _ in variants}
    without = []
    for number, (task, witness) in enumerate(base, start=1):
        if f"{task.id}-corners" in known:
            continue
        made = corner_variant(task, witness, load(task.circuit), simulator)
        if made is None:
            without.append(task.id)
        else:
            variants.append(made)
            target.corners.write(_sorted(variants))
        if progress is not None:
            progress(number, len(base))
    return without


def infeasible(
    target: TaskSet,
    load: Callable[[str], Circuit],
    simulator: Simulator,
    progress: Progress | None = None,
) -> list[str]:
    """Simulates every witness of a set again: the tasks that theirs does not meet.

    Raises:
        InputError: The set cannot be read, or is empty.
    """
    tasks, witnesses = read_tasks(target.path), read_witnesses(witness_file(target.path))
    failed = []
    checks = check_witnesses(tasks, witnesses, load, simulator)
    for number, (name, evaluation) in enumerate(checks, start=1):
        if evaluation is None or not evaluation.score.met:
            failed.append(name)
        if progress is not None:
            progress(number, len(tasks))
    return failed


def _complete(pairs: Iterable[Pair], level: Level, circuit: Circuit, plan: Plan) -> bool:
    prefix = f"{circuit.name}-{level}-{plan.seed}-"
    return sum(task.id.startswith(prefix) for task, _ in pairs) >= plan.count


def _sorted(pairs: Iterable[Pair]) -> list[Pair]:
    """By circuit, level and number."""
    return sorted(pairs, key=lambda p: (p[0].circuit, (*LEVELS, "").index(p[0].level), p[0].id))
