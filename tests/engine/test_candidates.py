"""Several candidates for one turn: drawn, offered, taken; the others stay in the tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.domain import Decision, Proposal, Turn
from acs_assistant.engine.gate import InteractiveGate
from acs_assistant.engine.proposers import ModelProposer, Proposer
from acs_assistant.engine.session import Session
from acs_assistant.events import CandidateDrawn, ProposalReady, TextDelta, TurnStored
from acs_assistant.llm.scripted import ScriptedModel
from acs_assistant.storage.store import Store
from tests.engine.parts import (
    CIRCUIT,
    MET,
    SHORT,
    TASK,
    ScriptedProposer,
    ToySimulator,
)

Open = Callable[[Proposer], Session]
OTHER = {"w_in": 20e-6, "i_bias": 20e-6}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "sessions.db")
    yield store
    store.close()


@pytest.fixture
def open_session(store: Store) -> Iterator[Open]:
    opened: list[Session] = []

    def make(proposer: Proposer) -> Session:
        record = store.create_session(TASK, title="toy", proposer="model", budget=9, seed=3)
        simulator = ToySimulator()
        session = Session(
            store, record.id, simulator=lambda: simulator, make_proposer=lambda record: proposer
        )
        opened.append(session)
        return session

    yield make
    for session in opened:
        session.close()


def reply(width: str, current: str, words: str = "wider, so I expect gbw 12meg") -> str:
    call = f'{{"name": "simulate", "arguments": {{"w_in": "{width}", "i_bias": "{current}"}}}}'
    return f"<think>{words}</think><tool_call>{call}</tool_call>"


def drawn(session: Session, count: int) -> list[Proposal]:
    return [event.proposal for event in session.draw(count, CancelToken())]


def test_a_model_draws_one_group_and_repeats_and_faults_are_left_out(open_session: Open) -> None:
    texts = [reply("10u", "10u"), reply("10u", "10u"), "no call", reply("20u", "10u"),
             reply("30u", "10u")]  # fmt: skip
    model = ScriptedModel(*texts, reply("40u", "10u"))
    session = open_session(ModelProposer(model))
    events = list(session.draw(3, CancelToken()))
    assert [event.number for event in events] == [1, 2, 3]
    assert [event.proposal.sizing["w_in"] for event in events] == pytest.approx(
        [10e-6, 20e-6, 30e-6]
    )
    assert events[0].proposal.predictions == {"gbw": 12e6}
    assert session.candidates == [event.proposal for event in events]
    assert session.turns() == [], "nothing is a turn before it is offered"
    assert all(isinstance(event, CandidateDrawn) for event in events)


def test_any_proposer_can_draw(open_session: Open) -> None:
    session = open_session(ScriptedProposer([SHORT, SHORT, MET, OTHER]))
    assert [p.sizing for p in drawn(session, 3)] == [SHORT, MET, OTHER]


def test_a_taken_candidate_becomes_the_proposal_and_the_others_stay(
    open_session: Open, store: Store
) -> None:
    model = ScriptedModel(*(reply(f"{n}0u", "10u") for n in (1, 2, 3)))
    session = open_session(ModelProposer(model))
    proposals = drawn(session, 3)
    session.offer(proposals[1])
    events = list(session.run(turns=1))
    ready = next(event for event in events if isinstance(event, ProposalReady))
    assert ready.proposal == proposals[1]
    assert "".join(e.text for e in events if isinstance(e, TextDelta) and e.channel != "call") == (
        "wider, so I expect gbw 12meg"
    )
    turns = store.turns(session.id)
    assert turns == session.turns()
    kinds = [turn.decision.kind for turn in turns if turn.decision is not None]
    assert kinds == ["regenerated", "regenerated", "accepted"]
    assert [turn.proposal.sizing["w_in"] for turn in turns] == pytest.approx([10e-6, 30e-6, 20e-6])
    assert {turn.parent for turn in turns} == {None}
    assert store.session(session.id).head == turns[-1].id
    assert store.provenance(turns[0].id).model == "scripted"
    assert store.messages(turns[-1].id)[0]["role"] == "system"


def test_candidates_of_a_proposal_that_waits(open_session: Open) -> None:
    """While the loop waits at its gate, a group is drawn, one is taken, and it waits instead."""
    session = open_session(ScriptedProposer([SHORT, MET, OTHER]))
    gate = InteractiveGate()
    asked: list[Turn] = []
    seen: list[Proposal] = []
    for event in session.run(gate, turns=1):
        if isinstance(event, TurnStored) and event.turn.decision is None:
            asked.append(event.turn)
            if len(asked) == 1:
                seen = drawn(session, 2)
                assert [p.sizing for p in seen] == [MET, OTHER]
                session.offer(seen[0])
                gate.answer(event.turn.id, Decision("regenerated", by="engineer"))
            else:
                assert event.turn.proposal == seen[0]
                assert session.candidates == seen, "they may be looked at again"
                gate.answer(event.turn.id, Decision("accepted", MET, by="engineer"))
    kinds = [t.decision.kind for t in session.turns() if t.decision is not None]
    assert kinds == ["regenerated", "regenerated", "accepted"]
    assert [t.proposal.sizing for t in session.turns()] == [SHORT, OTHER, MET]
    assert session.candidates == [], "the next turn has other candidates"


def test_a_mix_is_a_proposal_of_the_engineer(open_session: Open) -> None:
    session = open_session(ScriptedProposer([SHORT, MET]))
    drawn(session, 2)
    mixed = {"w_in": SHORT["w_in"], "i_bias": MET["i_bias"]}
    session.offer(Proposal(CIRCUIT.snap(mixed), "engineer", reasoning="Mixed from candidates."))
    list(session.run(turns=1))
    assert [turn.proposal.proposer for turn in session.turns()] == ["scripted"] * 2 + ["engineer"]
    assert session.turns()[-1].evaluation is not None


def test_an_offer_does_not_outlive_its_run(open_session: Open) -> None:
    session = open_session(ScriptedProposer([SHORT, OTHER]))
    proposals = drawn(session, 1)
    session.offer(proposals[0])
    session.set_budget(1)
    stopped = CancelToken()
    stopped.cancel()
    list(session.run(turns=0))
    list(session.run(turns=1))
    assert session.turns()[0].proposal.sizing == OTHER


def test_drawing_is_cancelled(open_session: Open) -> None:
    session = open_session(ScriptedProposer([SHORT, MET]))
    cancel = CancelToken()
    events: Iterator[Any] = session.draw(2, cancel)
    next(events)
    cancel.cancel()
    with pytest.raises(CancelledError):
        next(events)
    assert len(session.candidates) == 1, "what came before is kept"
