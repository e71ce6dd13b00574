"""What has not changed is not drawn again, and what is out of sight is not drawn at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from textual.app import App
from textual.widgets import DataTable

from acs_assistant.events import ProposalReady, TextDelta, TurnStarted
from acs_assistant.report.figures import PAPER, pixels
from acs_assistant.tui.graphics import Graphics
from acs_assistant.tui.runner import Mailbox
from acs_assistant.tui.screens.compare import CompareScreen
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.widgets.depiction import depicted
from acs_assistant.tui.widgets.history import HistoryTree
from acs_assistant.tui.widgets.picture import Picture
from acs_assistant.tui.widgets.plot import Chart, Curve, Decades, Linear
from acs_assistant.tui.widgets.proposal_table import ProposalTable
from acs_assistant.tui.widgets.reasoning import Entry, Reasoning
from acs_assistant.tui.widgets.specs_board import SpecsBoard
from acs_assistant.tui.widgets.words import Thoughts
from tests.tui.driving import asked, measured, played, screen, until
from tests.tui.fakes import Clock, make_app, make_circuit


class Frames:
    """Counts the frames and the layouts of a screen."""

    def __init__(self, app: App[None], monkeypatch: pytest.MonkeyPatch) -> None:
        self.drawn = self.laid_out = 0
        display, screen = app._display, app.screen
        layout = screen._refresh_layout

        def drawn(*parts: object) -> None:
            self.drawn += 1
            display(*parts)  # type: ignore[arg-type]

        def laid_out(*parts: object, **more: object) -> None:
            self.laid_out += 1
            layout(*parts, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(app, "_display", drawn)
        monkeypatch.setattr(screen, "_refresh_layout", laid_out)


async def test_what_is_the_same_costs_no_frame(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test(size=(160, 48)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        design = await asked(pilot)
        clock.advance(1.0)
        await pilot.press("a")
        await measured(pilot, 1)
        await asked(pilot)
        await pilot.pause(0.2)
        frames = Frames(app, monkeypatch)
        for _ in range(3):
            design.redraw()
            await pilot.pause(0.05)
        assert frames.drawn == 0
        history = design.query_one(HistoryTree)
        await pilot.press("5")
        await until(pilot, lambda: history.has_focus)
        await pilot.pause(0.2)
        before = frames.laid_out
        design.set_focus(design.query_one(Reasoning))
        await pilot.pause(0.2)
        assert frames.laid_out == before, "a change of focus moves nothing"
        await pilot.press("4")
        await until(pilot, lambda: design.query_one("#devices DataTable", DataTable).has_focus)
        assert not history.display


async def test_many_specs_fill_their_panel_at_once(tmp_path: Path, clock: Clock) -> None:
    circuit = make_circuit()
    app = make_app(tmp_path, clock, circuit=replace(circuit, specs=2 * circuit.specs))
    async with app.run_test(size=(80, 24)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        design = await asked(pilot)
        board = design.query_one(SpecsBoard)
        await until(pilot, lambda: board.size.height == 8, "as many rows as there is room for")
        body = board.query_one(".board-body")
        assert body.size == (77, 11), "a line each, beside the scroll bar"


async def test_text_out_of_sight_is_kept_and_drawn_later(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test(size=(80, 24)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        design = await asked(pilot)
        reasoning = design.query_one(Reasoning)
        await pilot.press("3")
        await until(pilot, lambda: not reasoning.display)
        await reasoning.start(9)
        await reasoning.write("First **words**")
        await reasoning.write(" and more.\n\nA second paragraph.")
        entry = design.query(Entry).last()
        assert entry.text.endswith("paragraph.") and not entry.query(Thoughts)
        await pilot.press("2")
        await until(pilot, lambda: bool(entry.query(Thoughts)))
        body = entry.query_one(Thoughts)
        await until(pilot, lambda: len(body.children) == 2, "both paragraphs")
        await reasoning.write(" Its end.")
        await until(pilot, lambda: body.source.endswith("paragraph. Its end."))
        assert body.source.startswith("First **words** and more.")


def test_news_that_is_not_text_is_read_sooner() -> None:
    notes: list[bool] = []
    box = Mailbox(lambda: notes.append(box.urgent))
    box.put(TextDelta("reasoning", "a"))
    box.put(TextDelta("reasoning", "b"))
    assert notes == [False]
    box.put(TurnStarted(1, None))
    box.put(TurnStarted(2, None))
    assert notes == [False, True]
    assert len(box.take()) == 3 and not box.urgent


async def test_old_sizes_are_those_that_the_proposal_starts_from(
    tmp_path: Path, clock: Clock
) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test(size=(160, 48)) as pilot:
        design = await played(pilot, clock, 3)
        state = design.state
        first, _, last = state.measured()
        assert first.evaluation is not None and last.evaluation is not None
        best = replace(first.evaluation, score=replace(first.evaluation.score, value=0.999))
        state.turns[first.id] = replace(first, evaluation=best)
        start = state.waiting_start
        assert start is not None and start.id == first.id
        state.memory = 0
        assert state.waiting_start == last, "a model that is shown every turn in order"
        state.memory = 8
        assert state.proposal is not None
        by_tpe = replace(state.proposal, proposer="tpe")
        state.fold(ProposalReady(state.current or 0, by_tpe, {}))
        waiting = state.turns[state.current or 0]
        assert state.start_of(replace(waiting, proposal=by_tpe)) == last
        state.fold(ProposalReady(waiting.id, waiting.proposal, {}))
        design.redraw()
        assert f"old is turn {first.index}" in str(design.query_one(ProposalTable).border_title)


def test_a_chart_without_a_figure_of_its_own_is_depicted() -> None:
    gain = Curve((1.0, 2.0, 3.0), (40.0, 20.0, 0.0), "primary")
    phase = Curve((1.0, 2.0, 3.0), (0.0, -45.0, -90.0), "accent", points=True)
    chart = Chart("Bode", (gain,), "", Decades(), Linear(), lower=(phase,), marks=(2.5,))
    figure = depicted(chart, {"primary": "#ff0000", "accent": "#0000ff"}, PAPER)
    upper, lower = figure.axes
    assert [word.get_text() for word in lower.get_xticklabels()] == ["10", "100", "1k"]
    assert upper.lines[-1].get_color() == "#ff0000"
    seen = pixels(figure, 400, 300, 80)
    colours = {tuple(pixel) for pixel in np.reshape(seen[..., :3], (-1, 3)).tolist()}
    assert (255, 0, 0) in colours and (0, 0, 255) in colours


async def test_a_comparison_is_a_picture_where_the_terminal_can(
    tmp_path: Path, clock: Clock
) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test(size=(160, 48)) as pilot:
        app.graphics = Graphics("kitty", (10, 20))
        await played(pilot, clock, 2)
        await pilot.press("v")
        await screen(pilot, CompareScreen)
        shown = app.screen.query_one(Picture)
        await until(pilot, lambda: shown.display and shown._drawn is not None, "the picture")
