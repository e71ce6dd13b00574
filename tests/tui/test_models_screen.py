"""Which model new sessions start with, over the real catalogue of models."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from acs_assistant import llm, paths
from acs_assistant.engine.speed import load_speeds
from acs_assistant.llm.scripted import ScriptedModel
from acs_assistant.tui.app import AcsApp
from acs_assistant.tui.screens.models import ModelsScreen, OtherModelDialog
from acs_assistant.tui.screens.sessions import SessionsScreen
from tests.llm.tiny_gguf import write_tiny_gguf
from tests.tui.driving import screen, until
from tests.tui.fakes import Clock, make_services


@pytest.fixture
def app(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AcsApp:
    """Two models of the user's, none bundled."""
    monkeypatch.setattr(paths, "bundled_models", lambda: tmp_path / "none")
    for name in ("alpha", "beta"):
        path = paths.user_models() / f"{name}.gguf"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tiny_gguf(path)
    services = make_services(tmp_path)
    services.list_models = llm.list_models
    return AcsApp(services, clock=clock)


async def opened(pilot: Pilot[None]) -> ModelsScreen:
    await screen(pilot, SessionsScreen)
    await pilot.press("m")
    await screen(pilot, ModelsScreen)
    shown = pilot.app.screen
    assert isinstance(shown, ModelsScreen)
    return shown


def marked(shown: ModelsScreen) -> list[str]:
    options = shown.query_one("#names", OptionList).options
    return [str(option.prompt)[2:] for option in options if str(option.prompt).startswith("✓")]


async def test_adopt_and_roll_back(app: AcsApp) -> None:
    async with app.run_test() as pilot:
        shown = await opened(pilot)
        assert marked(shown) == ["alpha"]
        await pilot.press("down", "enter")
        await until(pilot, lambda: marked(shown) == ["beta"], "the other one")
        assert llm.default_model().name == "beta"
        await pilot.press("R")
        await until(pilot, lambda: marked(shown) == ["alpha"], "the first again")
        await pilot.press("R")
        await until(pilot, lambda: any("no earlier model" in n.message for n in app._notifications))


async def test_a_file_or_an_address(app: AcsApp, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    write_tiny_gguf(other)
    async with app.run_test() as pilot:
        shown = await opened(pilot)

        async def give(text: str) -> None:
            await pilot.press("o")
            await screen(pilot, OtherModelDialog)
            app.screen.query_one(Input).value = text
            await pilot.press("enter")

        await give(str(tmp_path / "nothing.gguf"))
        assert "no such file" in str(app.screen.query_one(".fault").render())
        await pilot.press("escape")
        await screen(pilot, ModelsScreen)
        await give(str(other))
        await until(pilot, lambda: marked(shown) == [str(other)], "the file")
        assert app.services.settings.model.name == str(other)
        broken = tmp_path / "broken.gguf"
        broken.write_bytes(b"GGUFbroken")
        await give(str(broken))
        await until(pilot, lambda: any("broken" in f"{n.title}{n.message}" or "GGUF" in n.message
                                       for n in app._notifications), "why not")  # fmt: skip
        assert app.services.settings.model.name == str(other)
        await give("http://127.0.0.1:9/v1")
        await until(
            pilot, lambda: any("127.0.0.1:9" in n.message for n in app._notifications), "why not"
        )
        assert app.services.settings.model.name == str(other)
        app.services.check_model = lambda reference: None
        await give("http://localhost:8080/v1#qwen3")
        await until(pilot, lambda: "http" in "".join(marked(shown)), "the address")
        names = shown.query_one("#names", OptionList)
        assert names.option_count == 3 and llm.default_model().name == "alpha"
        await pilot.press("down", "enter")
        await until(pilot, lambda: marked(shown) == ["alpha"], "an installed one")
        assert app.services.settings.model.name == ""


async def test_speed_is_measured_kept_and_shown(app: AcsApp) -> None:
    app.services.open_model = lambda name: ScriptedModel(*["word " * 40] * 50)  # type: ignore[assignment]
    async with app.run_test(size=(120, 36)) as pilot:
        shown = await opened(pilot)
        text = shown.query_one("#card-text")
        await until(pilot, lambda: "not measured" in str(text.render()), "the card")
        await pilot.press("s")
        await until(pilot, lambda: "tokens a second" in str(text.render()), "the speed")
        assert len(load_speeds()) == 1
        await pilot.press("escape")
        shown = await opened(pilot)
        text = shown.query_one("#card-text")
        await until(pilot, lambda: "tokens a second" in str(text.render()), "the kept speed")


async def test_measuring_shows_what_it_does_and_can_be_stopped(app: AcsApp) -> None:
    slow = ScriptedModel("word " * 400, delay=0.05)
    app.services.open_model = lambda name: slow  # type: ignore[assignment]
    async with app.run_test(size=(80, 24)) as pilot:
        shown = await opened(pilot)
        await pilot.press("s")
        card = shown.query_one("#card")
        await until(pilot, lambda: "writing" in str(card.border_subtitle), "what it does")
        await pilot.press("escape")
        await until(pilot, lambda: slow.closed and not card.border_subtitle, "the end")
        assert isinstance(pilot.app.screen, ModelsScreen), "the first Escape stops, no more"
        assert load_speeds() == {}
        await pilot.press("escape")
        await screen(pilot, SessionsScreen)


async def test_a_card_is_for_people(app: AcsApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        shown = await opened(pilot)
        text = shown.query_one("#card-text")
        await until(pilot, lambda: "architecture" in str(text.render()), "the card")
        said = str(text.render())
        assert " MB" in said and " M" in said and "yes" in said
        assert "metadata" not in said and "{" not in said
