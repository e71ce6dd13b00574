"""One home per test, so that nothing of the person's own is read or written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tui.fakes import Clock


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLORTERM", "truecolor")
    return tmp_path


@pytest.fixture
def clock() -> Clock:
    return Clock()
