"""One home per test, so that nothing of the person's own is read or written."""

from __future__ import annotations

from pathlib import Path

import pytest

from acs_assistant import paths
from tests.tui.fakes import Clock


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """It sees the installed device models and their prepared form, which take long to make."""
    models, prepared = paths.pdk_dir(), paths.cache_dir() / "models"
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for link, target in ((paths.pdk_dir(), models), (paths.cache_dir() / "models", prepared)):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLORTERM", "truecolor")
    return tmp_path


@pytest.fixture
def clock() -> Clock:
    return Clock()
