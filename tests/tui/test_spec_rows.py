"""A row of the spec editor changes nothing that nobody typed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from textual.widgets import Input, OptionList

from acs_assistant.domain import Spec, Task
from acs_assistant.library import list_circuits, load_circuit
from acs_assistant.tui.screens.new_session import NewSessionScreen
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.screens.specs import SpecsDialog
from acs_assistant.tui.state import SessionState
from acs_assistant.tui.text import spec_text
from acs_assistant.tui.widgets.spec_editor import SpecEditor, SpecRow
from acs_assistant.tui.widgets.specs_board import SpecsBoard
from tests.tui.driving import screen, until
from tests.tui.fakes import Clock, make_app, make_circuit

ODD = Spec("dc_gain", ">=", 61.23456789, weight=2.5)
EQUAL = Spec("power", "==", 200e-6, tolerance=1.5e-6)


async def test_untouched_rows_keep_every_digit_weight_and_tolerance(
    tmp_path: Path, clock: Clock
) -> None:
    circuit = make_circuit()
    task = Task(circuit, (ODD, EQUAL), circuit.conditions, ("tt",))
    app = make_app(tmp_path, clock)
    answers: list[object] = []
    async with app.run_test(size=(100, 40)) as pilot:
        await screen(pilot, SessionsScreen)
        app.push_screen(SpecsDialog(SessionState(task, 10)), answers.append)
        await screen(pilot, SpecsDialog)
        rows = list(app.screen.query(SpecRow))
        assert rows[1].query_one(Input).value == "== 200u+-1.5u"
        assert app.screen.query_one(SpecEditor).specs() == task.specs
        rows[1].query_one(Input).value = "== 200u+-3u"
        await pilot.press("enter")
        await until(pilot, lambda: bool(answers), "the answer")
    assert answers == [(ODD, replace(EQUAL, tolerance=3e-6))]


async def test_the_tolerance_of_an_equality_is_shown(tmp_path: Path, clock: Clock) -> None:
    circuit = load_circuit("ring_oscillator")
    equal = next(spec for spec in circuit.specs if spec.relation == "==")
    assert "±3meg" in spec_text(circuit, equal)
    board = SpecsBoard(SessionState(Task(circuit, circuit.specs, circuit.conditions), 5))
    assert "= 100meg ±3meg" in board.draw(120).plain


async def test_a_new_session_begins_with_the_reference_circuit(
    tmp_path: Path, clock: Clock
) -> None:
    app = make_app(tmp_path, clock)
    app.services.list_circuits = list_circuits
    app.services.load_circuit = load_circuit
    async with app.run_test(size=(120, 36)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("n")
        await screen(pilot, NewSessionScreen)
        choices = app.screen.query_one("#circuits", OptionList)
        await until(pilot, lambda: choices.highlighted is not None, "the circuits")
        assert len(choices.options) > 1
        chosen = choices.get_option_at_index(choices.highlighted or 0)
        assert str(chosen.prompt).startswith("two_stage_miller")
