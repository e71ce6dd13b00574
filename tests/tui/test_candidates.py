"""Several candidates for a turn: drawn, compared, taken, mixed; and Escape changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from acs_assistant.domain import Proposal
from acs_assistant.errors import ModelError
from acs_assistant.llm.scripted import ScriptedModel
from acs_assistant.tui.screens.candidates import COUNT, CandidatesScreen
from acs_assistant.tui.screens.design import DesignScreen
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.state import Phase, verdict
from tests.tui.driving import asked, measured, screen, until
from tests.tui.fakes import Clock, make_app, reply

SIZES = [(80, 24), (160, 48)]


async def side_by_side(pilot: Pilot[None], count: int) -> CandidatesScreen:
    """Opens the candidates and waits until they are there."""
    await pilot.press("G")
    await screen(pilot, CandidatesScreen)
    shown = pilot.app.screen
    assert isinstance(shown, CandidatesScreen)
    await until(pilot, lambda: not shown.drawing, "the candidates")
    assert len(shown.candidates) == count
    return shown


def text(shown: CandidatesScreen) -> str:
    """The table as it is read."""
    table = shown.query_one(DataTable)
    heads = " ".join(str(column.label) for column in table.ordered_columns)
    rows = [" ".join(map(str, table.get_row_at(n))) for n in range(table.row_count)]
    return "\n".join([heads, *rows])


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "160x48"])
async def test_one_of_several_is_taken(tmp_path: Path, clock: Clock, size: tuple[int, int]) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test(size=size) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        design = await asked(pilot)
        first = design.state.proposal
        shown = await side_by_side(pilot, COUNT + 1)
        table = text(shown)
        assert "1 waits" in table and "mix" in table
        assert "dc_gain ≥ 60 64 ✓ –" in table, "predicted effects are judged"
        assert "gbw ≥ 10meg 9meg ✗ 14meg ✓" in table
        chosen = shown.candidates[2]
        await pilot.press("right", "right")
        assert chosen.reasoning[:30] in " ".join(
            str(shown.query_one("#candidate-note", Static).render()).split()
        )
        await pilot.press("enter")
        await screen(pilot, DesignScreen)
        await until(pilot, lambda: design.state.proposal == chosen, "the candidate at the gate")
        await asked(pilot)
        assert first is not None and design.state.proposal != first
        turns = design.state.in_order()
        assert [verdict(turn) for turn in turns] == ["regenerated"] * COUNT + ["waiting"]
        assert app.services.store.turns(1) == design.session.turns()
        clock.advance(1.0)
        await pilot.press("a")
        await measured(pilot, 1)
        assert dict(chosen.sizing) == dict(design.state.in_order()[COUNT].decision.sizing)  # type: ignore[union-attr]


async def test_a_mix_by_hand_becomes_the_proposal(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test(size=(160, 48)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        design = await asked(pilot)
        shown = await side_by_side(pilot, COUNT + 1)
        one, two, three = shown.candidates[:3]
        # the cursor stands on the first size of the first candidate
        await pilot.press("b", "right", "space", "right", "space")
        assert shown.mixed["w_in"] == 1 and shown.mixed["l_in"] == 2 and shown.mixed["c_c"] == 0
        assert "(2)" in text(shown)
        await pilot.press("end", "enter")
        await screen(pilot, DesignScreen)
        await until(
            pilot,
            lambda: design.state.phase is Phase.ASKING and design.state.proposal is not None
            and design.state.proposal.proposer == "engineer",
            "the mix at the gate",
        )  # fmt: skip
        mixed = design.state.proposal
        assert mixed is not None
        assert mixed.sizing["w_in"] == two.sizing["w_in"]
        assert mixed.sizing["l_in"] == three.sizing["l_in"]
        assert mixed.sizing["w_drv"] == one.sizing["w_drv"]
        assert "w_in from candidate 2; l_in from candidate 3" in mixed.reasoning
        clock.advance(1.0)
        await pilot.press("a")
        await measured(pilot, 1)


async def test_escape_stops_the_drawing_then_leaves_everything_as_it_was(
    tmp_path: Path, clock: Clock
) -> None:
    model = ScriptedModel(*(reply(n) for n in range(20)), delay=0.0)
    app = make_app(tmp_path, clock, model=model)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        design = await asked(pilot)
        waiting = design.state.proposal
        model._delay = 0.02
        await pilot.press("G")
        await screen(pilot, CandidatesScreen)
        shown = app.screen
        assert isinstance(shown, CandidatesScreen)
        await until(pilot, lambda: shown.drawing and len(model.requests) > 1, "the drawing")
        await pilot.press("down", "right")  # the screen answers while the model works
        await pilot.press("escape")
        await until(pilot, lambda: not shown.drawing, "the stop")
        assert app.screen is shown
        await pilot.press("escape")
        await screen(pilot, DesignScreen)
        assert design.state.phase is Phase.ASKING and design.state.proposal is waiting
        assert len(app.services.store.turns(1)) == 1
        clock.advance(1.0)
        await pilot.press("a")
        await measured(pilot, 1)


async def test_candidates_of_a_turn_that_was_not_asked_for(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        design = await asked(pilot)
        await pilot.press("r", "enter")
        await until(pilot, lambda: len(design.state.turns) == 2, "the next turn")
        await asked(pilot)
        await pilot.press("u")
        await until(pilot, lambda: not design.running and len(design.state.path()) == 1, "undo")
        shown = await side_by_side(pilot, COUNT)
        chosen = shown.candidates[0]
        await pilot.press("enter")
        await asked(pilot)
        assert design.state.proposal == chosen


async def test_a_model_that_fails_says_so_and_more_can_be_drawn(
    tmp_path: Path, clock: Clock
) -> None:
    model = ScriptedModel(
        reply(0), ModelError("the context is full.", hint="Use fewer turns."),
        *(reply(n) for n in range(1, 9)),
    )  # fmt: skip
    app = make_app(tmp_path, clock, model=model)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        await asked(pilot)
        shown = await side_by_side(pilot, 1)
        note = str(shown.query_one("#candidate-note", Static).render())
        assert "the context is full. Use fewer turns." in note
        await pilot.press("g")
        await until(pilot, lambda: not shown.drawing and len(shown.candidates) > 1, "more")
        await pilot.press("enter")
        await screen(pilot, DesignScreen)
        waiting: Proposal | None = (await asked(pilot)).state.proposal
        assert waiting == shown.candidates[0], "the one that waited was taken again"


async def test_an_optimizer_draws_too(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        task = app.services.load_circuit("two_stage_miller")
        from acs_assistant.domain import Task

        app.new_session(
            Task(task, task.specs, task.conditions), proposer="tpe", model="", budget=5, seed=1,
            run=True,
        )  # fmt: skip
        await asked(pilot)
        shown = await side_by_side(pilot, COUNT + 1)
        assert "– –" in text(shown), "an optimizer expects nothing"
