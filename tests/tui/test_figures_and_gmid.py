"""Figures written from the app, and the gm/Id chart of a device with its operating point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from textual.widgets import DataTable, Input, OptionList, Static

from acs_assistant.cancel import CancelToken
from acs_assistant.domain import Measurement
from acs_assistant.library import load_circuit
from acs_assistant.sim import make_simulator
from acs_assistant.sim.port import SimulationRequest, Simulator
from acs_assistant.tui.screens.design import DesignScreen
from acs_assistant.tui.screens.figure import FIGURES, FigureDialog
from acs_assistant.tui.screens.gmid import GmIdScreen, device_plot
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.widgets.plot import Plot
from tests.tui.driving import asked, measured, screen, until
from tests.tui.fakes import Clock, FakeSimulator, make_app, make_circuit

MAGIC = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}


class TransistorSimulator(FakeSimulator):
    """Hand equations for the circuit, ngspice for its transistors."""

    def __init__(self, real: Simulator) -> None:
        super().__init__()
        self.real = real

    def simulate(
        self, request: SimulationRequest, cancel: CancelToken | None = None
    ) -> Measurement:
        chosen = self.real.simulate if request.circuit.name == "gmid" else super().simulate
        return chosen(request, cancel)


@pytest.fixture
def real() -> Iterator[Simulator]:
    simulator = make_simulator(workers=1)
    yield simulator
    simulator.close()


@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=["80x24", "160x48"])
async def test_figures_are_written_and_their_path_is_shown(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.chdir(tmp_path)
    app = make_app(tmp_path, clock)
    async with app.run_test(size=size) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        await asked(pilot)
        await pilot.press("f")
        assert isinstance(app.screen, DesignScreen), "there is nothing to draw yet"
        clock.advance(1.0)
        await pilot.press("a")
        await measured(pilot, 1)
        await asked(pilot)
        for ending in (".svg", ".png", ".pdf"):
            await pilot.press("f")
            await screen(pilot, FigureDialog)
            assert app.screen.query_one(OptionList).highlighted == 0, "the plot that is shown"
            await pilot.press("enter", "end", *["backspace"] * 4, *ending, "enter")
            await screen(pilot, DesignScreen)
            written = tmp_path / f"session-1-bode{ending}"
            assert written.read_bytes().startswith(MAGIC[ending])
            said = [n.message for n in app._notifications]
            assert f"Written: {written}" in said
        names = [name for name, _ in FIGURES]
        await pilot.press("f")
        await screen(pilot, FigureDialog)
        await pilot.press(*["down"] * names.index("noise"), "enter", "enter")
        await screen(pilot, DesignScreen)
        assert b"Noise" in (tmp_path / "session-1-noise.svg").read_bytes()
        await pilot.press("f")
        await screen(pilot, FigureDialog)
        await pilot.press(*["down"] * names.index("tradeoff"), "enter", "enter")
        fault = app.screen.query_one(".fault", Static)
        await until(pilot, lambda: "no trade-off to draw" in str(fault.render()))
        await pilot.press("escape", "f")
        await screen(pilot, FigureDialog)
        app.screen.query_one(Input).value = "picture.gif"
        await pilot.press("enter", "enter")
        fault = app.screen.query_one(".fault", Static)
        await until(pilot, lambda: "The ending says the format" in str(fault.render()))


async def test_the_chart_of_a_device_with_its_operating_point(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, real: Simulator
) -> None:
    monkeypatch.chdir(tmp_path)
    circuit = replace(make_circuit(), netlist=load_circuit("two_stage_miller").netlist)
    app = make_app(tmp_path, clock, circuit=circuit, simulator=TransistorSimulator(real))
    async with app.run_test(size=(120, 40)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        await asked(pilot)
        await pilot.press("d")
        assert isinstance(app.screen, DesignScreen), "there is no operating point yet"
        clock.advance(1.0)
        await pilot.press("a")
        shown = await measured(pilot, 1)
        await asked(pilot)
        await pilot.press("4", "down")
        assert shown.query_one(DataTable).cursor_row == 1
        await pilot.press("d")
        await screen(pilot, GmIdScreen)
        gmid = app.screen
        assert isinstance(gmid, GmIdScreen)
        assert gmid.point.name == "M2"
        await until(pilot, lambda: "M2" in gmid.charts, "the characterisation")
        chart = gmid.charts["M2"]
        assert chart.transistor == "sky130_fd_pr__nfet_01v8"
        turn = shown.state.in_order()[0]
        assert turn.decision is not None
        assert (chart.width, chart.length) == pytest.approx(
            (turn.decision.sizing["w_in"], turn.decision.sizing["l_in"])
        )
        drawn = device_plot(chart, "density")
        own, mark = drawn.curves[0], drawn.curves[-1]
        assert mark.points and mark.x == (gmid.point.gm_over_id,)
        assert 10 ** mark.y[0] == pytest.approx(gmid.point.id / chart.width)
        assert np.all(np.diff(own.x) < 0) and 20 < own.x[0] < 35, "from weak inversion on"
        assert np.all(np.diff(own.y) > 0)
        words = str(gmid.query_one("#gmid-words", Static).render())
        assert "Id/W" in words and "inversion" in words
        await pilot.press("full_stop")
        assert "gm/gds" in str(gmid.query_one(Plot).border_title)
        await pilot.press("left")
        assert gmid.point.name == "M1"
        await until(pilot, lambda: "M1" in gmid.charts, "the other device, from the cache")
        await pilot.press("f")
        await screen(pilot, FigureDialog)
        await pilot.press("enter", "enter")
        await screen(pilot, GmIdScreen)
        text = (tmp_path / "two_stage_miller-m1-gmid.svg").read_text()
        assert "gm/Id (1/V)" in text and "M1, sky130_fd_pr__nfet_01v8" in text
        await pilot.press("escape")
        await screen(pilot, DesignScreen)


async def test_a_device_without_a_chart_says_why(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test(size=(80, 24)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        await asked(pilot)
        clock.advance(1.0)
        await pilot.press("a")
        await measured(pilot, 1)
        await asked(pilot)
        await pilot.press("d")
        await screen(pilot, GmIdScreen)
        gmid = app.screen
        assert isinstance(gmid, GmIdScreen)
        await until(pilot, lambda: bool(gmid.failures), "the reason")
        caption = str(gmid.query_one(".plot-caption", Static).render())
        assert "M1 is no transistor of the circuit's own netlist" in caption
        await pilot.press("f", "right", "q")
        await screen(pilot, DesignScreen)
