from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from acs_assistant.cancel import CancelToken
from acs_assistant.domain import Decision, Proposal, Spec, Task, Turn
from acs_assistant.engine.gate import InteractiveGate
from acs_assistant.engine.proposers import FixedProposer, OptimizerProposer, Proposer
from acs_assistant.engine.session import Session
from acs_assistant.errors import InputError, SimulatorError, StorageError
from acs_assistant.events import Stopped, TurnStored
from acs_assistant.sim.port import Simulator
from acs_assistant.storage.store import Store
from tests.engine.parts import (
    CIRCUIT,
    MET,
    SHORT,
    TASK,
    LineOptimizer,
    ScriptedProposer,
    ToySimulator,
    block_until,
    corners,
)

Open = Callable[..., Session]
OTHER = {"w_in": 20e-6, "i_bias": 20e-6}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "sessions.db")
    yield store
    store.close()


@pytest.fixture
def open_session(store: Store) -> Iterator[Open]:
    opened: list[Session] = []

    def make(
        proposer: Proposer | None = None,
        simulator: Simulator | None = None,
        task: Task = TASK,
        budget: int = 10,
        session: int | None = None,
        **options: Any,
    ) -> Session:
        if session is None:
            session = store.create_session(
                task, title="toy", proposer="model", budget=budget, seed=3
            ).id
        chosen, simulator = proposer or ScriptedProposer([SHORT, MET]), simulator or ToySimulator()
        opened.append(
            Session(
                store,
                session,
                simulator=lambda: simulator,
                make_proposer=lambda record: chosen,
                **options,
            )
        )
        return opened[-1]

    yield make
    for session in opened:
        session.close()


class Answers:
    """A gate that gives these decisions in turn."""

    def __init__(self, *decisions: Decision) -> None:
        self._decisions = list(decisions)

    def decide(self, turn: Turn, proposal: Proposal, cancel: CancelToken) -> Decision:
        return self._decisions.pop(0)


def names(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_a_run_emits_each_stage_in_order_and_stops_when_met(open_session: Open) -> None:
    session = open_session()
    events = list(session.run())
    turn = [
        "TurnStarted", "TextDelta", "TextDelta", "ProposalReady", "TurnStored", "Decided",
        "TurnStored", "SimulationStarted", "SimulationFinished", "TurnStored",
    ]  # fmt: skip
    assert names(events) == [*turn, *turn, "Stopped"]
    assert events[-1] == Stopped("met", "every spec is met.")
    assert [e.simulations for e in events if isinstance(e, TurnStored)] == [0, 0, 1, 1, 1, 2]
    assert events[13].previous == SHORT, "the second proposal is compared with the first sizing"
    assert [turn.index for turn in session.path()] == [1, 2]


def test_what_is_stored_is_what_the_session_holds(open_session: Open, store: Store) -> None:
    session = open_session()
    list(session.run())
    assert store.turns(session.id) == session.turns()
    assert replace(store.session(session.id), updated="") == replace(session.record, updated="")
    first = session.turns()[0]
    made = store.provenance(first.id)
    assert (made.simulator, made.pdk, made.app) == ("toy-1", "none", "0.1.0")
    assert store.messages(first.id) == [{"role": "user", "content": "0 turns"}]
    assert store.waveforms(first.id)[0].y["out"] == (1 + 1j, 0.5 - 0.25j)


def test_budget_stops_and_failed_simulations_count(open_session: Open) -> None:
    simulator = ToySimulator(lambda request: "singular matrix")
    session = open_session(ScriptedProposer([SHORT, OTHER]), simulator, budget=3)
    events = list(session.run())
    assert events[-1].reason == "budget"
    assert session.simulations == 3
    assert [t.evaluation.score.value for t in session.turns()] == [0.0] * 3


def test_failures_in_a_row_stop_with_the_reason(open_session: Open) -> None:
    session = open_session(ScriptedProposer(["no call"]), max_failures=3)
    events = list(session.run())
    assert events[-1] == Stopped("failures", "3 in a row; the last: no call")
    assert [t.decision.kind for t in session.turns()] == ["invalid"] * 3
    assert session.simulations == 0


def test_a_good_turn_resets_the_count_of_failures(open_session: Open) -> None:
    script = ["bad", SHORT, "bad", SHORT, "bad", SHORT]
    session = open_session(ScriptedProposer(script), max_failures=2, budget=3)
    assert list(session.run())[-1].reason == "budget"


def test_edited_and_proposed_sizings_take_the_same_path(open_session: Open) -> None:
    edited = open_session(ScriptedProposer([SHORT]))
    gate = Answers(Decision("edited", MET, by="engineer"))
    edit_events = list(edited.run(gate, turns=1))
    plain = open_session(ScriptedProposer([MET]))
    plain_events = list(plain.run(turns=1))
    assert names(edit_events) == names(plain_events)
    assert edited.head.evaluation.score == plain.head.evaluation.score
    assert edited.head.decision.kind == "edited"
    assert edited.head.proposal.sizing == SHORT, "what the model said stays as it was"


def test_an_edit_that_changes_nothing_is_an_acceptance(open_session: Open) -> None:
    session = open_session(ScriptedProposer([SHORT]))
    list(session.run(Answers(Decision("edited", SHORT, by="engineer")), turns=1))
    assert session.head.decision.kind == "accepted"
    assert session.head.decision.by == "engineer"


def test_an_edit_out_of_bounds_is_refused_and_the_proposal_waits(open_session: Open) -> None:
    session = open_session(ScriptedProposer([SHORT]))
    bad = Decision("edited", {**SHORT, "w_in": 1.0})
    events = list(session.run(Answers(bad), turns=1))
    assert events[-1].reason == "error" and "w_in" in events[-1].message
    assert isinstance(session.failure, InputError)
    events = list(session.run(turns=1))
    assert names(events)[0] == "Decided", "the waiting proposal is decided first"
    assert session.simulations == 1


def test_a_rejection_is_part_of_the_history(open_session: Open) -> None:
    proposer = ScriptedProposer([SHORT, MET])
    session = open_session(proposer)
    gate = Answers(Decision("rejected", reason="too wide", by="engineer"), Decision("accepted"))
    list(session.run(gate))
    _, history, _ = proposer.seen[1]
    assert [turn.decision.reason for turn in history] == ["too wide"]
    assert session.simulations == 1
    assert [turn.index for turn in session.path()] == [1, 2]


def test_regenerate_branches_from_the_same_history_with_another_seed(open_session: Open) -> None:
    proposer = ScriptedProposer([SHORT, MET])
    session = open_session(proposer)
    list(session.run(Answers(Decision("regenerated"), Decision("accepted")), turns=1))
    (_, first, seed), (_, second, other_seed) = proposer.seen
    assert first == second == []
    assert seed != other_seed
    assert [t.parent for t in session.turns()] == [None, None], "nothing is deleted"
    assert [t.proposal.sizing for t in session.path()] == [MET]


def test_turns_pauses(open_session: Open) -> None:
    session = open_session(ScriptedProposer([SHORT, OTHER]))
    assert list(session.run(turns=2))[-1] == Stopped("paused")
    assert len(session.path()) == 2


def test_going_on_for_the_objective_ranks_by_it(open_session: Open) -> None:
    cheaper = {"w_in": 80e-6, "i_bias": 20e-6}
    session = open_session(ScriptedProposer([MET, cheaper, SHORT]), budget=3)
    assert list(session.run(stop_when_met=False))[-1].reason == "budget"
    assert session.best().decision.sizing == cheaper


def test_worst_corner_counts_and_one_sizing_is_one_simulation(open_session: Open) -> None:
    simulator = ToySimulator()
    session = open_session(ScriptedProposer([MET]), simulator, corners("tt", "ss", "ff"))
    list(session.run(turns=1))
    evaluation = session.head.evaluation
    assert [m.conditions.corner for m in evaluation.measurements] == ["tt", "ss", "ff"]
    assert evaluation.score.specs[0].corner == "ss"
    assert session.simulations == 1
    assert [r.waveforms for r in sorted(simulator.requests, key=lambda r: r.conditions.corner)] == [
        False, False, True,
    ]  # fmt: skip


def test_specs_can_change_and_older_turns_keep_theirs(open_session: Open, store: Store) -> None:
    proposer = ScriptedProposer([MET, OTHER])
    session = open_session(proposer)
    assert list(session.run())[-1].reason == "met"
    harder = (Spec("gbw", ">=", 18e6), Spec("power", "<=", 100e-6))
    session.set_specs(harder)
    assert session.best().evaluation.score.met is False, "judged by what is in force"
    list(session.run(turns=1))
    assert [turn.specs for turn in session.path()] == [TASK.specs, harder]
    assert proposer.seen[1][0].specs == harder
    assert store.turns(session.id)[0].evaluation.score.met is True
    assert store.spec_sets(session.id) == [TASK.specs, harder]


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ((), "at least one"),
        ((Spec("gbv", ">=", 1.0),), "Did you mean 'gbw'"),
        ((Spec("gbw", ">=", 1.0), Spec("gbw", ">=", 2.0)), "twice"),
    ],
)
def test_impossible_specs_are_refused(open_session: Open, specs: Any, message: str) -> None:
    session = open_session()
    with pytest.raises(InputError) as caught:
        session.set_specs(specs)
    assert message in str(caught.value)
    assert session.task.specs == TASK.specs


def test_undo_redo_jump_and_fork(open_session: Open, store: Store) -> None:
    session = open_session(ScriptedProposer([SHORT, OTHER, SHORT]))
    list(session.run(turns=3))
    one, two, three = (turn.id for turn in session.path())
    assert session.undo().id == two
    assert session.undo().id == one
    assert session.redo().id == two
    assert session.redo().id == three
    assert session.redo().id == three, "there is nothing beyond the tip"
    session.jump(one)
    assert session.redo().id == two, "a jump back along the branch keeps the way forward"
    session.jump(one)
    list(session.run(turns=1))
    four = session.head.id
    assert session.head.parent == one and session.head.index == 2
    assert store.session(session.id).head == four
    session.jump(three)
    assert [turn.id for turn in session.path()] == [one, two, three]
    session.jump(None)
    assert session.path() == []
    with pytest.raises(InputError):
        session.jump(999)


def test_hand_over_to_an_optimizer_which_is_told_the_history(open_session: Open) -> None:
    made: list[LineOptimizer] = []

    def make(task: Task, seed: int) -> LineOptimizer:
        made.append(LineOptimizer(seed))
        return made[-1]

    session = open_session(ScriptedProposer([SHORT]))
    list(session.run(turns=2))
    optimizer = OptimizerProposer("line", make)
    list(session.run(turns=2, proposer=optimizer, stop_when_met=False))
    assert [sizing for sizing, _ in made[0].told] == [
        SHORT,
        SHORT,
        session.path()[2].proposal.sizing,
    ]
    session.set_specs((Spec("gbw", ">=", 30e6),))
    list(session.run(turns=1, proposer=optimizer, stop_when_met=False))
    assert len(made) == 2, "other specs are another problem"
    assert len(made[1].told) == 4
    assert made[1].told[0][1].score.specs[0].spec.target == 30e6


def test_the_engineers_own_sizing_takes_the_same_path(open_session: Open) -> None:
    session = open_session()
    events = list(session.run(turns=1, proposer=FixedProposer(CIRCUIT.reference, "reference")))
    assert names(events)[-2:] == ["TurnStored", "Stopped"]
    assert session.head.proposal.proposer == "reference"
    assert session.head.evaluation.score.met


def test_cancel_in_the_model_keeps_its_words_and_the_place(open_session: Open) -> None:
    cancel = CancelToken()
    proposer = ScriptedProposer([SHORT], on_text=cancel.cancel)
    session = open_session(proposer)
    *_, stored, stopped = session.run(cancel=cancel)
    assert stopped == Stopped("cancelled")
    fragment = session.turns()[0]
    assert isinstance(stored, TurnStored) and stored.turn == fragment, "a view is told of it"
    assert fragment.proposal.raw == "wider " and fragment.decision.kind == "regenerated"
    assert session.head is None
    proposer.on_text = lambda: None
    list(session.run(turns=1))
    assert session.path()[0].parent is None and session.simulations == 1


def test_cancel_in_the_simulator_keeps_the_decision(open_session: Open) -> None:
    cancel = CancelToken()

    def hook(request: Any) -> str:
        cancel.cancel()
        return ""

    proposer, simulator = ScriptedProposer([SHORT]), ToySimulator(hook)
    session = open_session(proposer, simulator)
    assert list(session.run(cancel=cancel))[-1] == Stopped("cancelled")
    assert session.head.decision.kind == "accepted" and session.head.evaluation is None
    events = list(session.run(turns=1))
    assert names(events)[0] == "SimulationStarted"
    assert len(proposer.seen) == 1, "the model is not asked again"


def test_cancel_while_the_gate_waits_keeps_the_proposal(open_session: Open) -> None:
    session, gate, cancel = open_session(), InteractiveGate(), CancelToken()
    events: list[Any] = []
    thread = threading.Thread(target=lambda: events.extend(session.run(gate, cancel=cancel)))
    thread.start()
    block_until(lambda: gate.waiting is not None)
    cancel.cancel()
    thread.join(10)
    assert events[-1] == Stopped("cancelled")
    assert session.head.decision is None and session.head.proposal.sizing == SHORT


def test_an_interactive_gate_ignores_answers_to_other_turns(open_session: Open) -> None:
    session, gate = open_session(ScriptedProposer([SHORT, OTHER])), InteractiveGate()
    thread = threading.Thread(target=lambda: list(session.run(gate, turns=2)))
    thread.start()
    block_until(lambda: gate.waiting is not None)
    first = gate.waiting
    gate.answer(first, Decision("accepted", by="engineer"))
    gate.answer(first, Decision("rejected", by="engineer"))
    block_until(lambda: gate.waiting not in (None, first))
    gate.set_auto(1)
    thread.join(10)
    assert [turn.decision.by for turn in session.turns()] == ["engineer", "auto"]
    assert [turn.decision.kind for turn in session.turns()] == ["accepted", "accepted"]
    assert gate.auto_turns == 0


def test_a_missing_simulator_stops_with_its_words_and_loses_nothing(open_session: Open) -> None:
    def hook(request: Any) -> str:
        raise SimulatorError("libngspice is missing.", hint="sudo apt install libngspice0")

    session = open_session(ScriptedProposer([SHORT]), ToySimulator(hook))
    events = list(session.run())
    assert events[-1].reason == "error" and "libngspice0" in events[-1].message
    assert isinstance(session.failure, SimulatorError)
    assert session.head.decision.kind == "accepted"


def test_a_session_is_open_once(open_session: Open, store: Store) -> None:
    session = open_session()
    with pytest.raises(StorageError, match="open in process"):
        open_session(session=session.id)
    session.close()
    open_session(session=session.id)


def test_a_session_runs_once_and_does_not_move_meanwhile(open_session: Open) -> None:
    session = open_session()
    events = session.run()
    next(events)
    with pytest.raises(InputError, match="running"):
        next(session.run())
    with pytest.raises(InputError, match="running"):
        session.jump(None)
    events.close()
    assert session.jump(None) is None


def test_a_reopened_session_goes_on_with_the_same_seeds(open_session: Open) -> None:
    whole = ScriptedProposer([SHORT])
    session = open_session(whole)
    list(session.run(turns=4))
    parted = ScriptedProposer([SHORT])
    other = open_session(parted)
    list(other.run(turns=2))
    other.close()
    list(open_session(parted, session=other.id).run(turns=2))
    assert [seed for *_, seed in parted.seen] == [seed for *_, seed in whole.seen]
