"""One simulator for all the circuit tests: its workers and prepared models are worth sharing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from acs_assistant import paths
from acs_assistant.sim import make_simulator
from acs_assistant.sim.port import Simulator


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    pool = make_simulator(workers=1)
    yield pool
    pool.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a good circuit folder, to be broken."""
    copy = tmp_path / "ota_5t"
    shutil.copytree(paths.bundled_circuits() / "ota_5t", copy)
    return copy
