"""Pictures of what opens over the design screen: candidates, charts, comparisons, an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_textual_snapshot import SVGImageExtension
from syrupy.assertion import SnapshotAssertion

from acs_assistant.llm.scripted import ScriptedModel
from acs_assistant.tui.screens.candidates import CandidatesScreen
from acs_assistant.tui.screens.compare import CompareScreen
from acs_assistant.tui.screens.design import DesignScreen
from acs_assistant.tui.screens.dialogs import QuestionDialog
from acs_assistant.tui.screens.figure import FigureDialog
from acs_assistant.tui.screens.gmid import GmIdScreen
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.widgets.reasoning import Reasoning
from tests.tui.driving import asked, measured, screen, until
from tests.tui.fakes import Clock, make_app, reply
from tests.tui.shots import SIZES, shoot

WORDS = "Longer channels raise the gain; the bandwidth pays for it."


@pytest.fixture(autouse=True)
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same times on every machine."""
    monkeypatch.setattr("acs_assistant.storage.store._now", lambda: "2026-11-23T15:04:00.000+00:00")


@pytest.fixture
def svg(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(SVGImageExtension)


@pytest.mark.parametrize("size", SIZES, ids=[f"{w}x{h}" for w, h in SIZES])
async def test_over_the_design_screen(
    tmp_path: Path, clock: Clock, svg: SnapshotAssertion, size: tuple[int, int]
) -> None:
    model = ScriptedModel(reply(0), reply(1), reply(2), WORDS, *(reply(n) for n in range(3, 12)))
    app = make_app(tmp_path, clock, model=model)
    async with app.run_test(size=size) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        for n in range(2):
            await asked(pilot)
            clock.advance(1.0)
            await pilot.press("a")
            await measured(pilot, n + 1)
        design = await asked(pilot)
        await pilot.press("x")
        await screen(pilot, QuestionDialog)
        await shoot(pilot, svg, "question")
        await pilot.press("enter")
        await screen(pilot, DesignScreen)
        await until(pilot, lambda: bool(design.state.exchanges) and not design.answering, "words")
        reasoning = design.query_one(Reasoning)
        await pilot.pause()
        reasoning.scroll_end(animate=False)
        await shoot(pilot, svg, "answer")
        await pilot.press("G")
        await screen(pilot, CandidatesScreen)
        candidates = app.screen
        assert isinstance(candidates, CandidatesScreen)
        await until(pilot, lambda: not candidates.drawing, "the candidates")
        await pilot.press("b", "right", "space")
        await shoot(pilot, svg, "candidates")
        await pilot.press("escape")
        await screen(pilot, DesignScreen)
        await pilot.press("f")
        await screen(pilot, FigureDialog)
        await shoot(pilot, svg, "figure")
        await pilot.press("escape")
        await pilot.press("d")
        await screen(pilot, GmIdScreen)
        gmid = app.screen
        assert isinstance(gmid, GmIdScreen)
        await until(pilot, lambda: bool(gmid.failures), "why there is no chart")
        await shoot(pilot, svg, "gmid-error")
        await pilot.press("escape", "v")
        await screen(pilot, CompareScreen)
        if size[1] < 40:
            await pilot.press("full_stop")
        await shoot(pilot, svg, "compare-plot")
