"""A session killed with SIGKILL at every stage goes on where it was."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from acs_assistant.engine.session import Session
from acs_assistant.storage.store import Store
from tests.engine.parts import TASK, ScriptedProposer, ToySimulator
from tests.engine.victim import SCRIPT

ROOT = Path(__file__).parents[2]

# What is left of turn 2 when the process dies there: proposed, decided, measured.
STAGES = {
    "TurnStarted": (False, False, False),
    "text": (False, False, False),
    "ProposalReady": (True, False, False),
    "Decided": (True, True, False),
    "SimulationStarted": (True, True, False),
    "simulate": (True, True, False),
    "commit": (True, True, False),
    "SimulationFinished": (True, True, True),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_session_goes_on_where_it_was(stage: str, tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = Store(path)
    record = store.create_session(TASK, title="toy", proposer="model", budget=4, seed=3)
    victim = subprocess.run(
        [sys.executable, "-m", "tests.engine.victim", str(path), str(record.id), stage, "2"],
        cwd=ROOT,
        timeout=60,
    )
    assert victim.returncode == -signal.SIGKILL

    assert not store.summary(record.id).running, "the lock died with its process"
    turns = store.turns(record.id)
    proposed, decided, measured = STAGES[stage]
    assert len(turns) == 1 + proposed
    assert turns[0].evaluation is not None
    if proposed:
        assert (turns[1].decision is not None) == decided
        assert (turns[1].evaluation is not None) == measured

    proposer = ScriptedProposer(SCRIPT[len(turns) :])
    simulator = ToySimulator()
    with Session(
        store, record.id, simulator=lambda: simulator, make_proposer=lambda record: proposer
    ) as session:
        list(session.run())
    turns = store.turns(record.id)
    assert [turn.proposal.sizing for turn in turns] == SCRIPT, "nothing twice, nothing lost"
    assert all(turn.evaluation is not None for turn in turns)
    assert len(simulator.requests) == 4 - 1 - measured
    with sqlite3.connect(path) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        assert db.execute("pragma foreign_key_check").fetchall() == []


def test_two_processes_do_not_run_one_session(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = Store(path)
    record = store.create_session(TASK, title="toy", proposer="model", budget=4, seed=3)
    with store.lock(record.id):
        other = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.engine.victim",
                str(path),
                str(record.id),
                "Stopped",
                "1",
            ],
            cwd=ROOT,
            timeout=60,
            capture_output=True,
            text=True,
        )
    assert other.returncode == 1
    assert f"session {record.id} is open in process" in other.stderr
    assert store.turns(record.id) == []
