"""Whatever is pressed: no crash, no lost turn, a consistent database."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from acs_assistant.storage.store import Store
from acs_assistant.tui.keys import KEYS
from acs_assistant.tui.screens.sessions import SessionsScreen
from tests.tui.driving import screen
from tests.tui.fakes import Clock, FakeSimulator, make_app

SEQUENCES = int(os.environ.get("ACS_KEY_SEQUENCES", "1"))
LENGTH = int(os.environ.get("ACS_KEY_LENGTH", "100"))
LEAVES = {"ctrl+q", "ctrl+p"}
OTHER = (
    "up",
    "down",
    "left",
    "right",
    "tab",
    "enter",
    "backspace",
    "home",
    "end",
    "9",
    "x",
    "space",
)


def pool() -> list[str]:
    keys = [key for entry in KEYS for key in entry.keys.split(",")]
    often = ["a", "a", "a", "space", "g", "u", "enter", "escape"]
    return [key for key in (*keys, *OTHER, *often) if key not in LEAVES]


@pytest.mark.parametrize("seed", range(SEQUENCES))
async def test_random_keys(tmp_path: Path, clock: Clock, seed: int) -> None:
    chance = random.Random(seed)
    keys = pool()
    pressed: list[str] = []
    app = make_app(tmp_path, clock, simulator=FakeSimulator(fails=[3, 7]))
    size = chance.choice([(80, 24), (120, 36), (160, 48)])
    async with app.run_test(size=size) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        for n in range(LENGTH):
            key = chance.choice(keys)
            if key == "q" and isinstance(app.screen, SessionsScreen):
                continue
            pressed.append(key)
            await pilot.press(key)
            clock.advance(chance.choice([0.0, 0.2, 1.0]))
            if n % 40 == 39:
                await pilot.resize_terminal(*chance.choice([(80, 24), (100, 30), (160, 48)]))
            if not app.is_running:
                break
    assert app.return_code in (0, None)
    check(tmp_path / "sessions.db")


def check(path: Path) -> None:
    """Every turn hangs in its session's tree, and every simulation belongs to a decision."""
    store = Store(path)
    for summary in [*store.sessions(), *store.sessions(archived=True)]:
        turns = {turn.id: turn for turn in store.turns(summary.id)}
        record = store.session(summary.id)
        assert record.head is None or record.head in turns
        for turn in turns.values():
            assert turn.parent is None or turn.parent in turns
            if turn.evaluation is not None:
                assert turn.decision is not None
                assert turn.decision.kind in ("accepted", "edited")
                assert set(turn.decision.sizing) == {p.name for p in record.task.circuit.parameters}
        assert sum(t.evaluation is not None for t in turns.values()) == summary.simulations
    store.close()
