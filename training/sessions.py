"""Design sessions by simulation: specs, a history, and the sizing that a good designer tries next.

Hindsight makes them true: any simulated sizing is a right answer for the specs that it meets, so a
session is kept only when ngspice says that its last sizing meets them (or, where nothing does, that
it is a real improvement).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acs_assistant.domain import Circuit, Decision, Proposal, Spec, Task, Turn
from acs_assistant.prompting.history import SHOWN, select
from acs_assistant.prompting.numbers import format_value
from acs_assistant.prompting.render import messages
from acs_assistant.training.archive import Archive, sizing_at
from acs_assistant.training.reasoning import before_expectation, first_thought, next_thought
from acs_assistant.training.surrogate import Surrogate
from acs_assistant.training.targets import SpecArrays, met, solve, spec_arrays

FloatArray = NDArray[np.float64]
Simulate = Callable[[FloatArray], Archive]

_CHANGES = (2, 3, 5)
"""Parameters that a correction may move, fewest first, before it may move all."""


@dataclass(slots=True)
class Draft:
    """One task on its way to a session: its specs and the turns so far."""

    specs: tuple[Spec, ...]
    turns: list[Step] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Step:
    """One turn of a draft.

    Attributes:
        proposed: Position that the model named.
        row: Row of what was simulated; −1 for a rejected proposal.
        thought: The reasoning before the call.
        kind: What the engineer did.
        reason: Why, when rejected.
        learn: Whether the turn is to be imitated.
    """

    proposed: FloatArray
    row: int
    thought: str
    kind: str = "accepted"
    reason: str = ""
    learn: bool = False


class Workshop:
    """Makes sessions for one circuit; every sizing that it simulates joins ``archive``."""

    def __init__(
        self,
        archive: Archive,
        surrogate: Surrogate,
        anchor: FloatArray,
        simulate: Simulate,
        rng: np.random.Generator,
    ) -> None:
        self.archive = archive
        self.circuit: Circuit = archive.circuit
        self.surrogate = surrogate
        self.anchor = anchor
        self._simulate = simulate
        self._rng = rng

    def simulate(self, positions: FloatArray) -> NDArray[np.int64]:
        """Simulates and archives; returns the rows."""
        first = len(self.archive)
        self.archive = self.archive.extended(self._simulate(positions))
        return np.arange(first, first + len(positions))

    def first_answers(
        self, tasks: Sequence[tuple[Spec, ...]], witnesses: FloatArray | None
    ) -> NDArray[np.int64]:
        """The canonical first sizing of each task, simulated; −1 where none met the specs.

        A miss is solved again with what the miss taught (the surrogate's error there), then from
        the witness, whose neighbourhood is known to hold an answer.
        """
        arrays = spec_arrays(self.circuit, tasks, self.surrogate.scale)
        home = np.repeat(self.anchor[None, :], len(tasks), axis=0)
        answers = np.full(len(tasks), -1, dtype=np.int64)
        open_rows = np.arange(len(tasks))
        start, bias = home, None
        for attempt in range(3):
            part = arrays.take(open_rows)
            if attempt == 2:
                if witnesses is None:
                    break
                start, bias = witnesses[open_rows], None
            positions = solve(self.surrogate, part, start, home[open_rows], bias=bias)
            rows = self.simulate(positions)
            good = met(part, self.surrogate.scale, self.archive.metrics[rows])
            answers[open_rows[good]] = rows[good]
            missed = rows[~good]
            open_rows = open_rows[~good]
            if not len(open_rows):
                break
            start, bias = self.archive.positions[missed], self.bias(missed)
        return answers

    def estimates(
        self, tasks: Sequence[tuple[Spec, ...]], witnesses: FloatArray
    ) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Canonical first positions as the surrogate sees them, and whether it thinks they meet.

        Nothing is simulated: good for bare calls that claim nothing, not for sessions.
        """
        arrays = spec_arrays(self.circuit, tasks, self.surrogate.scale)
        home = np.repeat(self.anchor[None, :], len(tasks), axis=0)
        positions = solve(self.surrogate, arrays, home, home)
        good = self._estimated(arrays, positions)
        missed = np.flatnonzero(~good)
        positions[missed] = solve(
            self.surrogate, arrays.take(missed), witnesses[missed], home[missed]
        )
        return positions, self._estimated(arrays, positions)

    def small_steps(
        self, tasks: Sequence[tuple[Spec, ...]], rows: NDArray[np.int64]
    ) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Corrections of measured rows as the surrogate sees them, and whether it thinks they meet.

        Nothing is simulated. One that moves almost everything explains nothing: it is not good.
        """
        arrays = spec_arrays(self.circuit, tasks, self.surrogate.scale)
        home, bias = self.archive.positions[rows], self.bias(rows)
        positions = self._few_changes(arrays, home, bias)
        few = (np.abs(positions - home) > 1e-3).sum(axis=1) <= _CHANGES[-1] + 1
        return positions, few & self._estimated(arrays, positions, bias)

    def shortfalls(self, specs: tuple[Spec, ...], rows: NDArray[np.int64]) -> FloatArray:
        """(N,) how far measured rows are from the specs, in spreads, summed; inf when missing."""
        arrays = spec_arrays(self.circuit, [specs], self.surrogate.scale)
        scaled = self.surrogate.scale.forward(self.archive.metrics[rows])
        short = np.maximum(arrays.sign * (arrays.target - scaled), 0.0)
        total: FloatArray = np.where(arrays.sign != 0, short, 0.0).sum(axis=1)
        return np.nan_to_num(total, nan=np.inf)

    def _estimated(
        self, arrays: SpecArrays, positions: FloatArray, bias: FloatArray | float = 0.0
    ) -> NDArray[np.bool_]:
        """Whether the surrogate, corrected by ``bias``, thinks that positions meet their specs."""
        seen = self.surrogate.scale.inverse(self.predict(positions) + bias)
        return met(arrays, self.surrogate.scale, seen)

    def bias(self, rows: NDArray[np.int64]) -> FloatArray:
        """Measured minus predicted, scaled; 0 where nothing was measured."""
        predicted = self.predict(self.archive.positions[rows])
        measured = self.surrogate.scale.forward(self.archive.metrics[rows])
        return np.nan_to_num(np.clip(measured - predicted, -1.0, 1.0))

    def predict(self, positions: FloatArray) -> FloatArray:
        import torch

        with torch.no_grad():
            scaled = self.surrogate(torch.tensor(positions, dtype=torch.float32))
        return np.asarray(scaled.numpy(), dtype=np.float64)

    def expected(self, position: FloatArray) -> dict[str, float]:
        """Metrics as the surrogate sees them: what a wrong turn expected before it was measured."""
        raw = self.surrogate.scale.inverse(self.predict(position[None, :]))[0]
        return {m.name: float(v) for m, v in zip(self.circuit.metrics, raw, strict=True)}

    def correct(self, drafts: Sequence[Draft], learn: bool, noise: float = 0.0) -> None:
        """Adds a turn to each draft: the nearest sizing to the best so far that should meet.

        With ``noise`` the turn is knocked off its target and not to be imitated.
        """
        if not drafts:
            return
        best = np.array([self.best_row(draft) for draft in drafts])
        known = best >= 0
        home = np.repeat(self.anchor[None, :], len(drafts), axis=0)
        home[known] = self.archive.positions[best[known]]
        bias = np.zeros((len(drafts), len(self.circuit.metrics)))
        bias[known] = self.bias(best[known])
        arrays = spec_arrays(self.circuit, [d.specs for d in drafts], self.surrogate.scale)
        target = self._few_changes(arrays, home, bias)
        if noise:
            target = np.clip(target + self.jolt(len(drafts), noise), 0, 1)
        rows = self.simulate(target)
        for draft, row in zip(drafts, rows, strict=True):
            good = self.archive.evaluation(int(row), draft.specs).score.met
            self.append(draft, int(row), learn=learn and good)

    def _few_changes(self, arrays: SpecArrays, home: FloatArray, bias: FloatArray) -> FloatArray:
        """(B, parameters) solutions that move as few parameters away from ``home`` as suffice.

        A small model can say and do a change of three sizes; thirteen at once hide the reason.
        """
        answer = solve(self.surrogate, arrays, home, home, bias=bias, pull=0.1)
        distance = np.abs(answer - home)
        open_rows = np.arange(len(home))
        for count in _CHANGES:
            rank = np.argsort(np.argsort(-distance[open_rows], axis=1), axis=1)
            low, high = (
                np.where(rank < count, edge, np.clip(home[open_rows] + slack, 0.0, 1.0))
                for edge, slack in ((0.0, -1e-6), (1.0, 1e-6))
            )
            part, start = arrays.take(open_rows), home[open_rows]
            tried = solve(
                self.surrogate,
                part,
                start,
                start,
                bias=bias[open_rows],
                bounds=(low, high),
                pull=0.1,
            )
            good = self._estimated(part, tried, bias[open_rows])
            answer[open_rows[good]] = tried[good]
            open_rows = open_rows[~good]
            if not len(open_rows):
                break
        return answer

    def random(self, count: int) -> FloatArray:
        return self._rng.random(count)

    def jolt(self, count: int, noise: float) -> FloatArray:
        """Errors like a model's: of random size, on some parameters more than on others."""
        width = len(self.circuit.parameters)
        size = noise * self._rng.lognormal(0.0, 0.7, (count, 1))
        mask = self._rng.random((count, width)) < self._rng.uniform(0.2, 1.0, (count, 1))
        return np.asarray(size * mask * self._rng.normal(size=(count, width)))

    def append(
        self,
        draft: Draft,
        row: int,
        *,
        learn: bool,
        kind: str = "accepted",
        reason: str = "",
        proposed: FloatArray | None = None,
        asked: str = "",
    ) -> None:
        """Writes the thought of the next turn and adds it; ``row`` −1: it was not simulated."""
        position = self.archive.positions[row] if proposed is None else proposed
        expected = self.expected(position)
        if learn and row >= 0:
            expected |= self.archive.measured(row)
        sizing = sizing_at(self.circuit, position)
        best = self.best_row(draft)
        if best < 0 and not asked:
            influence = self.surrogate.sensitivities(position)
            thought = first_thought(self.circuit, draft.specs, sizing, expected, influence)
        else:
            if best >= 0:
                before, measured = self.archive.positions[best], self.archive.measured(best)
            else:
                before, measured = draft.turns[-1].proposed, {}
            influence = self.surrogate.sensitivities(before)
            thought = next_thought(
                self.circuit,
                draft.specs,
                sizing_at(self.circuit, before),
                measured,
                sizing,
                expected,
                influence,
                asked,
            )
        draft.turns.append(Step(position, row, thought, kind, reason, learn))

    def best_row(self, draft: Draft) -> int:
        """Row of the best measured turn; −1 when there is none."""
        best, found = -1.0, -1
        for step in draft.turns:
            if step.row >= 0 and self.archive.ok[step.row]:
                value = self.archive.evaluation(step.row, draft.specs).score.value
                if value >= best:
                    best, found = value, step.row
        return found

    def meets(self, draft: Draft) -> bool:
        row = draft.turns[-1].row if draft.turns else -1
        return row >= 0 and self.archive.evaluation(row, draft.specs).score.met

    def record(self, draft: Draft) -> dict[str, Any]:
        """The session as chat JSONL: messages, and whether the last turn is to be imitated.

        The turns before it stand as the engine will show them.
        """
        task = Task(self.circuit, draft.specs, self.circuit.conditions)
        turns = [self._turn(i, step, draft.specs) for i, step in enumerate(draft.turns, start=1)]
        chat = messages(task, [*select(turns[:-1], SHOWN), turns[-1]])
        last = max(i for i, message in enumerate(chat) if message["role"] == "assistant")
        return {"messages": chat, "train": [last] if draft.turns[-1].learn else []}

    def _turn(self, index: int, step: Step, specs: tuple[Spec, ...]) -> Turn:
        sizing = sizing_at(self.circuit, step.proposed)
        proposal = Proposal(sizing, "data", reasoning=step.thought)
        if step.row < 0:
            decision = Decision("rejected", {}, step.reason, "engineer")
            return Turn(index, None, index, proposal, decision, None, specs)
        evaluation = self.archive.evaluation(step.row, specs)
        if step.kind == "edited":
            edited = self.archive.sizing(step.row)
            return Turn(index, None, index, proposal, Decision("edited", edited), evaluation, specs)
        return Turn(index, None, index, proposal, Decision("accepted", sizing), evaluation, specs)

    def sketch(
        self, specs: tuple[Spec, ...], position: FloatArray, row: int = -1
    ) -> dict[str, Any]:
        """A record of specs and the sizes that the surrogate chose; it stops before any claim.

        Args:
            row: What was measured before it, which it corrects; −1 for a first proposal.
        """
        past = () if row < 0 else (Step(self.archive.positions[row], row, ""),)
        draft = Draft(specs, list(past))
        self.append(draft, -1, learn=True, proposed=position)
        thought = before_expectation(draft.turns[-1].thought)
        turns = [self._turn(1, step, specs) for step in past]
        chat = messages(Task(self.circuit, specs, self.circuit.conditions), turns)
        started = {"role": "assistant", "reasoning_content": thought}
        return {"messages": [*chat, started], "train": [len(chat)], "unfinished": True}

    def observation(self, specs: tuple[Spec, ...], row: int, before: int = -1) -> dict[str, Any]:
        """A simulated sizing, not to be imitated; what follows from it is true all the same.

        Args:
            before: The measured row that it changes; −1 for a first proposal.
        """
        draft = Draft(specs)
        if before >= 0:
            draft.turns.append(Step(self.archive.positions[before], before, ""))
        self.append(draft, row, learn=True)
        draft.turns[-1] = replace(draft.turns[-1], learn=False)
        return self.record(draft)

    def rejections(
        self, tasks: Sequence[tuple[Spec, ...]], answers: NDArray[np.int64]
    ) -> list[Draft]:
        """Sessions whose first proposal is rejected with a bound, and whose second obeys it."""
        if not tasks:
            return []
        drafts, edges = [], []
        width = len(self.circuit.parameters)
        for specs, row in zip(tasks, answers, strict=True):
            draft = Draft(specs)
            self.append(draft, int(row), learn=True)
            which = int(self._rng.integers(width))
            u = self.archive.positions[row, which]
            shift = self._rng.uniform(0.03, 0.2)
            upper = bool(self._rng.random() < 0.5)
            edge = float(np.clip(u - shift if upper else u + shift, 0.02, 0.98))
            parameter = self.circuit.parameters[which]
            word = "at most" if upper else "at least"
            demand = f"{parameter.name} {word} {format_value(parameter.from_unit(edge))}"
            draft.turns[0] = replace(draft.turns[0], row=-1, kind="rejected", reason=demand)
            drafts.append(draft)
            edges.append((which, edge, upper))
        low, high = np.zeros((len(drafts), width)), np.ones((len(drafts), width))
        for i, (which, edge, upper) in enumerate(edges):
            (high if upper else low)[i, which] = edge
        arrays = spec_arrays(self.circuit, tasks, self.surrogate.scale)
        start = np.clip(self.archive.positions[answers], low + 0.01, high - 0.01)
        target = solve(
            self.surrogate, arrays, start, start, bias=self.bias(answers), bounds=(low, high)
        )
        rows = self.simulate(target)
        for draft, row in zip(drafts, rows, strict=True):
            self.append(draft, int(row), learn=True, asked=draft.turns[0].reason)
        return [d for d in drafts if self.meets(d)]
