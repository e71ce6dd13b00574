"""Sessions put into a store without running them."""

from __future__ import annotations

from acs_assistant.domain import Decision, Evaluation, Measurement, Proposal, Sizing, Task
from acs_assistant.scoring import score
from acs_assistant.storage.records import Provenance
from acs_assistant.storage.store import Store
from tests.tui.fakes import REFERENCE, figures, make_circuit


def add_session(store: Store, title: str = "Two-stage Miller op-amp") -> int:
    circuit = make_circuit()
    task = Task(circuit, circuit.specs, circuit.conditions, ("tt",))
    return store.create_session(task, title=title, proposer="model", budget=10, seed=1).id


def decided(store: Store, session: int, decision: Decision) -> None:
    """A turn behind the last one; measured when the decision has a sizing."""
    head = store.session(session).head
    proposal = Proposal(dict(REFERENCE), "model", reasoning="As I like it.")
    turn = store.add_turn(session, head, proposal, Provenance())
    turn = store.decide(session, turn, decision)
    if decision.sizing:
        circuit = make_circuit()
        metrics = figures(decision.sizing, circuit.conditions, None)
        measurement = Measurement("ok", metrics, (), circuit.conditions)
        evaluation = Evaluation((measurement,), score(circuit.specs, [measurement]))
        store.add_evaluation(session, turn, evaluation)


def evaluated(store: Store, session: int, sizing: Sizing) -> None:
    decided(store, session, Decision("accepted", dict(sizing), "", "engineer"))
