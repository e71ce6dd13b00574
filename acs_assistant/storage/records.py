"""What the store keeps beside turns: sessions, and what made each turn."""

from __future__ import annotations

from dataclasses import dataclass, field

from acs_assistant.domain import Sizing, Task


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made a turn, enough to make it again.

    Attributes:
        model: Name of the language model; empty for an optimizer.
        model_sha256: Of the model's file; empty for a server.
        simulator: Such as "ngspice-39".
        seed: The turn's own seed, drawn from the session's.
    """

    app: str = ""
    prompt: str = ""
    model: str = ""
    model_sha256: str = ""
    simulator: str = ""
    pdk: str = ""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question about a turn and the model's answer. Neither is part of the conversation.

    Attributes:
        answer: Its words; empty when it gave none.
        sizing: What it would simulate, when it called the tool instead of answering.
    """

    question: str
    answer: str
    sizing: Sizing = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One session as stored.

    Attributes:
        task: Its specs are the ones in force now.
        proposer: "model" or an optimizer's name.
        model: Name, file or URL that ``proposer`` "model" is opened with; empty is the default.
        head: The turn that the next one continues; None before the first.
        tip: Where redo leads to.
        created: ISO 8601, UTC.
    """

    id: int
    title: str
    task: Task
    proposer: str
    model: str
    budget: int
    seed: int
    head: int | None
    tip: int | None
    archived: bool
    created: str
    updated: str
    parent: int | None = None


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A row of the sessions list; cheap to make for thousands of sessions.

    Attributes:
        best: Highest score of the whole tree; None before the first simulation.
        met: Some turn met every spec that was in force when it was simulated.
        running: Another process, or this one, holds the session's lock.
    """

    id: int
    title: str
    circuit: str
    proposer: str
    model: str
    budget: int
    simulations: int
    turns: int
    best: float | None
    met: bool
    archived: bool
    created: str
    updated: str
    running: bool = False
