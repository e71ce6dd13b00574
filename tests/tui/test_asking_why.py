"""The model is asked about a turn: its words stream, are kept, and change nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import Markdown, Static

from acs_assistant.errors import ModelError
from acs_assistant.llm.scripted import ScriptedModel
from acs_assistant.storage.store import Store
from acs_assistant.tui.screens.design import DesignScreen
from acs_assistant.tui.screens.dialogs import QuestionDialog
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.state import Phase
from acs_assistant.tui.widgets.answer import Answer
from tests.tui.driving import asked, measured, screen, until
from tests.tui.fakes import Clock, make_app, reply

WORDS = "Because **gm** grows with the width; the risk is the load of the mirror."


async def ask(pilot: Pilot[None], question: str = "") -> DesignScreen:
    """Asks about the turn at hand; empty asks the question that the dialog offers."""
    await pilot.press("x")
    await screen(pilot, QuestionDialog)
    await pilot.press(*question, "enter")
    await screen(pilot, DesignScreen)
    assert isinstance(pilot.app.screen, DesignScreen)
    return pilot.app.screen


def note(answer: Answer) -> str:
    return str(answer.query_one(".answer-note", Static).render())


async def test_an_answer_streams_and_is_kept_with_its_turn(tmp_path: Path, clock: Clock) -> None:
    model = ScriptedModel(reply(0), WORDS, "<think>Let me see.</think>Less than 1 dB.", reply(1))
    app = make_app(tmp_path, clock, model=model)
    async with app.run_test(size=(120, 40)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        design = await asked(pilot)
        before = (design.state.proposal, app.services.store.turns(1))
        await ask(pilot)
        await until(pilot, lambda: not design.answering and bool(design.query(Answer)), "an answer")
        answer = design.query_one(Answer)
        assert answer.text == WORDS
        assert "Why these sizes?" in str(answer.query(Static).first().render())
        assert not note(answer)
        assert (design.state.proposal, app.services.store.turns(1)) == before
        assert design.state.phase is Phase.ASKING and not model.requests[1].tools
        told = json.dumps(model.requests[1].messages)
        assert "not simulated yet" in told and "Do not call the tool." in told

        clock.advance(1.0)
        await pilot.press("a")
        await measured(pilot, 1)
        await asked(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: not design.running, "the stop")
    store = Store(tmp_path / "sessions.db")
    first = store.turns(1)[0].id
    kept = store.exchanges(1)[first]
    assert [(e.answer, dict(e.sizing)) for e in kept] == [(WORDS, {})]
    assert WORDS not in json.dumps(store.messages(first)), "it is no part of the conversation"
    copy = store.duplicate(1)
    assert [e.answer for es in store.exchanges(copy.id).values() for e in es] == [WORDS]
    store.close()

    again = make_app(tmp_path, clock, model=ScriptedModel("Less than 1 dB."))
    async with again.run_test(size=(120, 40)) as pilot:
        await screen(pilot, SessionsScreen)
        again.open_session(1)
        await screen(pilot, DesignScreen)
        resumed = again.screen
        assert isinstance(resumed, DesignScreen)
        await pilot.press("2", "t")
        await until(pilot, lambda: bool(resumed.query(Answer)), "the stored answer")
        source = resumed.query_one(Answer).query_one(Markdown).source
        assert source == WORDS


async def test_a_proposal_instead_of_words_changes_nothing(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock, model=ScriptedModel(reply(0), reply(1)))
    async with app.run_test(size=(120, 40)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        design = await asked(pilot)
        proposal, turns = design.state.proposal, design.session.turns()
        await ask(pilot, "is it stable?")
        await until(pilot, lambda: not design.answering, "the answer")
        answer = design.query_one(Answer)
        await until(pilot, lambda: bool(note(answer)), "what kind of answer it was")
        assert "answered with another proposal" in note(answer)
        assert "It changes nothing here" in note(answer)
        assert "l_in 150n → 350n" in note(answer)
        assert design.state.proposal is proposal and design.session.turns() == turns
        kept = app.services.store.exchanges(1)
        assert [e.question for e in kept[turns[0].id]] == ["is it stable?"]
        assert kept[turns[0].id][0].sizing
        clock.advance(1.0)
        await pilot.press("a")
        await measured(pilot, 1)
        assert design.state.in_order()[0].decision is not None
        assert design.state.in_order()[0].decision.sizing == proposal.sizing  # type: ignore[union-attr]


async def test_escape_stops_the_answer_and_not_the_session(tmp_path: Path, clock: Clock) -> None:
    model = ScriptedModel(reply(0), "word " * 400, reply(1))
    app = make_app(tmp_path, clock, model=model)
    async with app.run_test(size=(80, 24)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        design = await asked(pilot)
        model._delay = 0.02
        await ask(pilot)
        await until(pilot, lambda: len(design.query_one(Answer).text) > 20, "some words")
        await pilot.press("3", "period", "2")  # the screen answers meanwhile
        await pilot.press("escape")
        await until(pilot, lambda: not design.answering, "the stop")
        assert "Stopped" in note(design.query_one(Answer))
        assert design.state.phase is Phase.ASKING and design.running
        assert app.services.store.exchanges(1) == {}
        model._delay = 0.0
        clock.advance(1.0)
        await pilot.press("a")
        await measured(pilot, 1)


async def test_a_model_that_fails_is_told_in_the_answer(tmp_path: Path, clock: Clock) -> None:
    model = ScriptedModel(reply(0), ModelError("the server is gone.", hint="Start it again."))
    app = make_app(tmp_path, clock, model=model)
    async with app.run_test(size=(120, 40)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        design = await asked(pilot)
        await ask(pilot)
        await until(pilot, lambda: not design.answering, "the failure")
        assert "✗ the server is gone." in note(design.query_one(Answer))
        assert design.state.phase is Phase.ASKING


async def test_undo_while_the_model_answers(tmp_path: Path, clock: Clock) -> None:
    model = ScriptedModel(reply(0), "word " * 400, reply(1))
    app = make_app(tmp_path, clock, model=model)
    async with app.run_test(size=(80, 24)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        design = await asked(pilot)
        model._delay = 0.02
        await ask(pilot)
        await until(pilot, lambda: len(design.query_one(Answer).text) > 20, "some words")
        await pilot.press("u")
        await until(pilot, lambda: not design.running and not design.state.path(), "undo")
        assert not design.answering
        await pilot.press("x")
        assert isinstance(app.screen, DesignScreen), "there is no turn to ask about"


async def test_a_model_without_words_of_its_own_is_answered_for_from_the_record(
    tmp_path: Path, clock: Clock
) -> None:
    model = ScriptedModel(reply(0), "At At At best r_z 5.45 is short of 18.1k.")
    model._info = replace(model.info, wording="2")
    app = make_app(tmp_path, clock, model=model)
    async with app.run_test(size=(120, 40)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        design = await asked(pilot)
        await ask(pilot)
        await until(pilot, lambda: not design.answering and bool(design.query(Answer)), "an answer")
        answer = design.query_one(Answer)
        assert "From the record:" in answer.text and "At At" not in answer.text
        assert "least room" in answer.text
        assert not note(answer) and len(model.requests) == 1
        kept = app.services.store.exchanges(1)
        assert [e.answer for es in kept.values() for e in es] == [answer.text]
