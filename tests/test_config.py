from __future__ import annotations

from pathlib import Path

import pytest

from acs_assistant.config import Settings, load_settings, save_settings
from acs_assistant.errors import ConfigError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "settings.toml"


def test_no_file_means_the_defaults(path: Path) -> None:
    assert load_settings(path) == Settings()
    assert not path.exists()


def test_what_is_saved_is_read_and_explained(path: Path) -> None:
    settings = Settings()
    changed = settings.model_copy(
        update={
            "session": settings.session.model_copy(update={"budget": 50}),
            "keys": {"design.accept": "y"},
        }
    )
    save_settings(changed, path)
    assert load_settings(path) == changed
    assert "# Simulations that a new session may spend.\nbudget = 50" in path.read_text()
    assert [entry.name for entry in path.parent.iterdir()] == ["settings.toml"]


def test_saving_keeps_a_persons_comments(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("# mine\n[session]\nbudget = 7 # small\n")
    settings = load_settings(path)
    assert settings.session.budget == 7
    save_settings(settings, path)
    assert path.read_text().startswith("# mine\n[session]\nbudget = 7 # small\n")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("\n[session]\nbudgte = 7\n", 3, "Did you mean 'budget'"),
        ("[sesion]\nbudget = 7\n", 1, "Did you mean 'session'"),
        ("[model]\nname = 'x'\n[session]\nbudget = 0\n", 4, "session.budget"),
        ("[session]\nbudget = 'many'\n", 2, "session.budget"),
        ("[session\n", 1, "not TOML"),
    ],
)
def test_faults_name_file_line_and_mend(path: Path, text: str, line: int, words: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert f"{path}:{line}: " in caught.value.message
    assert words in str(caught.value)
