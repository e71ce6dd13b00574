"""Simulation: from a circuit and a sizing to measured metrics."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acs_assistant.sim.pool import Pool


def make_simulator(
    workers: int | None = None, *, timeout: float = 60.0, store: bool = False
) -> Pool:
    """ngspice behind the simulator port; processes start when they are first needed.

    Args:
        workers: Simulations at a time; None or 0 means one a core.
        timeout: Seconds that one sizing may take before its worker is killed.
        store: Answer identical simulations from the cache folder.
    """
    from acs_assistant import paths
    from acs_assistant.sim.pool import Pool
    from acs_assistant.sim.store import SimulationStore

    kept = SimulationStore(paths.cache_dir() / "simulations.db") if store else None
    return Pool(workers or os.cpu_count() or 1, timeout=timeout, store=kept)
