"""The same session by keyboard with nothing faked: shipped model, ngspice, SKY130, store."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from textual.widgets import DataTable

from acs_assistant.cli.compose import build_services
from acs_assistant.config import SessionSettings, Settings
from acs_assistant.tui.app import AcsApp
from acs_assistant.tui.screens.design import DesignScreen
from acs_assistant.tui.screens.dialogs import NumberDialog, RejectDialog
from acs_assistant.tui.screens.export import ExportDialog
from acs_assistant.tui.screens.new_session import NewSessionScreen
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.screens.sizes import SizesDialog
from acs_assistant.tui.state import value_of
from tests.tui.driving import asked, idle, measured, screen, until
from tests.tui.fakes import Clock


def make(clock: Clock) -> AcsApp:
    settings = Settings(session=SessionSettings(budget=6, stop_when_met=False))
    return AcsApp(build_services(settings), clock=clock)


async def test_size_export_leave_and_resume(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = make(clock)
    try:
        async with app.run_test(size=(80, 24)) as pilot:
            await screen(pilot, SessionsScreen)
            await pilot.press("n")
            await screen(pilot, NewSessionScreen)
            await until(pilot, lambda: bool(app.screen.query(".spec-row")), "the specs")
            await pilot.press("end")
            await screen(pilot, NewSessionScreen)
            await pilot.press("ctrl+s")
            for count in (1, 2):
                await asked(pilot)
                clock.advance(1.0)
                await pilot.press("a")
                await measured(pilot, count)
            await asked(pilot)
            await pilot.press("e")
            await screen(pilot, SizesDialog)
            await pilot.press("pageup", "pageup", "enter")
            await measured(pilot, 3)
            shown = await asked(pilot)
            await pilot.press("r")
            await screen(pilot, RejectDialog)
            await pilot.press(*"less power", "enter")
            await until(pilot, lambda: len(shown.state.turns) >= 5, "another turn")
            await asked(pilot)
            await pilot.press("shift+tab")
            await screen(pilot, NumberDialog)
            await pilot.press(*"9", "enter")
            await idle(pilot)
            assert shown.state.simulations == 6
            best = shown.state.best
            assert best is not None and best.proposal.reasoning
            await pilot.press("w")
            await screen(pilot, ExportDialog)
            await pilot.press("enter", "enter")
            await until(pilot, lambda: (tmp_path / "session-1.spice").exists(), "the netlist")
            await screen(pilot, DesignScreen)
            await pilot.press("ctrl+q")
    finally:
        app.services.close()

    measured_again = ngspice(tmp_path / "session-1.spice")
    gain = value_of(best.evaluation, "dc_gain")
    assert gain is not None
    assert measured_again["dc_gain"] == pytest.approx(gain, rel=1e-3)

    again = make(clock)
    try:
        async with again.run_test(size=(160, 48)) as pilot:
            await screen(pilot, SessionsScreen)
            await until(pilot, lambda: again.screen.query_one(DataTable).row_count == 1)
            await pilot.press("enter")
            await screen(pilot, DesignScreen)
            resumed = again.screen
            assert isinstance(resumed, DesignScreen)
            assert resumed.state.simulations == 6
            assert resumed.state.best is not None and resumed.state.best.id == best.id
            await until(pilot, lambda: bool(resumed.state.waveforms), "the stored vectors")
    finally:
        again.services.close()


def ngspice(deck: Path) -> dict[str, float]:
    """Runs the exported deck in plain ngspice; ``name = value`` lines of its output."""
    program = shutil.which("ngspice")
    assert program is not None
    done = subprocess.run(
        ["prlimit", "--as=2000000000", program, "-b", str(deck)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=deck.parent,
    )
    found: dict[str, float] = {}
    for line in done.stdout.splitlines():
        name, sign, value = line.partition("=")
        if sign and value.split():
            try:
                found[name.strip().lower()] = float(value.split()[0])
            except ValueError:
                continue
    return found
