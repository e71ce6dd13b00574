"""Which turns a model with a short memory is shown, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from acs_assistant.domain import SHOWN as SHOWN
from acs_assistant.domain import Turn


def select(turns: Sequence[Turn], limit: int) -> list[Turn]:
    """At most ``limit`` turns: the latest and the best that was simulated, the best one last.

    The next sizing starts from the best one, so it stands where it is found most easily: only what
    the engineer rejected after the last simulation follows it. Turns of which the conversation says
    nothing (invalid, undecided) are left out. The chosen ones are numbered from 1, and their
    reasoning is left out: what was measured is what counts. While the specs change between them,
    they stay in the order of time.

    Args:
        limit: 0 shows every turn as it is.
    """
    if not limit:
        return list(turns)
    told = [turn for turn in turns if turn.decision is not None and turn.proposal.sizing]
    chosen = told[-limit:]
    best = max((turn for turn in told if turn.evaluation is not None), key=_score, default=None)
    if best is not None:
        if best not in chosen:
            chosen = [best, *chosen[1:]]
        if len({turn.specs for turn in chosen}) == 1:
            chosen = _behind_the_simulated(best, chosen)
    return [_told(turn, number) for number, turn in enumerate(chosen, start=1)]


def _told(turn: Turn, number: int) -> Turn:
    return replace(turn, index=number, proposal=replace(turn.proposal, reasoning=""))


def _behind_the_simulated(best: Turn, chosen: Sequence[Turn]) -> list[Turn]:
    last = max(i for i, turn in enumerate(chosen) if turn.evaluation is not None)
    others = [turn for turn in chosen[: last + 1] if turn is not best]
    return [*others, best, *chosen[last + 1 :]]


def _score(turn: Turn) -> tuple[float, int]:
    assert turn.evaluation is not None
    return turn.evaluation.score.value, turn.id
