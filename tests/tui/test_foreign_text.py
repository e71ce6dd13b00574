"""Text from models, netlists and files is shown as it is: no markup and no escapes are obeyed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from acs_assistant.domain import Measurement
from acs_assistant.llm.scripted import ScriptedModel
from acs_assistant.sim.port import SimulationRequest
from acs_assistant.tui.app import AcsApp
from acs_assistant.tui.screens.circuits import CircuitsScreen
from acs_assistant.tui.screens.models import ModelsScreen
from acs_assistant.tui.screens.new_session import NewSessionScreen
from acs_assistant.tui.screens.sessions import SessionsScreen
from tests.tui.driving import asked, measured, screen, until
from tests.tui.fakes import CardRow, Clock, FakeSimulator, make_app, make_circuit, reply

HOSTILE = "[/nope] [red]kept[/red] \x1b[31mred\x1b]0;owned\x07 \x9b5m [@click=app.quit]go[/]"


class HostileSimulator(FakeSimulator):
    def simulate(self, request: SimulationRequest, cancel: object = None) -> Measurement:
        return Measurement("failed", {}, conditions=request.conditions, error=HOSTILE)


def cells(app: AcsApp) -> str:
    strips = app.screen._compositor.render_strips(app.size)
    return "\n".join(strip.text for strip in strips)


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_nothing_is_obeyed(tmp_path: Path, clock: Clock, size: tuple[int, int]) -> None:
    circuit = replace(
        make_circuit(), title=HOSTILE, description=HOSTILE, schematic=f"M1 {HOSTILE}\n M2"
    )
    model = ScriptedModel(*(reply(n).replace("<think>", f"<think>{HOSTILE} ") for n in range(3)))
    app = make_app(tmp_path, clock, circuit=circuit, model=model, simulator=HostileSimulator())
    app.services.list_models = lambda: [CardRow(HOSTILE, HOSTILE, "", "")]
    seen = ""
    async with app.run_test(size=size) as pilot:
        await screen(pilot, SessionsScreen)
        for key, kind in (("c", CircuitsScreen), ("m", ModelsScreen), ("n", NewSessionScreen)):
            await pilot.press(key)
            await screen(pilot, kind)
            seen += cells(app)
            await pilot.press("escape")
            await screen(pilot, SessionsScreen)
        await pilot.press("f")
        await asked(pilot)
        await pilot.press("2")
        seen += cells(app)
        clock.advance(1.0)
        await pilot.press("a")
        await measured(pilot, 1)
        for key in "123456":
            await pilot.press(key)
            seen += cells(app)
        await pilot.press("q")
        await screen(pilot, SessionsScreen)
        await until(pilot, lambda: "[/nope]" in cells(app), "the title in the list")
    assert "[red]kept[/red]" in seen
    assert not {"\x1b", "\x07", "\x9b"} & set(seen)
