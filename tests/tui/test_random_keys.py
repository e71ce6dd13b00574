"""Whatever is pressed: no crash, no lost turn, a consistent database.

Short by default. All of it, which takes hours: ``pytest -m slow tests/tui/test_random_keys.py``;
``ACS_KEY_SEQUENCES``, ``ACS_KEY_LENGTH`` and ``ACS_KEY_FIRST_SEED`` make it shorter or repeat one.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot, WaitForScreenTimeout

from acs_assistant import paths
from acs_assistant.cli.compose import build_services
from acs_assistant.config import InterfaceSettings, SessionSettings, Settings, SimulatorSettings
from acs_assistant.domain import Turn
from acs_assistant.storage.store import Store
from acs_assistant.tui.app import AcsApp
from acs_assistant.tui.keys import KEYS
from acs_assistant.tui.screens.design import DesignScreen
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.state import Phase
from tests.tui.driving import screen
from tests.tui.fakes import Clock, FakeSimulator, make_app

SEQUENCES = int(os.environ.get("ACS_KEY_SEQUENCES", "200"))
LENGTH = int(os.environ.get("ACS_KEY_LENGTH", "500"))
FIRST = int(os.environ.get("ACS_KEY_FIRST_SEED", "0"))
LEAVES = {"ctrl+q", "ctrl+p"}
OTHER = ("up", "down", "left", "right", "tab", "enter", "backspace", "home", "end", "9", "space")
OFTEN = ("a", "a", "a", "space", "g", "u", "enter", "escape", "escape", "G", "x")
SIZES = ((80, 24), (100, 30), (120, 36), (160, 48))
PATIENCE = 80
"""Looks at the app, 25 ms apart, while model and simulator are given time to get somewhere."""

Seen = dict[tuple[int, int], Turn]


def pool() -> list[str]:
    keys = [key for entry in KEYS for key in entry.keys.split(",")]
    return [key for key in (*keys, *OTHER, *OFTEN) if key not in LEAVES]


async def press(
    pilot: Pilot[None], chance: random.Random, length: int, pressed: list[str], clock: Clock
) -> Seen:
    """Presses keys and gives back every turn that was ever on the screen, as last seen."""
    app, keys, seen = pilot.app, pool(), {}
    await screen(pilot, SessionsScreen)
    await pilot.press("f")
    for n in range(length):
        key = chance.choice(keys)
        if key == "q" and isinstance(app.screen, SessionsScreen):
            continue  # it would quit
        pressed.append(key)
        await unhurried(pilot, pilot.press(key))
        clock.advance(chance.choice([0.0, 0.2, 1.0]))
        if n % 40 == 39:
            await pilot.resize_terminal(*chance.choice(SIZES))
        shown = next((s for s in app.screen_stack if isinstance(s, DesignScreen)), None)
        if shown is not None:
            if chance.random() < 0.1:
                await progress(pilot, shown)
            seen |= {(shown.session.id, turn.id): turn for turn in shown.session.turns()}
        if not app.is_running:
            break
    return seen


async def unhurried(pilot: Pilot[None], pressing: Awaitable[None]) -> None:
    """A machine that is busy with other things is waited for; an app that hangs is not."""
    try:
        await pressing
    except WaitForScreenTimeout:
        await pilot.pause()


async def progress(pilot: Pilot[None], shown: DesignScreen) -> None:
    """Lets model and simulator get somewhere."""
    for _ in range(PATIENCE):
        if shown.state.phase in (Phase.ASKING, Phase.IDLE) and not shown.answering:
            return
        await pilot.pause(0.025)


async def survive(make: Callable[[], AcsApp], seed: int, length: int, clock: Clock) -> AcsApp:
    """Runs one sequence; a failure names its seed and the last keys."""
    chance, pressed = random.Random(seed), []
    app = make()
    try:
        async with app.run_test(size=chance.choice(SIZES)) as pilot:
            seen = await press(pilot, chance, length, pressed, clock)
        assert app.return_code in (0, None)
        for leaving in app.closing.values():
            leaving.join(60.0)
            assert not leaving.is_alive(), "a session is still running"
        check(app.services.store._path, seen)
    except BaseException as error:
        keys = " ".join(pressed[-40:])
        error.add_note(f"seed {seed}, after {len(pressed)} keys; the last ones: {keys}")
        raise
    return app


def check(path: Path, seen: Seen) -> None:
    """Turns hang in their tree, simulations belong to decisions, and what was seen is there."""
    with sqlite3.connect(path) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        assert db.execute("pragma foreign_key_check").fetchall() == []
    store = Store(path)
    summaries = [*store.sessions(), *store.sessions(archived=True)]
    stored: Seen = {}
    for summary in summaries:
        turns = {turn.id: turn for turn in store.turns(summary.id)}
        stored |= {(summary.id, turn.id): turn for turn in turns.values()}
        record = store.session(summary.id)
        assert record.head is None or record.head in turns
        for turn in turns.values():
            assert turn.parent is None or turn.parent in turns
            if turn.evaluation is not None:
                assert turn.decision is not None
                assert turn.decision.kind in ("accepted", "edited")
                assert set(turn.decision.sizing) == {p.name for p in record.task.circuit.parameters}
        assert sum(t.evaluation is not None for t in turns.values()) == summary.simulations
        with store.lock(summary.id):
            pass  # nobody holds it any more
    for key, turn in seen.items():
        kept = stored[key]
        assert kept.proposal == turn.proposal
        assert turn.decision is None or kept.decision == turn.decision
        if turn.evaluation is not None:
            assert kept.evaluation is not None
            assert kept.evaluation.score.value == turn.evaluation.score.value
    store.close()


def real_app(clock: Clock) -> AcsApp:
    """Shipped model, ngspice on SKY130, store; only fine-tuning is left out."""
    services = build_services(
        Settings(
            session=SessionSettings(budget=60, seed=1, stop_when_met=False),
            simulator=SimulatorSettings(workers=1),
            interface=InterfaceSettings(approval_delay=0.1),
        )
    )
    services.fine_tune = (sys.executable, "-c", "raise SystemExit('not in this test')")
    return AcsApp(services, clock=clock)


async def test_random_keys(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    await survive(
        lambda: make_app(tmp_path, clock, simulator=FakeSimulator(fails=[3, 7])), 0, 100, clock
    )


async def test_random_keys_with_real_parts(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = await survive(lambda: real_app(clock), 1, 60, clock)
    app.services.close()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEQUENCES))
async def test_many_random_keys_with_real_parts(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.chdir(tmp_path)
    assert paths.database().is_relative_to(tmp_path), "never the person's own sessions"
    app = await survive(lambda: real_app(clock), seed, LENGTH, clock)
    app.services.close()
