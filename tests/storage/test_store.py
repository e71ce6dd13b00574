from __future__ import annotations

import math
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from acs_assistant.domain import (
    Conditions,
    Decision,
    Evaluation,
    Measurement,
    Proposal,
    Score,
    Spec,
    SpecResult,
    Task,
    Turn,
)
from acs_assistant.engine.evaluate import evaluate
from acs_assistant.errors import InputError, StorageError
from acs_assistant.storage.migrations import MIGRATIONS
from acs_assistant.storage.records import Provenance, SessionRecord
from acs_assistant.storage.store import Store
from tests.engine.parts import CIRCUIT, MET, SHORT, TASK, ToySimulator

MADE = Provenance("0.1.0", "1", "small", "ab" * 32, "", "sky130 0.15.3", 12)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "sessions.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


def new(store: Store, title: str = "toy", task: Task = TASK) -> SessionRecord:
    return store.create_session(
        task, title=title, proposer="model", budget=10, seed=3, model="small"
    )


def simulated(
    store: Store, session: int, sizing: dict[str, float], parent: int | None = None
) -> Turn:
    proposal = Proposal(sizing, "model", "because", "<think>", {"gbw": 1e7}, "", 1.5)
    turn = store.add_turn(session, parent, proposal, MADE, [{"role": "user", "content": "size it"}])
    turn = store.decide(session, turn, Decision("accepted", sizing, by="engineer"))
    task = store.session(session).task
    evaluation = evaluate(task, sizing, ToySimulator(), waveforms=True)
    return store.add_evaluation(session, turn, evaluation, "ngspice-39")


def bare(turn: Turn) -> Turn:
    """The turn without its waveforms, which are read apart."""
    assert turn.evaluation is not None
    measurements = tuple(replace(m, waveforms=()) for m in turn.evaluation.measurements)
    return replace(turn, evaluation=replace(turn.evaluation, measurements=measurements))


def test_a_session_comes_back_whole_from_another_store(path: Path) -> None:
    circuit = replace(
        CIRCUIT,
        specs=(Spec("gbw", ">=", 1e7, 2.0, 0.0, (1e6, 1e8)), Spec("offset", "==", 0.0, 1.0, 1e-3)),
        condition_ranges={"load": (1e-12, 1e-11)},
    )
    conditions = Conditions(1.62, -40.0, 2e-12, "ss")
    task = Task(circuit, circuit.specs, conditions, ("ss", "ff"))
    first = Store(path)
    record = new(first, task=task)
    first.close()
    again = Store(path)
    assert again.session(record.id) == record
    assert again.session(record.id).task == task


def test_turns_come_back_as_they_were(store: Store) -> None:
    record = new(store)
    one = simulated(store, record.id, SHORT)
    two = simulated(store, record.id, MET, one.id)
    assert store.turns(record.id) == [bare(one), bare(two)]
    assert two.evaluation is not None
    assert store.waveforms(two.id) == two.evaluation.nominal.waveforms
    assert store.provenance(one.id) == replace(MADE, simulator="ngspice-39")
    assert store.session(record.id).head == two.id
    assert [turn.index for turn in store.turns(record.id)] == [1, 2]


def test_missing_and_undefined_values_survive(store: Store) -> None:
    record = new(store)
    turn = store.add_turn(record.id, None, Proposal(SHORT, "tpe"), MADE)
    turn = store.decide(record.id, turn, Decision("edited", MET))
    missing = tuple(SpecResult(spec, None, None, 1.0, False, "ss") for spec in TASK.specs)
    failed = Measurement("failed", {"gbw": math.nan, "power": math.inf}, error="no convergence")
    store.add_evaluation(record.id, turn, Evaluation((failed,), Score(0.0, False, missing)))
    read = store.turns(record.id)[0].evaluation
    assert read is not None and read.score.specs == missing and read.error == "no convergence"
    assert math.isnan(read.nominal.metrics["gbw"]) and read.nominal.metrics["power"] == math.inf


def test_messages_are_stored_once_and_read_in_order(store: Store, path: Path) -> None:
    record = new(store)
    chat = [{"role": "system", "content": "µ ok"}, {"role": "user", "content": "size"}]
    one = store.add_turn(record.id, None, Proposal(SHORT, "model"), MADE, chat)
    two = store.add_turn(record.id, one.id, Proposal(MET, "model"), MADE, [*chat, chat[1]])
    assert store.messages(one.id) == chat
    assert store.messages(two.id) == [*chat, chat[1]]
    with sqlite3.connect(path) as db:
        assert db.execute("select count(*) from messages").fetchone() == (2,)


def test_search_archive_rename(store: Store) -> None:
    one, two = new(store, "Fast buffer"), new(store, "Low 100% power_x")
    simulated(store, one.id, MET)
    assert [s.id for s in store.sessions()] == [one.id, two.id], "last changed first"
    assert [s.id for s in store.sessions("FAST toy")] == [one.id]
    assert [s.id for s in store.sessions("0%")] == [two.id]
    assert [s.id for s in store.sessions("r_x")] == [two.id]
    assert store.sessions("fast slow") == []
    store.archive(one.id)
    assert [s.id for s in store.sessions()] == [two.id]
    assert [s.id for s in store.sessions(archived=True)] == [one.id]
    store.archive(one.id, False)
    store.rename(two.id, "renamed")
    found = {s.id: s for s in store.sessions()}
    assert found[two.id].title == "renamed" and found[two.id].best is None
    assert (found[one.id].best, found[one.id].met, found[one.id].simulations) == (1.0, True, 1)
    assert found[one.id].circuit == "toy"


def test_a_duplicate_has_everything_and_leaves_the_original_alone(store: Store) -> None:
    record = new(store)
    one = simulated(store, record.id, SHORT)
    two = simulated(store, record.id, MET, one.id)
    store.set_specs(record.id, [Spec("gbw", ">=", 5e6)])
    three = simulated(store, record.id, MET, one.id)
    store.set_head(record.id, two.id, two.id)
    before = store.turns(record.id)
    copy = store.duplicate(record.id)
    turns = store.turns(copy.id)
    assert [replace(t, id=0, parent=0) for t in turns] == [
        replace(t, id=0, parent=0) for t in before
    ]
    assert turns[1].parent == turns[2].parent == turns[0].id
    assert copy.head == turns[1].id and copy.parent == record.id
    assert copy.task.specs == (Spec("gbw", ">=", 5e6),)
    assert copy.title == "toy (copy)"
    assert store.waveforms(turns[2].id) == store.waveforms(three.id) != ()
    assert store.messages(turns[0].id) == store.messages(one.id)
    simulated(store, copy.id, SHORT, copy.head)
    assert store.turns(record.id) == before


def test_an_unknown_session_is_bad_input(store: Store) -> None:
    for act in (
        lambda: store.session(7),
        lambda: store.turns(7),
        lambda: store.rename(7, "x"),
        lambda: store.duplicate(7),
        lambda: store.summary(7),
    ):
        with pytest.raises(InputError, match="no session 7"):
            act()


def test_every_thread_has_its_own_connection(store: Store) -> None:
    record = new(store)
    faults: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                simulated(store, record.id, SHORT)
                store.turns(record.id)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    assert store.summary(record.id).simulations == 20


def test_a_store_in_memory_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store, other = Store.memory(), Store.memory()
    record = new(store)
    simulated(store, record.id, MET)
    assert store.summary(record.id).met
    assert other.sessions() == []
    assert list(tmp_path.iterdir()) == []


def test_a_newer_database_is_refused_and_left_alone(path: Path) -> None:
    Store(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"pragma user_version = {len(MIGRATIONS) + 1}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StorageError) as caught:
        Store(path)
    assert f"version {len(MIGRATIONS) + 1}" in str(caught.value) and str(path) in str(caught.value)
    assert "Update acs-assistant" in caught.value.hint
    assert path.read_bytes() == before


def test_another_kind_of_file_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database at all, but longer than a header is" * 40)
    before = path.read_bytes()
    with pytest.raises(StorageError) as caught:
        Store(path)
    assert str(path) in str(caught.value) and "Move it aside" in caught.value.hint
    assert path.read_bytes() == before


def test_a_damaged_page_is_named(path: Path) -> None:
    store = Store(path)
    record = new(store)
    for _ in range(20):
        simulated(store, record.id, SHORT)
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("pragma wal_checkpoint(truncate)")
    db.close()
    data = bytearray(path.read_bytes())
    data[8192:] = os.urandom(len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(StorageError, match="damaged"):
        damaged = Store(path)
        damaged.sessions()
        damaged.turns(record.id)


def test_a_full_disk_is_named_and_loses_nothing(store: Store) -> None:
    record = new(store)
    one = simulated(store, record.id, SHORT)
    db = store._connections._database().conn
    pages = db.execute("pragma page_count").fetchone()[0]
    db.execute(f"pragma max_page_count = {pages + 1}")
    long = Proposal(MET, "model", reasoning="x" * 100_000)
    with pytest.raises(StorageError, match="disk is full") as caught:
        store.add_turn(record.id, one.id, long, MADE)
    assert "Free some space" in caught.value.hint
    assert store.turns(record.id) == [bare(one)]
    assert store.session(record.id).head == one.id
    db.execute("pragma max_page_count = 1000000")
    store.add_turn(record.id, one.id, long, MADE)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StorageError) as caught:
        Store(tmp_path / "data" / "sessions.db")
    assert str(tmp_path / "data") in str(caught.value)


def test_locks_exclude_and_are_seen(store: Store) -> None:
    record = new(store)
    assert not store.summary(record.id).running
    with store.lock(record.id):
        assert store.summary(record.id).running
        with pytest.raises(StorageError, match=f"session {record.id} is open"):
            store.lock(record.id).acquire()
        with store.lock(record.id + 1):
            pass
        assert store.summary(record.id).running
    assert not store.summary(record.id).running
