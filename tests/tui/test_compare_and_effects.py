"""Predicted effects as rows, the specs board's worst corner, and two turns with their plots."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Static

from acs_assistant.domain import Task, Waveform
from acs_assistant.tui.screens.compare import CompareScreen
from acs_assistant.tui.screens.dialogs import ChoiceDialog
from acs_assistant.tui.screens.figure import FigureDialog
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.state import SessionState
from acs_assistant.tui.widgets.plot import Plot
from acs_assistant.tui.widgets.plots import dc_chart, responses_chart, trade_chart
from tests.tui.driving import asked, measured, played, screen, until
from tests.tui.fakes import Clock, make_app, make_circuit


def response(gain: float, unity: float) -> tuple[Waveform, ...]:
    f = tuple(10 ** (n / 10) for n in range(91))
    h = tuple(gain / (1 + 1j * x * gain / unity) for x in f)
    return (Waveform("ac", "ac", "frequency", f, {"v(out)": h}),)


def test_responses_lie_over_each_other_the_first_in_front() -> None:
    circuit = make_circuit()
    pair = [("turn 2", response(1e3, 1e7)), ("turn 1", response(1e2, 1e6))]
    chart = responses_chart(circuit, pair)
    assert chart is not None and len(chart.curves) == 2 and len(chart.lower) == 2
    assert chart.curves[-1].y[0] == pytest.approx(60.0, abs=0.1), "the last drawn lies on top"
    assert chart.marks == pytest.approx((7.0,), abs=0.01)
    assert "turn 2 in front: 60.0 dB, GBW 10meg Hz" in chart.caption
    assert "turn 1 behind: 40.0 dB" in chart.caption
    assert responses_chart(circuit, [("turn 2", ()), pair[1]]) is None


def test_a_dc_sweep_has_a_plot() -> None:
    circuit = make_circuit()
    state = SessionState(Task(circuit, circuit.specs, circuit.conditions), 5)
    assert dc_chart(state) is None


@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=["80x24", "160x48"])
async def test_two_turns_with_their_plots(
    tmp_path: Path, clock: Clock, size: tuple[int, int]
) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test(size=size) as pilot:
        shown = await played(pilot, clock, 2)
        trade = trade_chart(shown.state)
        assert trade is not None and "gbw" in trade.title
        await pilot.press("v")
        await screen(pilot, CompareScreen)
        plot = app.screen.query_one(Plot)
        assert plot.display == (size[1] == 48), "a small screen begins with the table"
        if size[1] == 24:
            await pilot.press("full_stop")
        await until(pilot, lambda: "Bode" in str(plot.border_title), "the plot")
        caption = plot.query_one(".plot-caption", Static)
        await until(pilot, lambda: " behind:" in str(caption.render()), "both turns' vectors")
        await pilot.press("full_stop")
        assert "Transient" in str(plot.border_title)
        assert "v(out)" in str(caption.render())
        await pilot.press("full_stop", "full_stop")
        assert "Neither turn has these vectors" in str(caption.render())
        await pilot.press("escape")


async def test_any_two_metrics_against_each_other(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = make_app(tmp_path, clock)
    async with app.run_test(size=(120, 40)) as pilot:
        shown = await played(pilot, clock, 2)
        await pilot.press("y")
        await screen(pilot, ChoiceDialog)
        names = [metric.name for metric in shown.state.task.circuit.metrics]
        first = app.screen
        await pilot.press("home", *["down"] * names.index("power"), "enter")
        await until(pilot, lambda: app.screen is not first, "the second question")
        await screen(pilot, ChoiceDialog)
        await pilot.press("home", *["down"] * names.index("gbw"), "enter")
        await screen(pilot, type(shown))
        assert shown.state.axes == ("power", "gbw")
        caption = shown.query_one("#plots .plot-caption", Static)
        await until(pilot, lambda: "power W across, gbw Hz up" in str(caption.render()))
        await pilot.press("f")
        await screen(pilot, FigureDialog)
        await pilot.press("enter", "enter")
        await screen(pilot, type(shown))
        assert "gbw against power" in (tmp_path / "session-1-tradeoff.svg").read_text()


async def test_predicted_effects_are_rows_that_are_judged(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test(size=(120, 40)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        await asked(pilot)
        clock.advance(1.0)
        await pilot.press("a")
        shown = await measured(pilot, 1)
        await asked(pilot)
        title = str(shown.query(".entry-title").first(Static).render())
        assert "predicted 1/3 right" in title or "predicted 0/3 right" in title
        await pilot.press("t")
        await until(pilot, lambda: bool(shown.query(".entry-predictions")), "the rows")
        rows = str(shown.query(".entry-predictions").first(Static).render())
        for word in ("metric", "expected", "measured", "dc_gain", "gbw", "phase_margin"):
            assert word in rows
        assert "✗ wrong" in rows


async def test_the_worst_corner_stands_on_the_specs_board(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock)
    circuit = make_circuit()
    task = replace(Task(circuit, circuit.specs, circuit.conditions), corners=("tt", "ff", "ss"))
    async with app.run_test(size=(120, 40)) as pilot:
        await screen(pilot, SessionsScreen)
        app.new_session(task, proposer="model", model="", budget=5, seed=1, run=True)
        await asked(pilot)
        clock.advance(1.0)
        await pilot.press("a")
        shown = await measured(pilot, 1)
        await asked(pilot)
        board = str(shown.query_one("#specs .board-body", Static).render())
        assert "worst" in board and " ss" in board and "trend" in board
