"""Every screen around a session: all themes, no colour, any size, and both ends of the key bar."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.color import Color
from textual.screen import Screen

from acs_assistant import doctor
from acs_assistant.doctor import Check
from acs_assistant.tui.screens.bench import BenchScreen
from acs_assistant.tui.screens.circuits import CircuitsScreen
from acs_assistant.tui.screens.doctor import DoctorScreen
from acs_assistant.tui.screens.help import HelpScreen
from acs_assistant.tui.screens.importing import ImportScreen
from acs_assistant.tui.screens.models import ModelsScreen
from acs_assistant.tui.screens.new_session import NewSessionScreen
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.screens.settings import SettingsScreen
from acs_assistant.tui.screens.training import TrainingScreen
from acs_assistant.tui.themes import THEMES
from tests.tui.driving import screen
from tests.tui.fakes import Clock, make_app

SCREENS: tuple[type[Screen[None]], ...] = (
    BenchScreen,
    CircuitsScreen,
    DoctorScreen,
    ImportScreen,
    ModelsScreen,
    NewSessionScreen,
    SettingsScreen,
    TrainingScreen,
)
SIZES = ((80, 24), (40, 10), (160, 48), (120, 36))


@pytest.fixture(autouse=True)
def fixed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "check", lambda *names: [Check("training", "ok", "torch 2.13")])
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", SCREENS, ids=lambda kind: kind.__name__)
async def test_sizes_and_themes(tmp_path: Path, clock: Clock, kind: type[Screen[None]]) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        app.push_screen(kind())
        await screen(pilot, kind)
        for size, theme in zip(SIZES, (*THEMES, THEMES[0]), strict=True):
            app.theme = theme.name
            await pilot.resize_terminal(*size)
            lines = ["".join(s.text for s in strip) for strip in _strips(app)]
            assert len(lines) == size[1]
            assert lines[0].strip() and "? Help" in lines[-1], "title and keys are always there"
        assert not app._exception


def _strips(app: object) -> list[object]:
    return app.screen._compositor.render_strips(app.size)  # type: ignore[attr-defined, no-any-return]


async def test_no_color_leaves_greys_on_every_screen(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = make_app(tmp_path, clock)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        for kind in (*SCREENS, lambda: HelpScreen(("training", "page"))):
            app.push_screen(kind())
            await pilot.pause()
            await pilot.pause()
            styles = [
                segment.style
                for strip in app.screen._compositor.render_strips(app.size)
                for segment in strip.apply_filter(app._filters[-1], Color.parse("black"))
                if segment.style is not None and segment.style.color is not None
            ]
            assert styles
            for style in styles:
                red, green, blue = style.color.get_truecolor()  # type: ignore[union-attr]
                assert red == green == blue, app.screen
            await pilot.press("escape")
            await screen(pilot, SessionsScreen)
