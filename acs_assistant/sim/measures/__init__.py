"""The registry of built-in measures: what a metric's ``measure`` and ``arguments`` may say.

Every measure is a function of a ``Run`` and its arguments; its docstring is its definition. A
testbench file may use several analyses; each measure names the one that it reads, and takes an
optional ``plot`` ("dc2") for a testbench with more than one of that kind.
"""

from __future__ import annotations

from acs_assistant.sim.measures import ac, dc, noise, tran
from acs_assistant.sim.measures.registry import (
    MEASURES,
    Argument,
    Measure,
    check,
    evaluate,
    find_measure,
    script,
)

__all__ = [
    "MEASURES",
    "Argument",
    "Measure",
    "ac",
    "check",
    "dc",
    "evaluate",
    "find_measure",
    "noise",
    "script",
    "tran",
]
