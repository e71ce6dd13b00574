"""A panel that has the focus takes no key that the screen promises."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.binding import BindingsMap
from textual.pilot import Pilot
from textual.widgets import Input

from acs_assistant.tui.keys import keys_of
from acs_assistant.tui.screens.design import DesignScreen
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.screens.sizes import SizesDialog
from acs_assistant.tui.screens.specs import SpecsDialog
from acs_assistant.tui.widgets.history import HistoryTree
from acs_assistant.tui.widgets.spec_editor import SpecEditor, SpecRow
from tests.tui.driving import asked, idle, measured, screen, until
from tests.tui.fakes import Clock, make_app


async def test_no_panel_of_the_design_screen_takes_its_keys(tmp_path: Path, clock: Clock) -> None:
    promised = {key for entry in keys_of("design", "app") for key in entry.keys.split(",")}
    app = make_app(tmp_path, clock)
    async with app.run_test(size=(160, 48)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        shown = await asked(pilot)
        panels = [widget for widget in shown.query("*") if widget.can_focus]
        assert any(isinstance(widget, HistoryTree) for widget in panels)
        for widget in panels:
            bindings: BindingsMap = widget._bindings
            assert not promised & set(bindings.key_to_bindings), widget


@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=["80x24", "160x48"])
async def test_space_goes_on_while_the_history_has_the_focus(
    tmp_path: Path, clock: Clock, size: tuple[int, int]
) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test(size=size) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        await asked(pilot)
        clock.advance(1.0)
        await pilot.press("a")
        await measured(pilot, 1)
        shown = await asked(pilot)
        await pilot.press("escape")
        await idle(pilot)
        await pilot.press("5")
        assert isinstance(shown.focused, HistoryTree)
        await pilot.press("u")
        await until(pilot, lambda: shown.state.proposal is None, "the step back")
        before = len(shown.state.turns)
        await pilot.press("space")
        await until(pilot, lambda: len(shown.state.turns) > before, "another turn")


async def editing(pilot: Pilot[None]) -> SizesDialog:
    await screen(pilot, SessionsScreen)
    await pilot.press("f")
    await asked(pilot)
    await pilot.press("e")
    await screen(pilot, SizesDialog)
    shown = pilot.app.screen
    assert isinstance(shown, SizesDialog)
    return shown


async def test_what_was_typed_in_one_go_is_taken_back_in_one_go(
    tmp_path: Path, clock: Clock
) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test(size=(100, 30)) as pilot:
        shown = await editing(pilot)
        fields = list(shown.query(Input))
        first, second = fields[0].value, fields[1].value
        await pilot.press(*"12u", "down", "pageup", "pageup")
        await until(pilot, lambda: fields[0].value == "12u" and fields[1].value != second)
        await pilot.press("ctrl+z", "ctrl+z")
        assert (fields[0].value, fields[1].value) == ("12u", second)
        await pilot.press("ctrl+z", "ctrl+z")
        assert (fields[0].value, fields[1].value) == (first, second)
        assert shown.focused is fields[0]
        await pilot.press("end", "ctrl+u", *"13u")
        await pilot.press("ctrl+z")
        assert fields[0].value == first, "an undo that changed nothing hides no later edit"


async def test_a_step_stops_at_the_bound(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test(size=(100, 30)) as pilot:
        shown = await editing(pilot)
        parameter = shown.circuit.parameters[0]
        field = shown.query(Input).first()
        low, high = parameter.format(parameter.min), parameter.format(parameter.max)
        await pilot.press("end", "ctrl+u", *parameter.format(0.99 * parameter.max), "pageup")
        assert field.value == high
        await pilot.press("shift+up")
        assert field.value == high
        await pilot.press("end", "ctrl+u", *low, "pagedown", "shift+down")
        assert field.value == low


async def specs_of(pilot: Pilot[None]) -> tuple[DesignScreen, SpecsDialog]:
    await screen(pilot, SessionsScreen)
    await pilot.press("f")
    design = await asked(pilot)
    await pilot.press("p")
    await screen(pilot, SpecsDialog)
    shown = pilot.app.screen
    assert isinstance(shown, SpecsDialog)
    return design, shown


async def test_a_warning_that_does_not_fit_beside_its_field_stands_below(
    tmp_path: Path, clock: Clock
) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test(size=(80, 24)) as pilot:
        _, shown = await specs_of(pilot)
        said = shown.query_one(".fault")
        assert "reference" not in str(said.render()), "it fits beside the field"
        await pilot.press("end", "ctrl+u", *">=150")
        await until(pilot, lambda: "the best known is" in str(said.render()), "the warning")
        await pilot.press("down")
        assert "never reached" not in str(said.render())


async def test_a_metric_is_bounded_from_both_sides(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test(size=(100, 30)) as pilot:
        design, shown = await specs_of(pilot)
        editor = shown.query_one(SpecEditor)
        first = design.state.task.specs[0]
        assert first.relation == ">="
        rows = len(editor.query(SpecRow))
        shown.query_one("#add-spec", Input).focus()
        await pilot.press(*f"{first.metric}<=99", "enter")
        await until(pilot, lambda: len(editor.query(SpecRow)) == rows + 1, "a second row")
        await pilot.press(*f"{first.metric}>=66", "enter")
        await until(pilot, lambda: editor.query(SpecRow).first().judge()[0].target == 66.0)
        assert len(editor.query(SpecRow)) == rows + 1
        await pilot.press("enter")
        await until(pilot, lambda: len(design.session.task.specs) == rows + 1, "the new specs")
        both = [s for s in design.session.task.specs if s.metric == first.metric]
        assert {(s.relation, s.target) for s in both} == {(">=", 66.0), ("<=", 99.0)}
