"""What became of a turn, as the design loop asks it."""

from __future__ import annotations

from collections.abc import Sequence

from acs_assistant.domain import Sizing, Turn


def accepted(turn: Turn) -> bool:
    """Its sizing is simulated, or will be."""
    return turn.decision is not None and turn.decision.kind in ("accepted", "edited")


def set_aside(turn: Turn) -> bool:
    """Another proposal took its place."""
    return turn.decision is not None and turn.decision.kind == "regenerated"


def failed(turn: Turn) -> bool:
    """The simulation failed, or the proposal could not be simulated."""
    if turn.evaluation is not None:
        return turn.evaluation.status == "failed"
    return turn.decision is not None and turn.decision.kind == "invalid"


def met(turn: Turn) -> bool:
    """It met every spec."""
    return turn.evaluation is not None and turn.evaluation.score.met


def last_sizing(history: Sequence[Turn]) -> Sizing:
    """The last sizing that was simulated: what a proposal is compared with."""
    for turn in reversed(history):
        if turn.decision is not None and turn.evaluation is not None:
            return turn.decision.sizing
    return {}
