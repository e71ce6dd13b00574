"""Which turns a model with a short memory is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from acs_assistant.domain import Turn


def select(turns: Sequence[Turn], limit: int) -> list[Turn]:
    """At most ``limit`` turns, oldest first: the best one that was simulated, and the latest.

    Turns of which the conversation says nothing (invalid, undecided) are left out first. The
    chosen ones are numbered from 1, as in the sessions that the model was trained on.

    Args:
        limit: 0 shows every turn as it is.
    """
    if not limit:
        return list(turns)
    told = [turn for turn in turns if turn.decision is not None and turn.proposal.sizing]
    chosen = told[-limit:]
    best = max((turn for turn in told if turn.evaluation is not None), key=_score, default=None)
    if best is not None and all(turn.id != best.id for turn in chosen):
        chosen = [best, *chosen[1:]]
    return [replace(turn, index=number) for number, turn in enumerate(chosen, start=1)]


def _score(turn: Turn) -> tuple[float, int]:
    assert turn.evaluation is not None
    return turn.evaluation.score.value, turn.id
