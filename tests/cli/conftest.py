from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from acs_assistant import cli, paths
from acs_assistant.sim import make_simulator
from acs_assistant.sim.pool import Pool


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        assert self.status == 0, self.err
        return json.loads(self.out, parse_constant=_not_json)


def _not_json(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


Command = Callable[..., Done]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own that sees the installed device models and their prepared form."""
    models, prepared = paths.pdk_dir(), paths.cache_dir() / "models"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for link, target in ((paths.pdk_dir(), models), (paths.cache_dir() / "models", prepared)):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    return tmp_path


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """ngspice workers that the commands of a whole test run share: starting them takes longest."""
    with pytest.MonkeyPatch.context() as patch:
        pool = make_simulator(workers=1)
        patch.setattr(pool, "close", lambda: None)
        yield pool
    pool.close()


@pytest.fixture
def command(
    home: Path, capsys: pytest.CaptureFixture[str], pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Runs ``acs-assistant`` in this process."""
    monkeypatch.setattr("acs_assistant.cli.compose.make_simulator", lambda settings=None: pool)

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        status = cli._run(arguments)
        out, err = capsys.readouterr()
        return Done(status, out, err)

    return run
