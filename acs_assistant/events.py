"""What the engine says while it works. A view folds these and holds no other state.

``turn`` is the id of a stored turn. A second ``TurnStarted`` without a proposal in between means
that the text so far is void: the model is drawn again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from acs_assistant.domain import Decision, Evaluation, Proposal, Sizing, Turn


@dataclass(frozen=True, slots=True)
class TurnStarted:
    index: int
    parent: int | None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the assistant's text. ``channel`` says which part of the message it belongs to."""

    channel: Literal["reasoning", "text", "call"]
    text: str


@dataclass(frozen=True, slots=True)
class ProposalReady:
    turn: int
    proposal: Proposal
    previous: Sizing


@dataclass(frozen=True, slots=True)
class Decided:
    turn: int
    decision: Decision


@dataclass(frozen=True, slots=True)
class SimulationStarted:
    turn: int
    sizing: Sizing


@dataclass(frozen=True, slots=True)
class SimulationFinished:
    turn: int
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class TurnStored:
    """The turn is on disk. Emitted after each stage that changed it."""

    turn: Turn
    simulations: int
    budget: int


@dataclass(frozen=True, slots=True)
class CandidateDrawn:
    """One of several proposals for a turn that is not made yet. ``number`` counts from 1."""

    number: int
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class Answered:
    """What the model said when it was asked about a turn.

    Attributes:
        text: Its words; empty when it gave none.
        sizing: What it would simulate, when it called the tool although it was not asked to; it is
            told to the engineer and changes nothing.
        seconds: How long it took.
    """

    turn: int
    question: str
    text: str
    sizing: Sizing
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Stopped:
    """The loop ended; the session can always go on later."""

    reason: Literal["met", "budget", "cancelled", "failures", "paused", "error"]
    message: str = ""


Event = (
    TurnStarted
    | TextDelta
    | ProposalReady
    | Decided
    | SimulationStarted
    | SimulationFinished
    | TurnStored
    | CandidateDrawn
    | Answered
    | Stopped
)
