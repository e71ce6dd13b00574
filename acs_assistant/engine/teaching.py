"""What a stored session can teach a model: which of its turns were right, which were refused.

A turn that an engineer accepted or edited was right, and so was one taken automatically when what
it measured was the best so far or met every spec.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from acs_assistant.domain import Task, Turn
from acs_assistant.scoring import score


@dataclass(frozen=True, slots=True)
class Teaching:
    """What one session teaches, in turns.

    Attributes:
        right: Sizings to imitate.
        edited: How many of them the engineer wrote.
        refused: Rejected proposals that are held against a sizing taken later on the same branch.
        reason: Why it teaches nothing; empty when it teaches something.
    """

    right: int
    edited: int
    refused: int
    reason: str = ""


def is_right(task: Task, turn: Turn, before: Sequence[Turn]) -> bool:
    """Whether a turn is one to imitate.

    Args:
        task: The session's; its specs count where the turn records none of its own.
        before: The turn's ancestors.
    """
    decision, evaluation = turn.decision, turn.evaluation
    if decision is None or evaluation is None or decision.kind not in ("accepted", "edited"):
        return False
    specs = turn.specs or task.specs
    measured = evaluation.nominal.metrics
    if evaluation.status != "ok" or any(spec.metric not in measured for spec in specs):
        return False
    if decision.by != "auto" or decision.kind != "accepted":
        return True
    own = score(specs, evaluation.measurements)
    reached = [
        score(specs, other.evaluation.measurements).value
        for other in before
        if other.evaluation is not None
    ]
    return own.met or own.value > max(reached, default=0.0)


def is_refused(turn: Turn) -> bool:
    """Whether the engineer rejected a usable proposal."""
    decision = turn.decision
    return (
        decision is not None
        and decision.kind == "rejected"
        and decision.by == "engineer"
        and bool(turn.proposal.sizing)
    )


def ancestors(turn: Turn, by_id: Mapping[int, Turn]) -> tuple[Turn, ...]:
    """The turns that led to this one, oldest first."""
    chain = []
    parent = turn.parent
    while parent is not None:
        chain.append(by_id[parent])
        parent = by_id[parent].parent
    return tuple(reversed(chain))


def teaching(task: Task, turns: Sequence[Turn]) -> Teaching:
    """Counts what a session teaches."""
    by_id = {turn.id: turn for turn in turns}
    histories = {turn.id: ancestors(turn, by_id) for turn in turns}
    right = [turn for turn in turns if is_right(task, turn, histories[turn.id])]
    led = {before.id for turn in right for before in histories[turn.id]}
    refused = sum(is_refused(turn) and turn.id in led for turn in turns)
    edited = sum(t.decision is not None and t.decision.kind == "edited" for t in right)
    reason = ""
    if not right:
        measured = any(turn.evaluation is not None for turn in turns)
        reason = "nothing measured was accepted" if measured else "nothing was simulated"
    return Teaching(len(right), edited, refused, reason)
