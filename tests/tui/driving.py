"""Waits for what the app does, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

from textual.pilot import Pilot

from acs_assistant.tui.screens.design import DesignScreen
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.state import Phase
from tests.tui.fakes import Clock

LIMIT = 30.0
"""Seconds after which a wait is a failure."""


async def until(pilot: Pilot[None], condition: Callable[[], bool], what: str = "") -> None:
    """Lets the app work until ``condition`` holds."""
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {LIMIT} s in vain{f' for {what}' if what else ''}")
        await pilot.pause(0.01)
    await pilot.pause()


async def screen(pilot: Pilot[None], kind: type, what: str = "") -> None:
    await until(
        pilot,
        lambda: isinstance(pilot.app.screen, kind) and pilot.app.screen.is_mounted,
        what or kind.__name__,
    )
    loading = {"fill", "load", "list", "waveforms", "open"}
    await until(
        pilot,
        lambda: not any(w.group in loading and w.is_running for w in pilot.app.workers),
        "what the screen loads",
    )


def design(pilot: Pilot[None]) -> DesignScreen:
    assert isinstance(pilot.app.screen, DesignScreen)
    return pilot.app.screen


async def asked(pilot: Pilot[None]) -> DesignScreen:
    """Waits until a proposal is on the design screen and needs a decision."""
    await screen(pilot, DesignScreen)
    shown = design(pilot)
    await until(
        pilot,
        lambda: shown.state.phase is Phase.ASKING and shown.state.proposal is not None,
        "a proposal",
    )
    return shown


async def played(pilot: Pilot[None], clock: Clock, turns: int) -> DesignScreen:
    """The example from the first screen on: so many turns accepted, and the next one waiting."""
    await screen(pilot, SessionsScreen)
    await pilot.press("f")
    for turn in range(turns):
        await asked(pilot)
        clock.advance(1.0)
        await pilot.press("a")
        await measured(pilot, turn + 1)
    return await asked(pilot)


async def idle(pilot: Pilot[None]) -> DesignScreen:
    """Waits until the loop has ended."""
    await screen(pilot, DesignScreen)
    shown = design(pilot)
    await until(pilot, lambda: not shown.running, "the end of the loop")
    return shown


async def measured(pilot: Pilot[None], count: int) -> DesignScreen:
    """Waits until this many simulations are on the screen."""
    await screen(pilot, DesignScreen)
    shown = design(pilot)
    await until(pilot, lambda: shown.state.simulations >= count, f"{count} simulations")
    return shown
