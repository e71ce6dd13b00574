"""The design loop: propose, gate, simulate, score, store; as typed events."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from acs_assistant import __version__
from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.domain import Decision, Proposal, Spec, Task, Turn
from acs_assistant.engine.candidates import Group, Offer, draw
from acs_assistant.engine.evaluate import best_turn, evaluate, rescored
from acs_assistant.engine.gate import AutoGate, Gate
from acs_assistant.engine.outcome import accepted, failed, last_sizing, met, set_aside
from acs_assistant.engine.proposers import Prompted, Proposer
from acs_assistant.engine.specs import check_specs
from acs_assistant.errors import AcsError, InputError
from acs_assistant.events import (
    CandidateDrawn,
    Decided,
    Event,
    ProposalReady,
    SimulationFinished,
    SimulationStarted,
    Stopped,
    TextDelta,
    TurnStarted,
    TurnStored,
)
from acs_assistant.sim.port import Simulator
from acs_assistant.storage.records import Provenance, SessionRecord
from acs_assistant.storage.store import Store

_T = TypeVar("_T")
Stage = Generator[Event, None, _T]


class Session:
    """A stored session, opened: the loop that adds turns, and moves between the turns it has.

    ``run`` is a synchronous generator; call it in a thread and hand its events to a view. The other
    methods are quick and may be called from another thread, but those that move the head only while
    nothing runs. The session's lock is held until ``close``.

    Attributes:
        failure: The error behind the last ``Stopped("error")``.
    """

    def __init__(
        self,
        store: Store,
        session: int,
        *,
        simulator: Callable[[], Simulator],
        make_proposer: Callable[[SessionRecord], Proposer],
        max_failures: int = 8,
        keep_waveforms: bool = True,
    ) -> None:
        """Opens a session.

        Args:
            simulator: Gives the simulator when the first one is needed.
            make_proposer: Makes the proposer that the record names, when it is first needed.
            max_failures: Invalid proposals or failed simulations in a row that stop the loop.
            keep_waveforms: Store the vectors of the first corner, for plots.

        Raises:
            InputError: No such session.
            StorageError: It is open elsewhere.
        """
        record = store.session(session)
        self._lock = store.lock(session)
        self._lock.acquire()
        self._store = store
        self._record = record
        self._simulator = simulator
        self._make_proposer = make_proposer
        self._proposer: Proposer | None = None
        self._max_failures = max_failures
        self._keep_waveforms = keep_waveforms
        self._turns = {turn.id: turn for turn in store.turns(session)}
        self._running = threading.Lock()
        self._noting = threading.Lock()
        self._group = Group()
        self._offer: Offer | None = None
        self.failure: AcsError | None = None

    # What it is

    @property
    def id(self) -> int:
        return self._record.id

    @property
    def record(self) -> SessionRecord:
        return self._record

    @property
    def task(self) -> Task:
        return self._record.task

    @property
    def budget(self) -> int:
        return self._record.budget

    @property
    def model(self) -> str | None:
        """Name of the language model that proposes; None before it is opened, or without one."""
        info = self._proposer.model if self._proposer is not None else None
        return info.name if info is not None else None

    @property
    def running(self) -> bool:
        return self._running.locked()

    @property
    def simulations(self) -> int:
        """Simulations spent, on every branch of the tree."""
        return sum(turn.evaluation is not None for turn in list(self._turns.values()))

    @property
    def head(self) -> Turn | None:
        """The turn that the next one continues."""
        return None if self._record.head is None else self._turns[self._record.head]

    def turns(self) -> list[Turn]:
        """The whole tree, in the order in which the turns were made."""
        return list(self._turns.values())

    def path(self) -> list[Turn]:
        """From the root to the head."""
        return self._path_to(self._record.head)

    def best(self) -> Turn | None:
        """The turn of the tree that ranks first under the specs in force."""
        return best_turn(self.turns(), self.task)

    # The loop

    def run(
        self,
        gate: Gate | None = None,
        *,
        turns: int | None = None,
        cancel: CancelToken | None = None,
        stop_when_met: bool = True,
        proposer: Proposer | None = None,
    ) -> Iterator[Event]:
        """Adds turns until something stops it; always ends with ``Stopped``.

        A turn that was left unfinished, by a cancel or a crash, is finished first.

        Args:
            gate: Who decides about proposals; None accepts all.
            turns: How many to add; None for as many as the budget allows.
            stop_when_met: False goes on for the objective.
            proposer: Makes the turns of this run instead of the session's own, such as a sizing
                that the engineer typed.
        """
        if not self._running.acquire(blocking=False):
            raise InputError(f"session {self.id} is running already.")
        self.failure = None
        try:
            yield from self._loop(
                gate or AutoGate(), turns, cancel or CancelToken(), stop_when_met, proposer
            )
        except CancelledError:
            yield Stopped("cancelled")
        except AcsError as error:
            self.failure = error
            yield Stopped("error", str(error))
        finally:
            self._offer = None
            self._running.release()

    def _loop(
        self,
        gate: Gate,
        turns: int | None,
        cancel: CancelToken,
        stop_when_met: bool,
        proposer: Proposer | None,
    ) -> Stage[None]:
        done = failures = 0
        while True:
            stop = self._stop(turns, done, failures, stop_when_met)
            if stop is not None:
                yield stop
                return
            turn = self._unfinished()
            if turn is None:
                offer, self._offer = self._offer, None
                if offer is not None:
                    yield from self._keep_others(offer)
                chosen = offer or proposer or self._own_proposer()
                turn = yield from self._propose(chosen, cancel)
            turn = yield from self._decide(turn, gate, cancel)
            if accepted(turn):
                turn = yield from self._simulate(turn, cancel)
            failures = failures + 1 if failed(turn) else 0
            done += not set_aside(turn)

    def _stop(
        self, turns: int | None, done: int, failures: int, stop_when_met: bool
    ) -> Stopped | None:
        if stop_when_met and any(met(turn) for turn in rescored(self.path(), self.task)):
            return Stopped("met", "every spec is met.")
        if failures >= self._max_failures:
            return Stopped("failures", f"{failures} in a row; the last: {self._last_failure()}")
        if turns is not None and done >= turns:
            return Stopped("paused")
        if self.simulations >= self.budget:
            return Stopped("budget", f"{self.simulations} of {self.budget} simulations are spent.")
        return None

    def _propose(self, proposer: Proposer, cancel: CancelToken) -> Stage[Turn]:
        """Asks for a sizing and stores it, undecided."""
        history, task = self.path(), self.task
        index, parent = len(history) + 1, self._record.head
        seed = self._turn_seed()
        tried = [turn.proposal.sizing for turn in self.turns() if turn.proposal.sizing]
        tried += [turn.decision.sizing for turn in self.turns() if turn.decision is not None]
        prompt: Prompted | None = None
        proposal: Proposal | None = None
        streamed: list[str] = []
        yield TurnStarted(index, parent)
        try:
            for item in proposer.propose(task, history, seed, cancel, avoid=tried):
                match item:
                    case Prompted():
                        if prompt is not None:
                            yield TurnStarted(index, parent)
                        prompt, streamed = item, []
                    case TextDelta():
                        streamed.append(item.text)
                        yield item
                    case Proposal():
                        proposal = item
        except CancelledError:
            if streamed and prompt is not None:
                yield self._fragment(proposer, prompt, seed, "".join(streamed))
            raise
        assert proposal is not None, "a proposer ends with a proposal"
        turn = self._store.add_turn(
            self.id,
            parent,
            proposal,
            self._provenance(proposer, seed, prompt),
            prompt.messages if prompt else (),
        )
        self._keep(turn, head=turn.id, tip=turn.id)
        yield ProposalReady(turn.id, proposal, last_sizing(history))
        yield self._stored(turn)
        return turn

    def _decide(self, turn: Turn, gate: Gate, cancel: CancelToken) -> Stage[Turn]:
        """Asks the gate and stores its answer; an invalid proposal answers itself."""
        if turn.decision is not None:
            return turn
        proposal = turn.proposal
        if proposal.error:
            decision = Decision("invalid", reason=proposal.error)
        else:
            decision = gate.decide(turn, proposal, cancel)
            if decision.kind in ("accepted", "edited"):
                sizing = self.task.circuit.snap(decision.sizing or proposal.sizing)
                same = sizing == dict(proposal.sizing)
                decision = replace(decision, sizing=sizing, kind="accepted" if same else "edited")
        turn = self._store.decide(self.id, turn, decision)
        if set_aside(turn):
            self._keep(turn, head=turn.parent, tip=turn.parent)
        else:
            self._keep(turn)
        yield Decided(turn.id, decision)
        yield self._stored(turn)
        return turn

    def _simulate(self, turn: Turn, cancel: CancelToken) -> Stage[Turn]:
        """Spends one simulation on what was decided and stores what it measured."""
        assert turn.decision is not None
        yield SimulationStarted(turn.id, turn.decision.sizing)
        simulator = self._simulator()
        evaluation = evaluate(
            replace(self.task, specs=turn.specs),
            turn.decision.sizing,
            simulator,
            cancel,
            waveforms=self._keep_waveforms,
        )
        turn = self._store.add_evaluation(self.id, turn, evaluation, simulator.version)
        self._keep(turn)
        yield SimulationFinished(turn.id, evaluation)
        yield self._stored(turn)
        return turn

    # Several proposals for one turn

    @property
    def candidates(self) -> list[Proposal]:
        """What ``draw`` drew for the turn that waits at the gate, or for the next one."""
        return [candidate.proposal for candidate in self._group.at(self._origin())]

    def draw(self, count: int, cancel: CancelToken) -> Iterator[CandidateDrawn]:
        """Draws ``count`` more candidates; no turn is made of them before ``offer``.

        It may be called while ``run`` waits at the gate, and in any thread.

        Raises:
            ModelError: The model failed.
            CancelledError: The token was cancelled.
        """
        members = self._group.at(origin := self._origin())
        avoid = [turn.proposal.sizing for turn in self.turns() if turn.proposal.sizing]
        avoid += [candidate.proposal.sizing for candidate in members]
        seed = (self._turn_seed() + 1 + len(members)) & 0x7FFFFFFF
        history, make = self._path_to(origin[0]), partial(self._make_proposer, self._record)
        for candidate in draw(make, self.task, history, seed, count, cancel, avoid):
            members.append(candidate)
            yield CandidateDrawn(len(members), candidate.proposal)

    def offer(self, proposal: Proposal) -> None:
        """The next turn that ``run`` makes is made of this candidate, or of a mix of several.

        Those not taken are kept beside it. What waits at the gate is set aside by an answer.
        """
        self._group.at(self._origin())
        self._offer = self._group.offer(proposal)

    def _origin(self) -> tuple[int | None, object, str, str]:
        """What candidates for the turn in question are drawn from."""
        head, record = self.head, self._record
        parent = head.parent if head is not None and head.decision is None else record.head
        return parent, record.task.specs, record.proposer, record.model

    def _keep_others(self, offer: Offer) -> Stage[None]:
        for candidate in offer.others:
            if not candidate.kept:
                made = self._provenance(Offer(candidate), self._turn_seed(), None)
                kept = self._keep_aside(
                    candidate.proposal, made, candidate.messages, "another candidate was taken."
                )
                yield self._stored(kept)
        self._group.all_kept()

    # Changes by the engineer

    def set_specs(self, specs: Sequence[Spec]) -> None:
        """From the next turn on these specs are in force, and the model is told.

        Raises:
            InputError: No specs, an unknown metric, or one named twice with the same relation.
        """
        check_specs(self.task.circuit, specs)
        self._store.set_specs(self.id, specs)
        self._note(task=replace(self.task, specs=tuple(specs)))

    def set_budget(self, budget: int) -> None:
        """Raises InputError when it is not a positive number."""
        if budget < 1:
            raise InputError(f"a budget of {budget} simulations is not possible.")
        self._store.set_budget(self.id, budget)
        self._note(budget=budget)

    def set_proposer(self, proposer: str, model: str = "") -> None:
        """Hands over: the next turn is made by another proposer, which reads the same history."""
        made = self._make_proposer(replace(self._record, proposer=proposer, model=model))
        self._store.set_proposer(self.id, proposer, model)
        self._proposer = made
        self._note(proposer=proposer, model=model)

    def undo(self) -> Turn | None:
        """Moves the head to its parent; returns the new head."""
        if self._record.head is not None:
            self._move(self._turns[self._record.head].parent, self._record.tip)
        return self.head

    def redo(self) -> Turn | None:
        """Moves the head one turn towards where undo came from; returns the new head."""
        below = self._path_to(self._record.tip)
        ahead = [turn for turn in below if turn.parent == self._record.head]
        if ahead:
            self._move(ahead[0].id, self._record.tip)
        return self.head

    def jump(self, turn: int | None) -> Turn | None:
        """Moves the head to any turn; the next one starts a branch there (fork).

        Raises:
            InputError: No such turn in this session.
        """
        if turn is not None and turn not in self._turns:
            raise InputError(f"session {self.id} has no turn with id {turn}.")
        ahead = {t.id for t in self._path_to(self._record.tip)}
        self._move(turn, self._record.tip if turn is None or turn in ahead else turn)
        return self.head

    def close(self) -> None:
        """Gives the lock back. Call it when nothing runs any more."""
        self._lock.release()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Inside

    def _own_proposer(self) -> Proposer:
        if self._proposer is None:
            self._proposer = self._make_proposer(self._record)
        return self._proposer

    def _unfinished(self) -> Turn | None:
        """The head, when a stage of it is still to be done."""
        head = self.head
        if head is None or head.evaluation is not None:
            return None
        return head if head.decision is None or accepted(head) else None

    def _turn_seed(self) -> int:
        """Differs for every turn of the tree, and is the same again after a crash."""
        return (self._record.seed * 1_000_003 + len(self._turns)) & 0x7FFFFFFF

    def _provenance(self, proposer: Proposer, seed: int, prompted: Prompted | None) -> Provenance:
        model = proposer.model
        prompt = ""
        if model is not None:
            from acs_assistant.prompting.render import PROMPT_VERSION

            prompt = PROMPT_VERSION
            if prompted is not None and prompted.critic:
                prompt += f"; critic {prompted.critic[:12]}"
        return Provenance(
            app=__version__,
            prompt=prompt,
            model=model.name if model else "",
            model_sha256=model.sha256 if model else "",
            pdk=self.task.circuit.pdk,
            seed=seed,
        )

    def _fragment(self, proposer: Proposer, prompt: Prompted, seed: int, text: str) -> TurnStored:
        """Text that a cancel cut off stays in the tree, beside the turn that will replace it."""
        cut, made = "stopped before it was complete.", self._provenance(proposer, seed, prompt)
        words = Proposal({}, proposer.name, reasoning=text, raw=text, error=cut)
        return self._stored(self._keep_aside(words, made, prompt.messages, cut))

    def _keep_aside(
        self,
        proposal: Proposal,
        made: Provenance,
        messages: Sequence[Mapping[str, Any]],
        reason: str,
    ) -> Turn:
        """Keeps a proposal that will not be simulated, beside the turn that takes its place."""
        turn = self._store.add_turn(self.id, self._record.head, proposal, made, messages)
        decision = Decision("regenerated", reason=reason, by="engineer")
        self._keep(turn := self._store.decide(self.id, turn, decision))
        return turn

    def _path_to(self, turn: int | None) -> list[Turn]:
        path: list[Turn] = []
        while turn is not None:
            path.append(self._turns[turn])
            turn = path[-1].parent
        return path[::-1]

    def _keep(self, turn: Turn, **heads: int | None) -> None:
        evaluation = turn.evaluation
        if evaluation is not None:  # waveforms are on disk; a long session must not hold them all
            bare = tuple(replace(m, waveforms=()) for m in evaluation.measurements)
            turn = replace(turn, evaluation=replace(evaluation, measurements=bare))
        self._turns[turn.id] = turn
        if heads:
            self._note(**heads)

    def _move(self, head: int | None, tip: int | None) -> None:
        if self.running:
            raise InputError("the session is running.", hint="Stop it first.")
        self._store.set_head(self.id, head, tip)
        self._note(head=head, tip=tip)

    def _note(self, **changes: Any) -> None:
        """Changes fields of the record; the loop and the view's thread both do."""
        with self._noting:
            self._record = replace(self._record, **changes)

    def _stored(self, turn: Turn) -> TurnStored:
        return TurnStored(self._turns[turn.id], self.simulations, self.budget)

    def _last_failure(self) -> str:
        head = self.head
        if head is None:
            return ""
        return head.evaluation.error if head.evaluation is not None else head.proposal.error
