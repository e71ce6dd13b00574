"""A screen that is left while a worker of it waits for a thread."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from textual import work
from textual.worker import WorkerFailed

from acs_assistant import doctor
from acs_assistant.doctor import Check
from acs_assistant.tui.screens.doctor import DoctorScreen
from acs_assistant.tui.screens.page import Page
from acs_assistant.tui.screens.sessions import SessionsScreen
from tests.tui.driving import screen, until
from tests.tui.fakes import Clock, make_app


class Late(Page):
    """Its worker looks for a panel that is gone."""

    gone = False

    @property
    def leaving(self) -> bool:
        return self.gone

    @work(group="late")
    async def look(self) -> None:
        self.query_one("#panel")


@pytest.mark.parametrize("gone", [True, False], ids=["leaving", "there"])
async def test_a_panel_that_is_gone_is_a_fault_only_while_the_screen_stays(
    tmp_path: Path, clock: Clock, gone: bool
) -> None:
    async def run() -> None:
        app = make_app(tmp_path, clock)
        async with app.run_test() as pilot:
            await screen(pilot, SessionsScreen)
            late = Late()
            late.gone = gone
            app.push_screen(late)
            await screen(pilot, Late)
            late.look()
            await until(pilot, lambda: not any(w.group == "late" for w in app.workers))

    if gone:
        await run()
    else:
        with pytest.raises(WorkerFailed):
            await run()


async def test_the_doctor_is_left_while_it_looks(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, left = threading.Event(), threading.Event()

    def check(*names: str) -> list[Check]:
        looked.set()
        left.wait(20.0)
        return [Check("training", "ok", "torch 2.13")]

    monkeypatch.setattr(doctor, "check", check)
    app = make_app(tmp_path, clock)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f2")
        await screen(pilot, DoctorScreen)
        await until(pilot, looked.is_set, "the look")
        await pilot.press("escape")
        left.set()
        await screen(pilot, SessionsScreen)
    assert not app._exception
