"""Footer, palette and help come from one table, and the table tells the truth."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from textual.screen import Screen

from acs_assistant.tui.app import AcsApp
from acs_assistant.tui.keys import KEYS, keys_of, unknown_ids
from acs_assistant.tui.screens.bench import BenchScreen
from acs_assistant.tui.screens.candidates import CandidatesScreen
from acs_assistant.tui.screens.circuits import CircuitsScreen
from acs_assistant.tui.screens.compare import CompareScreen
from acs_assistant.tui.screens.design import DesignScreen
from acs_assistant.tui.screens.dialogs import RejectDialog
from acs_assistant.tui.screens.gmid import GmIdScreen
from acs_assistant.tui.screens.help import _TITLES, HelpScreen
from acs_assistant.tui.screens.importing import ImportScreen
from acs_assistant.tui.screens.models import ModelsScreen
from acs_assistant.tui.screens.new_session import NewSessionScreen
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.screens.settings import SettingsScreen
from acs_assistant.tui.screens.sizes import SizesDialog
from acs_assistant.tui.screens.training import TrainingScreen
from tests.tui.driving import asked, measured, screen
from tests.tui.fakes import Clock, make_app

SCREENS: dict[str, type] = {
    "app": AcsApp,
    "sessions": SessionsScreen,
    "new": NewSessionScreen,
    "design": DesignScreen,
    "sizes": SizesDialog,
    "candidates": CandidatesScreen,
    "gmid": GmIdScreen,
    "compare": CompareScreen,
    "training": TrainingScreen,
    "bench": BenchScreen,
    "circuits": CircuitsScreen,
    "import": ImportScreen,
    "models": ModelsScreen,
    "settings": SettingsScreen,
    "dialog": RejectDialog,
    "page": HelpScreen,
    "focus": Screen,
}


def test_ids_are_unique_and_every_key_explains_itself() -> None:
    assert [id for id, n in Counter(key.id for key in KEYS).items() if n > 1] == []
    assert [key.id for key in KEYS if not key.tooltip or not key.label] == []
    assert all(key.id.startswith(f"{key.scope}.") for key in KEYS)


def test_the_help_knows_every_scope() -> None:
    assert {key.scope for key in KEYS} == set(_TITLES)


def test_no_key_means_two_things_on_one_screen() -> None:
    for scope in SCREENS:
        scopes = {scope, "app"}
        together = [k for key in keys_of(*scopes) for k in key.keys.split(",")]
        twice = [key for key, n in Counter(together).items() if n > 1]
        assert twice == [], scope


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.id)
def test_every_action_exists(key: object) -> None:
    from acs_assistant.tui.keys import Key

    assert isinstance(key, Key)
    namespace, _, action = key.action.partition("(")[0].rpartition(".")
    owner = {"app": AcsApp, "screen": Screen, "": SCREENS[key.scope]}[namespace]
    assert hasattr(owner, f"action_{action}"), key.action


async def test_a_key_map_gives_a_key_another_one(tmp_path: Path, clock: Clock) -> None:
    app = make_app(tmp_path, clock)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        app.set_keymap({"design.accept": "y"})
        await pilot.press("f")
        shown = await asked(pilot)
        clock.advance(1.0)
        await pilot.press("a")
        assert shown.state.proposal is not None
        await pilot.press("y")
        await measured(pilot, 1)


def test_unknown_ids_are_named() -> None:
    assert unknown_ids(["design.accept", "design.acept"]) == ["design.acept"]
