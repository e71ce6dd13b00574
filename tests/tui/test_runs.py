"""Two sessions side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pytest_textual_snapshot import SVGImageExtension
from syrupy.assertion import SnapshotAssertion
from textual.widgets import DataTable, Select, Static

from acs_assistant.tui.screens.runs import RunsScreen, read_run
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.widgets.plot import Plot
from tests.tui.driving import asked, screen, until
from tests.tui.fakes import REFERENCE, Clock, make_app
from tests.tui.saved import add_session, evaluated
from tests.tui.shots import SIZES, shoot

POOR = {**REFERENCE, "w_in": 1e-6, "i_bias": 1e-6}


@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=["80x24", "160x48"])
async def test_two_runs_with_what_they_reached(
    tmp_path: Path, clock: Clock, size: tuple[int, int]
) -> None:
    app = make_app(tmp_path, clock)
    store = app.services.store
    first, second, empty = (add_session(store, name) for name in ("one", "two", "three"))
    for sizing in (POOR, REFERENCE):
        evaluated(store, first, sizing)
    evaluated(store, second, POOR)
    specs = store.session(second).task.specs
    store.set_specs(second, (replace(specs[0], target=2 * specs[0].target), *specs[1:]))
    async with app.run_test(size=size) as pilot:
        await screen(pilot, SessionsScreen)
        await until(pilot, lambda: app.screen.query_one("DataTable").row_count == 3)
        await pilot.press("v")
        await screen(pilot, RunsScreen)
        shown = app.screen
        assert isinstance(shown, RunsScreen)
        one, two = shown.query(Select)
        one.value, two.value = first, second
        table = shown.query_one("#comparison", Static)
        await until(pilot, lambda: "2 simulations" in str(table.render()), "both runs")
        said = str(table.render())
        assert "✓ met" in said and "✗ not met" in said
        assert "Their specs differ" in said
        assert "w_in" in said and "gbw" in said
        plot = shown.query_one(Plot)
        if size[1] < 40:
            assert not plot.display
            await pilot.press(".")
        assert plot.display and "Best score" in str(plot.border_title)
        two.value = empty
        await until(pilot, lambda: "· open" in str(table.render()), "the empty run")
        await pilot.press("escape")
        await screen(pilot, SessionsScreen)


@pytest.fixture
def svg(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(SVGImageExtension)


@pytest.mark.parametrize("size", SIZES, ids=[f"{w}x{h}" for w, h in SIZES])
async def test_pictures(
    tmp_path: Path, clock: Clock, svg: SnapshotAssertion, size: tuple[int, int]
) -> None:
    app = make_app(tmp_path, clock)
    store = app.services.store
    for sizings in ((POOR, REFERENCE), (POOR,)):
        key = add_session(store)
        for sizing in sizings:
            evaluated(store, key, sizing)
    summaries = store.sessions()
    async with app.run_test(size=size) as pilot:
        await screen(pilot, SessionsScreen)
        app.push_screen(RunsScreen(summaries, next(s for s in summaries if s.id == 1)))
        await screen(pilot, RunsScreen)
        table = app.screen.query_one("#comparison", Static)
        await until(pilot, lambda: "2 simulations" in str(table.render()), "both runs")
        await shoot(pilot, svg, "runs")
        await pilot.press(".")
        await shoot(pilot, svg, "runs-plot")


async def test_one_session_has_nothing_to_be_compared_with(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock)
    add_session(app.services.store)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        await until(pilot, lambda: app.screen.query_one("DataTable").row_count == 1)
        await pilot.press("v")
        await pilot.pause()
        assert isinstance(app.screen, SessionsScreen)
        assert any("two sessions" in note.message for note in app._notifications)


def test_a_run_is_judged_by_the_specs_in_force(tmp_path: Path, clock: Clock) -> None:
    store = make_app(tmp_path, clock).services.store
    key = add_session(store)
    for sizing in (POOR, REFERENCE):
        evaluated(store, key, sizing)
    assert read_run(store, key).met_after == 2
    specs = store.session(key).task.specs
    store.set_specs(key, tuple(replace(spec, target=_easy(spec.relation)) for spec in specs))
    assert read_run(store, key).met_after == 1


def _easy(relation: str) -> float:
    return -1e12 if relation == ">=" else 1e12


async def test_a_session_that_was_left_is_not_open_elsewhere(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        await asked(pilot)
        await pilot.press("q")
        await screen(pilot, SessionsScreen)
        table = app.screen.query_one(DataTable)

        def said() -> str:
            return str(table.get_row_at(0)[5]) if table.row_count else "open elsewhere"

        await until(pilot, lambda: said() not in ("open elsewhere", "closing…"), "its date")
