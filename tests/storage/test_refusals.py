"""Faults of the file system, met by a process that may not write."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from acs_assistant.storage.store import Store
from tests.engine.parts import TASK

ROOT = Path(__file__).parents[2]
_OPEN = """
import os, resource, signal, sys
from pathlib import Path
from acs_assistant.errors import StorageError
from acs_assistant.storage.store import Store
from tests.engine.parts import TASK
{before}
try:
    store = Store(Path(sys.argv[1]))
    for _ in range(200):
        store.create_session(TASK, title="x" * 2000, proposer="model", budget=1, seed=1)
except StorageError as error:
    print(error)
    sys.exit(error.exit_status)
"""


def attempt(path: Path, before: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _OPEN.format(before=before), str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "sessions.db"
    store = Store(path)
    store.create_session(TASK, title="kept", proposer="model", budget=1, seed=1)
    store.close()
    return path


def test_a_disk_that_takes_no_more_is_named_and_keeps_what_it_has(path: Path) -> None:
    limit = 300_000
    done = attempt(path, f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))")
    assert done.returncode == 2, done.stderr
    assert "full or failing" in done.stdout and str(path) in done.stdout
    sessions = Store(path).sessions()
    assert len(sessions) > 1 and sessions[-1].title == "kept"


def test_a_read_only_folder_is_named() -> None:
    # Not pytest's own folder: nobody may not even enter that one.
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name) / "sessions.db"
        store = Store(path)
        store.create_session(TASK, title="kept", proposer="model", budget=1, seed=1)
        store.close()
        folder.chmod(0o555)
        path.chmod(0o444)
        # The superuser may write anywhere, so nobody makes the attempt.
        first = "Store.memory().create_session(TASK, title=str(), proposer=str(), budget=1, seed=1)"
        done = attempt(path, f"{first}; os.geteuid() or os.setuid(65534)")
        folder.chmod(0o755)
        path.chmod(0o644)
        assert done.returncode == 2, done.stderr
        assert str(path) in done.stdout and f"chmod -R u+w '{folder}'" in done.stdout
        assert [s.title for s in Store(path).sessions()] == ["kept"]
