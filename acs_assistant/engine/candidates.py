"""Several proposals for one turn, drawn from the same history, for a person to choose from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from acs_assistant.cancel import CancelToken
from acs_assistant.domain import Proposal, Sizing, Task, Turn
from acs_assistant.engine.proposers import ModelProposer, Prompted, Proposer, sizing_key, told
from acs_assistant.events import TextDelta
from acs_assistant.llm.port import ModelInfo

_ROUNDS = 3
"""Groups that a model may be asked for until enough of its proposals differ."""

_APART = 104_729  # between the seeds of two rounds: further than a group is wide


@dataclass(frozen=True, slots=True)
class Candidate:
    """A proposal of a turn that is not made yet.

    Attributes:
        messages: What the model was given; empty without one.
        model: Which model; None without one.
        kept: It is in the tree of turns already.
    """

    proposal: Proposal
    messages: Sequence[Mapping[str, Any]] = ()
    model: ModelInfo | None = None
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """A ``Proposer`` of the one candidate that was taken.

    Attributes:
        others: Candidates of the same history that were not.
    """

    taken: Candidate
    others: Sequence[Candidate] = ()

    @property
    def name(self) -> str:
        return self.taken.proposal.proposer

    @property
    def model(self) -> ModelInfo | None:
        return self.taken.model

    def propose(
        self,
        task: Task,
        turns: Sequence[Turn],
        seed: int,
        cancel: CancelToken,
        avoid: Sequence[Sizing] = (),
    ) -> Iterator[TextDelta | Prompted | Proposal]:
        """See ``Proposer.propose``."""
        proposal = self.taken.proposal
        yield Prompted(self.taken.messages, 0.0)
        yield from told(proposal.raw) if proposal.raw else _words(proposal.reasoning)
        yield proposal


@dataclass(slots=True)
class Group:
    """The candidates that were drawn from one history.

    Attributes:
        origin: What they were drawn from; candidates of another origin are forgotten.
    """

    origin: object = None
    members: list[Candidate] = field(default_factory=list)

    def at(self, origin: object) -> list[Candidate]:
        """The members drawn from ``origin``."""
        if origin != self.origin:
            self.origin, self.members = origin, []
        return self.members

    def offer(self, proposal: Proposal) -> Offer:
        """One of the members, or a proposal that a person made of several."""
        taken = next((c for c in self.members if c.proposal == proposal), Candidate(proposal))
        return Offer(taken, tuple(c for c in self.members if c is not taken))

    def all_kept(self) -> None:
        """Every member has become a turn."""
        self.members[:] = [replace(candidate, kept=True) for candidate in self.members]


def draw(
    make: Callable[[], Proposer],
    task: Task,
    turns: Sequence[Turn],
    seed: int,
    count: int,
    cancel: CancelToken,
    avoid: Sequence[Sizing] = (),
) -> Iterator[Candidate]:
    """Yields at most ``count`` usable candidates that differ, as they come.

    Args:
        make: Gives a proposer that has proposed nothing yet. A language model draws its group at
            once; of any other proposer one is made for each candidate.

    Raises:
        ModelError: The model failed.
        CancelledError: The token was cancelled.
    """
    seen = {sizing_key(sizing) for sizing in avoid}
    drawn = 0
    first = make()
    if isinstance(first, ModelProposer):
        source = _groups(first, task, turns, seed, count, cancel)
    else:
        source = _singly(first, make, task, turns, seed, count, cancel, avoid)
    for candidate in source:
        proposal = candidate.proposal
        if proposal.error or sizing_key(proposal.sizing) in seen:
            continue
        seen.add(sizing_key(proposal.sizing))
        drawn += 1
        yield candidate
        if drawn == count:
            return


def _groups(
    proposer: ModelProposer,
    task: Task,
    turns: Sequence[Turn],
    seed: int,
    count: int,
    cancel: CancelToken,
) -> Iterator[Candidate]:
    for round in range(1, _ROUNDS + 1):
        cancel.raise_if_cancelled()
        messages, group = proposer.group(task, turns, seed + _APART * round, count, round, cancel)
        for proposal in group:
            yield Candidate(proposal, messages, proposer.model)


def _singly(
    proposer: Proposer,
    make: Callable[[], Proposer],
    task: Task,
    turns: Sequence[Turn],
    seed: int,
    count: int,
    cancel: CancelToken,
    avoid: Sequence[Sizing],
) -> Iterator[Candidate]:
    known = list(avoid)
    for number in range(count + _ROUNDS):
        messages: Sequence[Mapping[str, Any]] = ()
        for item in proposer.propose(task, turns, seed + _APART * number, cancel, avoid=known):
            cancel.raise_if_cancelled()
            if isinstance(item, Prompted):
                messages = item.messages
            elif isinstance(item, Proposal):
                known.append(item.sizing)
                yield Candidate(item, messages, proposer.model)
        proposer = make()


def _words(text: str) -> Iterator[TextDelta]:
    if text:
        yield TextDelta("reasoning", text)
