"""A process that runs a session and kills itself at the stage named: run by the tests of resume."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from acs_assistant.engine.session import Session
from acs_assistant.events import Event
from acs_assistant.storage.store import Store
from tests.engine.parts import ScriptedProposer, ToySimulator

SCRIPT = [
    {"w_in": 10e-6, "i_bias": 20e-6},
    {"w_in": 12e-6, "i_bias": 20e-6},
    {"w_in": 14e-6, "i_bias": 20e-6},
    {"w_in": 16e-6, "i_bias": 20e-6},
]


def die(*_: Any) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def main(database: str, session: str, stage: str, turn: str) -> None:
    """Dies in ``turn`` at ``stage``: an event's name, or inside "text", "simulate" or "commit"."""
    proposer = ScriptedProposer(SCRIPT)
    current = 0

    def on_text() -> None:
        if stage == "text" and current == int(turn):
            die()

    def hook(request: object) -> str:
        return die() if stage == "simulate" and current == int(turn) else ""

    proposer.on_text = on_text
    store = Store(Path(database))
    if stage == "commit":
        _die_in_transaction(store, int(turn))
    simulator = ToySimulator(hook)
    opened = Session(
        store, int(session), simulator=lambda: simulator, make_proposer=lambda record: proposer
    )
    event: Event
    for event in opened.run():
        name = type(event).__name__
        if name == "TurnStarted":
            current = event.index
        if name == stage and current == int(turn):
            die()
    raise SystemExit(f"never reached {stage} of turn {turn}")


def _die_in_transaction(store: Store, turn: int) -> None:
    """After the last row of an evaluation is written and before it is committed."""
    db = store._connections._database()
    seen = 0

    def trace(sql: str) -> None:
        nonlocal seen
        if "insert into" in sql.lower() and "evaluations" in sql.lower():
            seen += 1
        if seen == turn and "waveforms" in sql.lower():
            die()

    db.conn.set_trace_callback(trace)


if __name__ == "__main__":
    main(*sys.argv[1:])
