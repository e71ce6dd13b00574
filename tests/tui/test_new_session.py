"""The form of a new session: its warnings, at every width and from what was measured before."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from acs_assistant.tui.screens.new_session import NewSessionScreen
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.widgets.spec_editor import SpecEditor
from tests.tui.driving import screen, until
from tests.tui.fakes import REFERENCE, Clock, figures, make_app, make_circuit
from tests.tui.saved import add_session, evaluated


async def opened(pilot: Pilot[None]) -> NewSessionScreen:
    await screen(pilot, SessionsScreen)
    await pilot.press("n")
    await screen(pilot, NewSessionScreen)
    shown = pilot.app.screen
    assert isinstance(shown, NewSessionScreen)
    await until(pilot, lambda: bool(shown.query(".spec-row")), "the specs")
    return shown


def says(shown: NewSessionScreen) -> str:
    return str(shown.query_one("#spec-says").render())


@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=["80x24", "160x48"])
async def test_a_target_that_was_never_reached_is_warned_of(
    tmp_path: Path, clock: Clock, size: tuple[int, int]
) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test(size=size) as pilot:
        shown = await opened(pilot)
        await pilot.press("enter", "end", *["backspace"] * 2, *"95")
        await until(pilot, lambda: "never reached" in says(shown))
        narrow = shown.query_one("#spec-says").display
        assert narrow == (size[0] == 80), "beside the field where there is room"
        await pilot.press("down")
        assert "reference" in says(shown)
        await pilot.press("end", "x")
        assert "✗" in says(shown)


async def test_what_a_session_reached_is_no_longer_warned_of(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock)
    longer = {**REFERENCE, "l_in": 2e-6, "l_load": 2e-6, "l_drv": 2e-6}
    better = figures(longer, make_circuit().conditions, None)["dc_gain"]
    assert better > 95
    key = add_session(app.services.store)
    evaluated(app.services.store, key, longer)
    async with app.run_test(size=(160, 48)) as pilot:
        shown = await opened(pilot)
        await pilot.press("enter")
        field = shown.focused
        assert isinstance(field, Input)
        field.value = ">= 95"
        await until(pilot, lambda: "reference" in says(shown), "no warning")
        field.value = ">= 120"
        await until(pilot, lambda: f"{better:.4g}" in says(shown), "the session's best")
        shown.query_one(SpecEditor).focus_add()
        await pilot.press(*"slew_rate>=900meg", "enter")
        rows = [row for row in shown.query(".spec-note") if "never reached" in str(row.render())]
        assert len(rows) == 2
