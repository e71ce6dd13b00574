"""Pictures of what opens over the design screen: candidates, charts, comparisons, an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_textual_snapshot import SVGImageExtension
from syrupy.assertion import SnapshotAssertion
from textual.widgets import Input

from acs_assistant.errors import ModelError
from acs_assistant.llm.scripted import ScriptedModel
from acs_assistant.tui.screens.analysis import AnalysisScreen
from acs_assistant.tui.screens.candidates import CandidatesScreen
from acs_assistant.tui.screens.compare import CompareScreen
from acs_assistant.tui.screens.design import DesignScreen
from acs_assistant.tui.screens.dialogs import QuestionDialog
from acs_assistant.tui.screens.figure import FigureDialog
from acs_assistant.tui.screens.gmid import GmIdScreen
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.screens.sizes import SizesDialog
from acs_assistant.tui.state import Phase
from acs_assistant.tui.widgets.reasoning import Reasoning
from tests.tui.driving import asked, measured, played, screen, until
from tests.tui.fakes import Clock, make_app, reply
from tests.tui.held import HeldModel, HeldSimulator
from tests.tui.shots import SIZES, shoot, shoot_sizes

WORDS = "Longer channels raise the gain; the bandwidth pays for it."


@pytest.fixture(autouse=True)
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same times on every machine."""
    monkeypatch.setattr("acs_assistant.storage.store._now", lambda: "2026-11-23T15:04:00.000+00:00")


@pytest.fixture
def svg(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(SVGImageExtension)


@pytest.mark.timeout(600)
async def test_over_the_design_screen(tmp_path: Path, clock: Clock, svg: SnapshotAssertion) -> None:
    model = ScriptedModel(reply(0), reply(1), reply(2), WORDS, *(reply(n) for n in range(3, 12)))
    app = make_app(tmp_path, clock, model=model)
    async with app.run_test() as pilot:
        design = await played(pilot, clock, 2)
        await pilot.press("x")
        await screen(pilot, QuestionDialog)
        await shoot_sizes(pilot, svg, "question")
        await pilot.press("enter")
        await screen(pilot, DesignScreen)
        await until(pilot, lambda: bool(design.state.exchanges) and not design.answering, "words")
        reasoning = design.query_one(Reasoning)
        for width, height in SIZES:
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            reasoning.scroll_end(animate=False)
            await shoot(pilot, svg, f"answer-{width}x{height}")
        await pilot.press("G")
        await screen(pilot, CandidatesScreen)
        candidates = app.screen
        assert isinstance(candidates, CandidatesScreen)
        await until(pilot, lambda: not candidates.drawing, "the candidates")
        await pilot.press("b", "right", "space")
        await shoot_sizes(pilot, svg, "candidates")
        await pilot.press("escape")
        await screen(pilot, DesignScreen)
        await pilot.press("f")
        await screen(pilot, FigureDialog)
        await shoot_sizes(pilot, svg, "figure")
        app.screen.query_one(Input).value = "picture.gif"
        await pilot.press("enter", "enter")
        await until(pilot, lambda: "ending" in str(app.screen.query_one(".fault").render()))
        await shoot_sizes(pilot, svg, "figure-error")
        await pilot.press("escape")
        await pilot.press("d")
        await screen(pilot, GmIdScreen)
        gmid = app.screen
        assert isinstance(gmid, GmIdScreen)
        await until(pilot, lambda: bool(gmid.failures), "why there is no chart")
        await shoot_sizes(pilot, svg, "gmid-error")
        await pilot.press("escape", "v")
        await screen(pilot, CompareScreen)
        await pilot.press("full_stop")
        await shoot_sizes(pilot, svg, "compare-plot")


@pytest.mark.timeout(600)
async def test_at_work_and_in_trouble(tmp_path: Path, clock: Clock, svg: SnapshotAssertion) -> None:
    """What is shown while the model writes, while ngspice runs, and when one of them fails."""
    fault = ModelError("the file is damaged.", hint="Choose another model with m.")
    model = HeldModel(*(reply(n) for n in range(4)), *[fault] * 9)
    simulator = HeldSimulator()
    app = make_app(tmp_path, clock, model=model, simulator=simulator)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        model.gate.close()
        await pilot.press("f")
        await screen(pilot, DesignScreen)
        await until(pilot, model.gate.reached.is_set, "the model at work")
        design = app.screen
        assert isinstance(design, DesignScreen)
        await until(pilot, lambda: len(design.state.thoughts) > 100, "its words")
        clock.advance(7.0)
        await shoot_sizes(pilot, svg, "writing")
        model.gate.open.set()
        await asked(pilot)
        clock.advance(1.0)
        simulator.gate.close()
        await pilot.press("a")
        await until(pilot, lambda: design.state.phase is Phase.SIMULATING, "ngspice at work")
        clock.advance(3.0)
        await shoot_sizes(pilot, svg, "simulating")
        simulator.gate.open.set()
        await measured(pilot, 1)
        await asked(pilot)

        model.gate.close()
        await pilot.press("G")
        await screen(pilot, CandidatesScreen)
        await until(pilot, model.gate.reached.is_set, "a candidate on its way")
        await pilot.pause(0.1)
        await shoot_sizes(pilot, svg, "candidates-busy")
        model.gate.open.set()
        drawing = app.screen
        assert isinstance(drawing, CandidatesScreen)
        await until(pilot, lambda: not drawing.drawing, "the candidates, and the fault")
        await shoot_sizes(pilot, svg, "candidates-error")
        await pilot.press("escape")
        await screen(pilot, DesignScreen)

        simulator.gate.close()
        await pilot.press("m")
        await screen(pilot, AnalysisScreen)
        await until(pilot, simulator.gate.reached.is_set, "a sample at work")
        await shoot_sizes(pilot, svg, "monte-carlo-busy")
        simulator.gate.open.set()
        spread = app.screen
        assert isinstance(spread, AnalysisScreen)
        await until(pilot, lambda: len(spread.done) == len(spread.requests), "every sample")
        await shoot_sizes(pilot, svg, "monte-carlo")
        await pilot.press("escape")
        await screen(pilot, DesignScreen)
        await pilot.press("s")
        await screen(pilot, AnalysisScreen)
        moved = app.screen
        assert isinstance(moved, AnalysisScreen)
        await until(pilot, lambda: len(moved.done) == len(moved.requests), "every step")
        await shoot_sizes(pilot, svg, "sensitivities")
        await pilot.press("escape")
        await screen(pilot, DesignScreen)

        clock.advance(1.0)
        await pilot.press("a")
        await until(pilot, lambda: design.state.stopped is not None, "the model's failure")
        await shoot_sizes(pilot, svg, "model-failed")
        await pilot.press("e")
        await screen(pilot, SizesDialog)
        await pilot.press("end", *"abc", "ctrl+s")
        await shoot_sizes(pilot, svg, "sizes-error")
