"""A whole session with nothing but keys: the real engine and store, fakes for model and ngspice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.widgets import OptionList

from acs_assistant.domain import Decision
from acs_assistant.llm.scripted import ScriptedModel
from acs_assistant.storage.store import Store
from acs_assistant.tui.screens.design import DesignScreen
from acs_assistant.tui.screens.dialogs import NumberDialog, RejectDialog
from acs_assistant.tui.screens.export import ExportDialog
from acs_assistant.tui.screens.new_session import NewSessionScreen
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.screens.sizes import SizesDialog
from acs_assistant.tui.state import Phase, verdict
from acs_assistant.tui.widgets.proposal_table import ProposalTable
from tests.tui.driving import asked, idle, measured, screen, until
from tests.tui.fakes import Clock, FakeSimulator, make_app, reply


async def test_from_new_session_to_export_and_resume(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (160, 48)
    monkeypatch.chdir(tmp_path)
    app = make_app(tmp_path, clock)
    async with app.run_test(size=size) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("n")
        await screen(pilot, NewSessionScreen)
        # harder than the fake model's answers reach, so that the budget ends the session
        await pilot.press("enter")
        await pilot.press("end", *["backspace"] * 2, *"99")
        await pilot.press("ctrl+s")

        for _ in range(2):
            await asked(pilot)
            clock.advance(1.0)
            await pilot.press("a")
        shown = await measured(pilot, 2)

        shown = await asked(pilot)
        await pilot.press("e")
        await screen(pilot, SizesDialog)
        await pilot.press("end", *["backspace"] * 8, *"33u", "enter")
        shown = await measured(pilot, 3)

        shown = await asked(pilot)
        await pilot.press("r")
        await screen(pilot, RejectDialog)
        await pilot.press(*"too much power", "enter")
        await until(pilot, lambda: len(shown.state.turns) >= 5, "the turn after the rejection")

        await asked(pilot)
        await pilot.press("shift+tab")
        await screen(pilot, NumberDialog)
        await pilot.press("end", "backspace", *"20", "enter")
        shown = await idle(pilot)
        assert shown.state.simulations == 10
        assert shown.state.stopped is not None
        assert shown.state.stopped.reason == "budget"

        await pilot.press("w")
        await screen(pilot, ExportDialog)
        await pilot.press("down", "down", "enter", "enter")
        await screen(pilot, DesignScreen)
        assert (tmp_path / "session-1.csv").read_text().count("\n") > 10
        await pilot.press("ctrl+q")

    store = Store(tmp_path / "sessions.db")
    decisions = [turn.decision for turn in store.turns(1)]
    assert all(isinstance(d, Decision) for d in decisions)
    kinds = [d.kind for d in decisions if d is not None]
    assert kinds[:4] == ["accepted", "accepted", "edited", "rejected"]
    assert set(kinds[4:]) == {"accepted"}
    by = [d.by for d in decisions if d is not None]
    assert by[:4] == ["engineer"] * 4 and set(by[4:]) == {"auto"}
    assert decisions[2] is not None and decisions[2].sizing["w_in"] == pytest.approx(33e-6)
    assert decisions[3] is not None and decisions[3].reason == "too much power"
    told = json.dumps(store.messages(store.turns(1)[4].id))
    assert "too much power" in told

    again = make_app(tmp_path, clock)
    async with again.run_test(size=size) as pilot:
        await screen(pilot, SessionsScreen)
        await until(pilot, lambda: again.screen.query_one("DataTable").row_count == 1)
        await pilot.press("enter")
        await screen(pilot, DesignScreen)
        resumed = again.screen
        assert isinstance(resumed, DesignScreen)
        assert resumed.state.simulations == 10
        assert resumed.state.phase is Phase.IDLE
        assert resumed.state.best is not None


async def test_a_waiting_proposal_is_asked_about_again(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        shown = await asked(pilot)
        proposal = shown.state.proposal
        await pilot.press("ctrl+q")
    again = make_app(tmp_path, clock)
    async with again.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        await until(pilot, lambda: again.screen.query_one("DataTable").row_count == 1)
        await pilot.press("enter")
        shown = await asked(pilot)
        assert proposal is not None and shown.state.proposal is not None
        assert shown.state.proposal.sizing == proposal.sizing
        clock.advance(1.0)
        await pilot.press("a")
        await measured(pilot, 1)
        first = shown.state.in_order()[0]
        assert first.decision is not None
        assert (first.decision.kind, first.decision.by) == ("accepted", "engineer")


async def test_a_key_at_once_does_not_approve(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        shown = await asked(pilot)
        clock.advance(0.49)
        await pilot.press("a")
        assert shown.state.phase is Phase.ASKING
        assert shown.gate.waiting is not None
        clock.advance(0.02)
        await pilot.press("a")
        await measured(pilot, 1)


async def test_escape_stops_and_loses_nothing(tmp_path: Path, clock: Clock) -> None:
    slow = ScriptedModel(*(reply(n) for n in range(4)), delay=0.05)
    app = make_app(tmp_path, clock, model=slow)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        await screen(pilot, DesignScreen)
        shown = app.screen
        assert isinstance(shown, DesignScreen)
        await until(pilot, lambda: len(shown.state.thoughts) > 40, "some reasoning")
        await pilot.press("escape")
        await idle(pilot)
        assert shown.state.stopped is not None and shown.state.stopped.reason == "cancelled"
        kept = app.services.store.turns(1)
        assert [verdict(turn) for turn in kept] == ["regenerated"]
        assert kept[0].proposal.reasoning
        assert [verdict(turn) for turn in shown.state.in_order()] == ["regenerated"]
        titles = [str(title.render()) for title in shown.query(".entry-title")]
        assert len(titles) == 1 and "stopped" in titles[0] and "thinking" not in titles[0]
        await pilot.press("space")
        await asked(pilot)


async def test_a_turn_that_was_stopped_before_its_first_word_leaves_no_entry(
    tmp_path: Path, clock: Clock
) -> None:
    app = make_app(tmp_path, clock, model=ScriptedModel(reply(0), delay=20.0))
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        await screen(pilot, DesignScreen)
        shown = app.screen
        assert isinstance(shown, DesignScreen)
        await until(pilot, lambda: bool(shown.query(".entry")), "the turn's entry")
        await pilot.press("escape")
        await idle(pilot)
        await until(pilot, lambda: not shown.query(".entry"), "its end")
        assert not shown.session.turns()


async def test_undo_redo_and_fork_keep_every_turn(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test(size=(160, 48)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        for n in range(1, 3):
            await asked(pilot)
            clock.advance(1.0)
            await pilot.press("a")
            await measured(pilot, n)
        shown = await asked(pilot)
        third = shown.session.head
        await pilot.press("u")
        await until(pilot, lambda: shown.session.head != third and not shown.running, "undo")
        await pilot.press("u")
        await until(pilot, lambda: len(shown.state.path()) == 1, "the first turn")
        await pilot.press("U")
        await until(pilot, lambda: len(shown.state.path()) == 2, "redo")
        await pilot.press("u")
        await until(pilot, lambda: len(shown.state.path()) == 1, "the first turn again")
        await pilot.press("space")
        await asked(pilot)
        assert len(shown.state.turns) == 4
        parents = [turn.parent for turn in shown.state.in_order()]
        assert parents.count(shown.state.in_order()[0].id) == 2


async def test_regenerate_sets_the_proposal_aside(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        shown = await asked(pilot)
        first = shown.state.current
        await pilot.press("g")
        await until(pilot, lambda: shown.state.current not in (None, first), "another proposal")
        await asked(pilot)
        turns = shown.state.in_order()
        assert verdict(turns[0]) == "regenerated"
        assert turns[1].parent == turns[0].parent


async def test_a_failed_simulation_is_shown_with_its_reason(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock, simulator=FakeSimulator(fails=[1]))
    async with app.run_test(size=(160, 48)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        await asked(pilot)
        clock.advance(1.0)
        await pilot.press("a")
        shown = await measured(pilot, 1)
        assert verdict(shown.state.in_order()[0]) == "failed"
        await pilot.press("1")
        await asked(pilot)


async def test_a_missing_model_says_so_and_the_app_goes_on(tmp_path: Path, clock: Clock) -> None:
    from acs_assistant.errors import ModelError

    def refuse(name: str) -> object:
        raise ModelError("there is no model [bold]x[/bold].", hint="acs-assistant models list")

    app = make_app(tmp_path, clock, open_model=refuse)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        shown = await idle(pilot)
        assert shown.state.stopped is not None and shown.state.stopped.reason == "error"
        said = [n.message for n in app._notifications]
        assert any("[bold]x[/bold]" in text and "models list" in text for text in said)
        await pilot.press("q")
        await screen(pilot, SessionsScreen)


async def test_specs_are_changed_in_mid_session(tmp_path: Path, clock: Clock) -> None:
    from acs_assistant.tui.screens.specs import SpecsDialog

    app = make_app(tmp_path, clock)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        shown = await asked(pilot)
        await pilot.press("p")
        await screen(pilot, SpecsDialog)
        await pilot.press("end", *["backspace"] * 5, *">=71", "enter")
        await until(pilot, lambda: shown.session.task.specs[0].target == 71.0, "the new target")
        assert shown.state.task.specs[0].target == 71.0


async def test_another_proposer_takes_over(tmp_path: Path, clock: Clock) -> None:
    from acs_assistant.tui.screens.dialogs import ChoiceDialog

    app = make_app(tmp_path, clock)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        shown = await asked(pilot)
        clock.advance(1.0)
        await pilot.press("a")
        await measured(pilot, 1)
        await asked(pilot)
        await pilot.press("r")
        await pilot.press("enter")
        await asked(pilot)
        await pilot.press("h")
        await screen(pilot, ChoiceDialog)
        below = app.services.proposers().index("tpe")
        said = [str(option.prompt) for option in app.screen.query_one(OptionList).options]
        assert said[below] == "tpe: tree-structured Parzen estimator"
        await pilot.press(*["down"] * below, "enter")
        await until(pilot, lambda: shown.session.record.proposer == "tpe", "the optimizer")
        title = str(shown.query_one(ProposalTable).border_title)
        assert title.startswith("Proposal · waits for you"), "the model's still waits"
        await pilot.press("g")
        await until(
            pilot, lambda: "by tpe" in str(shown.query_one(ProposalTable).border_title), "tpe's"
        )
