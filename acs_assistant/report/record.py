"""A finished or running session as the exporters see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from acs_assistant.domain import Evaluation, Task, Turn, Waveform, best_turn

Message = Mapping[str, Any]
"""An OpenAI chat message."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made the session's numbers. Empty text means: not known, or does not apply."""

    app_version: str = ""
    proposer: str = ""
    model: str = ""
    model_sha256: str = ""
    prompt_version: str = ""
    ngspice_version: str = ""
    pdk: str = ""
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One session, all that an exporter needs.

    Attributes:
        created: ISO 8601, with the offset from UTC.
        turns: Every turn of the tree in the order they were made, abandoned branches too.
        head: Id of the newest turn of the current branch; None for the last of ``turns``.
        best: Id of the turn to report; None for ``domain.best_turn`` of all turns.
        messages: The conversation of the current branch, as the model saw it.
        tools: The tools that the model was offered.
        waveforms: Vectors of the best turn, for plots; may be empty.
        behind: Vectors of the turn that a Bode plot shows behind it; may be empty.
    """

    id: str
    created: str
    task: Task
    budget: int
    turns: tuple[Turn, ...]
    provenance: Provenance = field(default_factory=Provenance)
    head: int | None = None
    best: int | None = None
    messages: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    waveforms: tuple[Waveform, ...] = ()
    behind: tuple[Waveform, ...] = ()

    @property
    def path(self) -> tuple[Turn, ...]:
        """The current branch, oldest turn first."""
        if not self.turns:
            return ()
        by_id = {turn.id: turn for turn in self.turns}
        at = by_id.get(self.head) if self.head is not None else self.turns[-1]
        path: list[Turn] = []
        while at is not None and at not in path:
            path.append(at)
            at = by_id.get(at.parent) if at.parent is not None else None
        return tuple(reversed(path))

    @property
    def simulated(self) -> tuple[Turn, ...]:
        """The turns that spent one simulation of the budget each."""
        return tuple(turn for turn in self.turns if turn.evaluation is not None)

    @property
    def best_turn(self) -> Turn | None:
        if self.best is not None:
            return next((turn for turn in self.turns if turn.id == self.best), None)
        return best_turn(self.turns)

    @property
    def first_met_at(self) -> int | None:
        """How many simulations it took until every spec was met; None when none did."""
        for count, turn in enumerate(self.simulated, start=1):
            if evaluation_of(turn).score.met:
                return count
        return None


def evaluation_of(turn: Turn) -> Evaluation:
    """The evaluation of a turn that is known to have one."""
    if turn.evaluation is None:
        raise ValueError(f"turn {turn.id} was never simulated")
    return turn.evaluation


def sizing_of(turn: Turn) -> dict[str, float]:
    """What was simulated: the decision's sizing, or the proposal's while nothing is decided."""
    if turn.decision is not None and turn.decision.sizing:
        return dict(turn.decision.sizing)
    return dict(turn.proposal.sizing)
