"""What a circuit is known to reach: its reference, its specs' ranges, and saved sessions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from acs_assistant.domain import Circuit, Spec, Turn
from acs_assistant.storage.store import Store

SESSIONS = 40
"""How many of a circuit's sessions are looked through, the newest first."""


@dataclass(frozen=True, slots=True)
class Extremes:
    """Lowest and highest value of a metric that a saved session measured."""

    low: float
    high: float


def reached_in_sessions(circuit: str, store: Store) -> dict[str, Extremes]:
    """Looks through the saved sessions of a circuit. Reads the disk: not for the drawing thread."""
    found: dict[str, Extremes] = {}
    mine = [summary for summary in store.sessions(circuit) if summary.circuit == circuit]
    for summary in mine[:SESSIONS]:
        for name, extremes in extremes_of(store.turns(summary.id)).items():
            known = found.get(name, extremes)
            low, high = min(known.low, extremes.low), max(known.high, extremes.high)
            found[name] = Extremes(low, high)
    return found


def extremes_of(turns: Iterable[Turn]) -> dict[str, Extremes]:
    """Extremes over the turns that simulated; the nominal corner's values."""
    values: dict[str, list[float]] = {}
    for turn in turns:
        if turn.evaluation is None or turn.evaluation.status != "ok":
            continue
        for name, value in turn.evaluation.nominal.metrics.items():
            if math.isfinite(value):
                values.setdefault(name, []).append(value)
    return {name: Extremes(min(found), max(found)) for name, found in values.items()}


def best_known(
    circuit: Circuit, spec: Spec, reached: Mapping[str, Extremes] | None = None
) -> float | None:
    """The value furthest in a spec's direction that anything reached; None when nothing is known.

    A metric alone says little of all specs together: what lies beyond was never reached even so.
    """
    if spec.relation == "==":
        return None
    higher = spec.relation == ">="
    known = [spec.range[1] if higher else spec.range[0]] if spec.range is not None else []
    reference = circuit.reference_metrics.get(spec.metric)
    if reference is not None:
        known.append(reference)
    extremes = (reached or {}).get(spec.metric)
    if extremes is not None:
        known.append(extremes.high if higher else extremes.low)
    if not known:
        return None
    return max(known) if higher else min(known)
