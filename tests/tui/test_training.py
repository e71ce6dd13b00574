"""The fine-tuning screen over a child process that does what a test lets it do."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pytest_textual_snapshot import SVGImageExtension
from syrupy.assertion import SnapshotAssertion
from textual.pilot import Pilot
from textual.widgets import Input

from acs_assistant import doctor
from acs_assistant.doctor import Check
from acs_assistant.domain import Decision
from acs_assistant.errors import ModelError
from acs_assistant.tui.app import AcsApp
from acs_assistant.tui.screens import training as screens
from acs_assistant.tui.screens.dialogs import ChoiceDialog
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.screens.training import TrainingScreen
from acs_assistant.tui.training_run import Stage
from tests.tui.driving import screen, until
from tests.tui.fakes import REFERENCE, Clock, make_services
from tests.tui.saved import add_session, decided
from tests.tui.shots import SIZES, shoot

CHILD = Path(__file__).with_name("fake_training.py")


@dataclass
class Card:
    name: str
    default: bool = False


@dataclass
class Bench:
    """An app with saved sessions, and the gates of its child process."""

    app: AcsApp
    gates: Path
    adopted: list[str] = field(default_factory=list)

    def go(self, *stages: str) -> None:
        for stage in stages:
            (self.gates / f"go-{stage}").touch()


@pytest.fixture(autouse=True)
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screens, "POLL", 0.02)
    monkeypatch.setattr("acs_assistant.storage.store._now", lambda: "2026-11-23T15:04:00.000+00:00")
    monkeypatch.setattr(doctor, "check", lambda *names: [Check("training", "ok", "torch 2.13")])


@pytest.fixture
def bench(tmp_path: Path, clock: Clock) -> Bench:
    gates = tmp_path / "gates"
    gates.mkdir()
    services = make_services(tmp_path)
    made = Bench(AcsApp(services, clock=clock), gates)
    services.fine_tune = (sys.executable, str(CHILD), "--gates", str(gates))
    services.list_models = lambda: [Card("acs-5m-q8", default=not made.adopted), Card("other")]

    def adopt(reference: str) -> Card:
        made.adopted.append(reference)
        return Card(Path(reference).stem)

    def rollback() -> Card:
        if not made.adopted:
            raise ModelError("there is no earlier model to go back to.")
        made.adopted.pop()
        return Card("acs-5m-q8", default=True)

    services.adopt_model, services.rollback_model = adopt, rollback
    return made


@pytest.fixture
def saved(bench: Bench) -> None:
    """Session 1: rejected, accepted, edited. Session 2: nothing."""
    store = bench.app.services.store
    add_session(store)
    add_session(store, "An idea")
    decided(store, 1, Decision("rejected", {}, "too much power", "engineer"))
    decided(store, 1, Decision("accepted", dict(REFERENCE), "", "engineer"))
    decided(store, 1, Decision("edited", {**REFERENCE, "w_in": 33e-6}, "", "engineer"))


async def opened(pilot: Pilot[None]) -> TrainingScreen:
    await screen(pilot, SessionsScreen)
    await pilot.press("t")
    await screen(pilot, TrainingScreen)
    shown = pilot.app.screen
    assert isinstance(shown, TrainingScreen)
    return shown


async def at(pilot: Pilot[None], app: AcsApp, *stages: Stage) -> None:
    def there() -> bool:
        return app.training is not None and app.training.progress.stage in stages

    await until(pilot, there, " or ".join(stage.name for stage in stages))
    await pilot.pause(0.05)


def said(shown: TrainingScreen, selector: str) -> str:
    return str(shown.query_one(selector).render())


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_from_sessions_to_an_adopted_model(
    bench: Bench, saved: None, snapshot: SnapshotAssertion, size: tuple[int, int]
) -> None:
    svg, app = snapshot.use_extension(SVGImageExtension), bench.app
    async with app.run_test(size=size) as pilot:
        shown = await opened(pilot)
        assert "2 right sizings" in said(shown, "#teaches")
        assert "1 edited by hand) and 1 refused" in said(shown, "#teaches")
        await shoot(pilot, svg, "choosing")
        await pilot.press("ctrl+s")
        await at(pilot, app, Stage.PREPARING)
        await until(pilot, (bench.gates / "arguments.json").exists, "the child")
        arguments: list[str] = json.loads((bench.gates / "arguments.json").read_text())
        chosen = [arguments[i + 1] for i, word in enumerate(arguments) if word == "--session"]
        assert chosen == ["1"]
        assert arguments[arguments.index("--model") + 1] == "acs-5m-q8"
        assert {"--no-adopt", "--json"} <= set(arguments)
        recipe = Path(arguments[arguments.index("--config") + 1]).read_text()
        assert "sft_seconds = 120\nrl_seconds = 600\n" in recipe
        bench.go("imitate")
        await at(pilot, app, Stage.IMITATING)
        bench.go("reinforce")
        await at(pilot, app, Stage.REINFORCING)
        run = app.training
        assert run is not None
        await until(pilot, lambda: len(run.progress.reinforcement) == 11, "every figure")
        assert run.progress.left == pytest.approx(270.0)
        await pilot.pause(0.05)
        await shoot(pilot, svg, "watching")
        bench.go("evaluate", "end")
        await at(pilot, app, Stage.DONE)
        assert "37" in said(shown, "#outcome") or "38 %" in said(shown, "#outcome")
        # the folder is a temporary one and would not be the same twice
        outcome = dict(run.progress.outcome or {}) | {"model": "training/acs-5m-q8-0a1b2c3d.gguf"}
        run.progress = replaced(run.progress, outcome=outcome)
        await pilot.pause(0.05)
        await shoot(pilot, svg, "deciding")
        await pilot.press("a")
        await until(pilot, lambda: bench.adopted != [], "the new model")
        assert bench.adopted == ["training/acs-5m-q8-0a1b2c3d.gguf"]
        await until(pilot, lambda: "Adopted" in said(shown, "#outcome"))
        await pilot.press("R")
        await until(pilot, lambda: bench.adopted == [], "the old model")
        await until(pilot, lambda: "acs-5m-q8" in said(shown, "#title"))


def replaced(progress: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(progress, **changes)


async def test_a_run_outlives_its_screen_and_says_when_it_has_ended(
    bench: Bench, saved: None
) -> None:
    app = bench.app
    (bench.gates / "worse").touch()
    bench.go("imitate", "reinforce")
    async with app.run_test() as pilot:
        await opened(pilot)
        await pilot.press("ctrl+s")
        await at(pilot, app, Stage.REINFORCING)
        await pilot.press("escape")
        await screen(pilot, SessionsScreen)
        bench.go("evaluate", "end")
        await at(pilot, app, Stage.DONE)
        await until(pilot, lambda: any("adopt it or not" in n.message for n in app._notifications))
        shown = await opened(pilot)
        assert "Worse than the model in use" in said(shown, "#outcome")
        await pilot.press("n")
        assert shown.form == "choosing" and app.training is None


async def test_a_stopped_run_goes_on_in_the_same_folder(bench: Bench, saved: None) -> None:
    app = bench.app
    bench.go("imitate")
    async with app.run_test() as pilot:
        shown = await opened(pilot)
        await pilot.press("ctrl+s")
        await at(pilot, app, Stage.IMITATING)
        first = app.training
        assert first is not None and shown.check_action("stop", ())
        await pilot.press("x")
        await at(pilot, app, Stage.STOPPED)
        assert "Stopped" in said(shown, "#outcome")
        await pilot.press("n")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.training is not first, "the second run")
        assert app.training is not None
        assert app.training.plan.folder == first.plan.folder
        await at(pilot, app, Stage.IMITATING)
    assert app.training._process is not None
    assert app.training._process.wait(20) == 130, "leaving the app stops the child"


async def test_a_refusal_of_the_child_is_shown(bench: Bench, saved: None) -> None:
    (bench.gates / "refuse").touch()
    app = bench.app
    async with app.run_test() as pilot:
        shown = await opened(pilot)
        await pilot.press("ctrl+s")
        await at(pilot, app, Stage.FAILED)
        assert "not a model of ours" in said(shown, "#outcome")
        assert "models list" in said(shown, "#outcome")
        assert not shown.check_action("adopt", ())


async def test_sessions_are_chosen_one_by_one_and_by_circuit(bench: Bench, saved: None) -> None:
    app = bench.app
    async with app.run_test() as pilot:
        shown = await opened(pilot)
        await pilot.press("A")
        assert "Nothing to learn from" in said(shown, "#teaches")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "Nothing to learn" in said(shown, "#fault"))
        assert app.training is None
        await pilot.press("c")
        await screen(pilot, ChoiceDialog)
        await pilot.press("enter")
        await screen(pilot, TrainingScreen)
        await until(pilot, lambda: "2 right sizings" in said(shown, "#teaches"))
        await pilot.press("down", "space")
        assert "2 right sizings" not in said(shown, "#teaches")
        await pilot.press("space")
        shown.query_one("#imitate", Input).value = "none"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "minutes above zero" in said(shown, "#fault"))


@pytest.mark.parametrize(
    ("check", "setting", "words"),
    [
        (Check("training", "optional", "without torch", "pip install 'acs-assistant[train]'"), "",
         "pip install 'acs-assistant[train]'"),
        (Check("training", "ok", "torch 2.13"), "http://localhost:8080/v1", "on a server"),
    ],
)  # fmt: skip
async def test_why_training_cannot_start(
    bench: Bench, saved: None, monkeypatch: pytest.MonkeyPatch, check: Check, setting: str,
    words: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(doctor, "check", lambda *names: [check])
    settings = bench.app.services.settings
    model = settings.model.model_copy(update={"name": setting})
    async with bench.app.run_test() as pilot:
        bench.app.services.settings = settings.model_copy(update={"model": model})
        shown = await opened(pilot)
        assert words in said(shown, "#teaches")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: words in said(shown, "#fault"))
        assert bench.app.training is None


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_without_sessions_it_says_what_to_do(
    bench: Bench, snapshot: SnapshotAssertion, size: tuple[int, int]
) -> None:
    async with bench.app.run_test(size=size) as pilot:
        shown = await opened(pilot)
        assert "Make a session first" in said(shown, "#wait")
        await shoot(pilot, snapshot.use_extension(SVGImageExtension), "empty")
        await pilot.press("R")
        await until(
            pilot, lambda: any("no earlier model" in n.message for n in bench.app._notifications)
        )


def test_adopting_opens_the_new_default(tmp_path: Path) -> None:
    """A model that is open already does not stay the default behind the person's back."""
    opened_names: list[str] = []

    def open_model(name: str) -> Any:
        opened_names.append(name)
        return object.__new__(Closing)

    services = make_services(tmp_path, open_model=open_model)
    services.adopt_model = lambda reference: Card(reference)
    first = services.model()
    services.adopt("new")
    assert services.model() is not first
    assert opened_names == ["", ""]


class Closing:
    def close(self) -> None:
        pass


async def test_a_circuit_without_sessions_is_simulated_instead(bench: Bench) -> None:
    app = bench.app
    bench.go("imitate")
    async with app.run_test() as pilot:
        shown = await opened(pilot)
        assert not shown.check_action("start", ())
        await pilot.press("C")
        await screen(pilot, ChoiceDialog)
        await pilot.press("enter")
        await screen(pilot, TrainingScreen)
        await until(pilot, lambda: "some thousand times" in said(shown, "#teaches"))
        await pilot.press("ctrl+s")
        await at(pilot, app, Stage.IMITATING)
        arguments = json.loads((bench.gates / "arguments.json").read_text())
        assert arguments[arguments.index("--circuit") + 1] == "two_stage_miller"
        assert "--session" not in arguments
        recipe = Path(arguments[arguments.index("--config") + 1]).read_text()
        assert recipe.endswith("[circuit]\nsft_seconds = 1200\n")
