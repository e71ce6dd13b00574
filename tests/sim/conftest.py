from __future__ import annotations

from collections.abc import Iterator

import pytest

from acs_assistant.errors import AcsError
from acs_assistant.sim.pdk import find_pdk
from acs_assistant.sim.pool import Pool


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """Two real workers for the whole run."""
    with Pool(2, timeout=30.0) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def sky130() -> None:
    """Skips nothing silently: the device models are part of the set-up."""
    try:
        find_pdk("sky130")
    except AcsError as error:
        pytest.fail(str(error))
