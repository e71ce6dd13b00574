"""What saved sessions teach: sizings that the engineer took, and ones that the engineer refused.

Which turns are which, ``engine.teaching`` says. A right one is imitated with reasoning written anew
from what was measured, because the reasoning of then named other sizes, or expected other figures.
A rejected proposal is held against the sizing that was taken in its stead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acs_assistant.domain import (
    Circuit,
    Conditions,
    Decision,
    Proposal,
    Sizing,
    Spec,
    Task,
    Turn,
)
from acs_assistant.engine.teaching import ancestors, is_refused, is_right
from acs_assistant.errors import SimulatorError
from acs_assistant.prompting.history import SHOWN, select
from acs_assistant.prompting.render import assistant_text, messages
from acs_assistant.prompting.wording import demand
from acs_assistant.scoring import score
from acs_assistant.sim.port import SimulationRequest, Simulator
from acs_assistant.storage.records import SessionRecord
from acs_assistant.training.archive import Archive, position_of, simulate_positions
from acs_assistant.training.chat import chat_text
from acs_assistant.training.reasoning import first_thought, next_thought
from acs_assistant.training.tasks import on_grid
from acs_assistant.training.tokenizer import IM_END

_STEP = 0.03


@dataclass(frozen=True, slots=True)
class Right:
    """A sizing that was taken, and the turns before it."""

    task: Task
    history: tuple[Turn, ...]
    sizing: Sizing
    turn: Turn


@dataclass(frozen=True, slots=True)
class Preference:
    """Two assistant texts for one history, as text: what was taken, and what was refused."""

    prompt: str
    better: str
    worse: str


@dataclass(frozen=True, slots=True)
class Lessons:
    """Everything that the chosen sessions teach.

    Attributes:
        rights: What was taken.
        records: The same as chat JSONL.
        preferences: Taken against refused.
    """

    rights: tuple[Right, ...]
    records: tuple[dict[str, Any], ...]
    preferences: tuple[Preference, ...]


def lessons_of(
    sessions: Sequence[tuple[SessionRecord, Sequence[Turn]]], simulator: Simulator
) -> Lessons:
    """Reads the lessons out of sessions; sensitivities are simulated for the reasoning."""
    writer = _Writer(simulator)
    rights, records, preferences = [], [], []
    for record, turns in sessions:
        by_id = {turn.id: turn for turn in turns}
        taken = [r for turn in turns if (r := _right(record.task, turn, by_id)) is not None]
        rights += taken
        records += [writer.record(right) for right in taken]
        for turn in turns:
            if is_refused(turn):
                stead = next((r for r in taken if turn in r.history), None)
                if stead is not None:
                    preferences.append(writer.preference(turn, stead, by_id))
    return Lessons(tuple(rights), tuple(records), tuple(preferences))


def _right(task: Task, turn: Turn, by_id: Mapping[int, Turn]) -> Right | None:
    """The turn as a lesson, or None when it is none."""
    history = ancestors(turn, by_id)
    if turn.decision is None or not is_right(task, turn, history):
        return None
    task = replace(task, specs=turn.specs or task.specs)
    return Right(task, history, dict(turn.decision.sizing), turn)


def _value(specs: Sequence[Spec], turn: Turn) -> float:
    assert turn.evaluation is not None
    return score(specs, turn.evaluation.measurements).value


class _Writer:
    """Writes right turns as a model would have: reasoning from measured figures, then the call."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._known: dict[str, NDArray[np.float64]] = {}

    def record(self, right: Right) -> dict[str, Any]:
        thought = self._thought(right, right.history)
        proposal = Proposal(right.sizing, "model", reasoning=thought)
        decision = Decision("accepted", right.sizing, by="engineer")
        turn = replace(right.turn, proposal=proposal, decision=decision, specs=right.task.specs)
        chat = messages(right.task, [*select(right.history, SHOWN), turn])
        last = max(i for i, message in enumerate(chat) if message["role"] == "assistant")
        return {"messages": chat, "train": [last]}

    def preference(self, refused: Turn, stead: Right, by_id: Mapping[int, Turn]) -> Preference:
        """Both as answers to the history that the refused one was given."""
        history = ancestors(refused, by_id)
        task = replace(stead.task, specs=refused.specs or stead.task.specs)
        circuit = task.circuit
        worse = refused.proposal.raw or assistant_text(
            circuit, refused.proposal.reasoning, refused.proposal.sizing
        )
        better = assistant_text(circuit, self._thought(stead, history), stead.sizing)
        return Preference(
            chat_text(messages(task, select(history, SHOWN)), add_generation_prompt=True),
            better + IM_END,
            worse + IM_END,
        )

    def _thought(self, right: Right, history: Sequence[Turn]) -> str:
        task, specs = right.task, right.task.specs
        assert right.turn.evaluation is not None
        expected = right.turn.evaluation.nominal.metrics
        asked = demand(history[-1]) if history else ""
        scored = [t for t in history if t.evaluation is not None and t.evaluation.status == "ok"]
        best = max(scored, key=lambda turn: _value(specs, turn), default=None)
        if best is None and not asked:
            influence = self._influence(task, right.sizing)
            return first_thought(task.circuit, specs, right.sizing, expected, influence)
        if best is None:
            before, measured = history[-1].proposal.sizing, {}
        else:
            assert best.decision is not None and best.evaluation is not None
            before = best.decision.sizing or best.proposal.sizing
            measured = dict(best.evaluation.nominal.metrics)
        return next_thought(
            task.circuit,
            specs,
            before,
            measured,
            right.sizing,
            expected,
            self._influence(task, before),
            asked,
        )

    def _influence(self, task: Task, sizing: Sizing) -> NDArray[np.float64]:
        """(metrics, parameters) relative change of each metric per unit of position, simulated."""
        circuit = task.circuit
        key = f"{circuit.name} {task.conditions} {sorted(sizing.items())}"
        if key in self._known:
            return self._known[key]
        here = position_of(circuit, sizing)
        steps = np.where(here < 0.5, _STEP, -_STEP)
        points = [dict(sizing)] + [
            {**sizing, p.name: p.from_unit(here[i] + steps[i])}
            for i, p in enumerate(circuit.parameters)
        ]
        requests = [SimulationRequest(circuit, point, task.conditions) for point in points]
        results = dict(self._simulator.map(requests))
        values = np.array(
            [
                [results[i].metrics.get(m.name, np.nan) for m in circuit.metrics]
                for i in range(len(points))
            ]
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            change = (values[1:] - values[0]) / np.abs(values[0]) / steps[:, None]
        self._known[key] = np.nan_to_num(change, posinf=0.0, neginf=0.0).T
        return self._known[key]


@dataclass(frozen=True, slots=True)
class Ground:
    """One circuit under one set of conditions: sizings around the right ones, simulated.

    Rows of even number are for training, of odd number for the evaluation.
    """

    tasks: tuple[Task, ...]
    archive: Archive

    def drawn(self, rng: np.random.Generator, held_out: bool) -> Task:
        """The specs of one of the sessions, moved to what one of the rows measured."""
        template = self.tasks[int(rng.integers(len(self.tasks)))]
        measured = self.usable(template.specs, held_out)
        metrics = self.archive.measured(int(measured[rng.integers(len(measured))]))
        specs = tuple(_moved(spec, metrics[spec.metric], rng) for spec in template.specs)
        return replace(template, specs=specs, corners=(template.conditions.corner,))

    def usable(self, specs: Sequence[Spec], held_out: bool) -> NDArray[np.int64]:
        """Rows that have every metric of ``specs``; from the other half when one has none."""
        columns = [m.name for m in self.archive.circuit.metrics]
        needed = [columns.index(spec.metric) for spec in specs]
        whole = self.archive.ok & np.isfinite(self.archive.metrics[:, needed]).all(axis=1)
        rows = np.flatnonzero(whole)
        if not len(rows):
            raise SimulatorError(
                f"no sizing of circuit {self.archive.circuit.name} simulates now, "
                "not even those that were accepted.",
                hint="acs-assistant doctor",
            )
        part = rows[rows % 2 == int(held_out)]
        return part if len(part) else rows


def _moved(spec: Spec, value: float, rng: np.random.Generator) -> Spec:
    if spec.relation == "==":
        return spec
    slack = abs(value) * rng.uniform(0.0, 0.05)
    target = value - slack if spec.relation == ">=" else value + slack
    return replace(spec, target=on_grid(target, spec.relation))


def grounds_of(
    rights: Sequence[Right], simulator: Simulator, perturbations: int, seed: int
) -> list[Ground]:
    """Simulates around the right sizings of each circuit and conditions, in order of appearance."""
    rng = np.random.default_rng(seed)
    grounds = []
    for circuit, conditions in _places(rights):
        here = [r for r in rights if r.task.circuit == circuit and r.task.conditions == conditions]
        centres = np.array([position_of(circuit, r.sizing) for r in here])
        count = max(perturbations, len(here))
        size = 0.08 * rng.lognormal(0.0, 0.6, (count, 1))
        noise = size * rng.normal(size=(count, centres.shape[1]))
        noise[: len(here)] = 0.0
        positions = np.clip(centres[np.arange(count) % len(here)] + noise, 0.0, 1.0)
        archive = simulate_positions(circuit, positions, simulator, None, conditions)
        tasks = tuple(dict.fromkeys((r.task.specs, r.task.corners) for r in here))
        grounds.append(Ground(tuple(Task(circuit, s, conditions, c) for s, c in tasks), archive))
    return grounds


def _places(rights: Sequence[Right]) -> list[tuple[Circuit, Conditions]]:
    places: list[tuple[Circuit, Conditions]] = []
    for right in rights:
        place = (right.task.circuit, right.task.conditions)
        if place not in places:
            places.append(place)
    return places


class SessionTasks:
    """Training tasks: half are the sessions' own, half are drawn on their ground."""

    def __init__(self, grounds: Sequence[Ground]) -> None:
        self._grounds = list(grounds)

    @property
    def circuits(self) -> Sequence[Circuit]:
        return [ground.archive.circuit for ground in self._grounds]

    def draw(self, rng: np.random.Generator) -> Task:
        ground = self._grounds[int(rng.integers(len(self._grounds)))]
        if rng.random() < 0.5:
            return ground.tasks[int(rng.integers(len(ground.tasks)))]
        return ground.drawn(rng, held_out=False)

    def held_out(self, count: int, seed: int) -> list[Task]:
        """Draws that training never sees, circuits in turn."""
        rng = np.random.default_rng([seed, 1])
        return [
            self._grounds[i % len(self._grounds)].drawn(rng, held_out=True) for i in range(count)
        ]
