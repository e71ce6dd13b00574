"""What a setting is for can be read at every width."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input

from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.screens.settings import SettingRow, SettingsScreen
from tests.tui.driving import screen, until
from tests.tui.fakes import Clock, make_app


@pytest.mark.parametrize("size", [(80, 24), (240, 60)], ids=["80x24", "240x60"])
async def test_every_description_can_be_read_in_full(
    tmp_path: Path, clock: Clock, size: tuple[int, int]
) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test(size=size) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f3")
        await screen(pilot, SettingsScreen)
        shown = app.screen
        said = shown.query_one(".fault")
        for row in shown.query(SettingRow):
            row.query_one(Input).focus()
            await pilot.pause()
            room = row.query_one(".setting-text").size.width
            below = str(said.render())
            assert (below == row.text) == (len(row.text) > room), row.key
        await pilot.press("end", *"x")
        await until(pilot, lambda: "✗" in str(said.render()), "what is wrong")
