"""The one score that the app, the reward and the benchmark share (docs/design.md, Scoring)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from acs_assistant.domain import Measurement, Score, Spec, SpecResult

INVALID_CALL_PENALTY = 0.5


def shortfall(spec: Spec, value: float | None) -> float:
    """``e_i = max(0, ±(t − m)) / (|t| + |m|)``: 0 when met, 1 when the metric is missing."""
    if value is None or not math.isfinite(value):
        return 1.0
    missing = -signed_margin(spec, value)
    if missing <= 0:
        return 0.0
    return min(1.0, missing / (abs(spec.target) + abs(value)))


def signed_margin(spec: Spec, value: float) -> float:
    """Distance to the target in the metric's unit, positive when the spec is met."""
    match spec.relation:
        case ">=":
            return value - spec.target
        case "<=":
            return spec.target - value
        case "==":
            return spec.tolerance - abs(value - spec.target)


def judge(spec: Spec, measurements: Sequence[Measurement]) -> SpecResult:
    """Holds one spec against every corner; the corner with the largest shortfall counts."""
    worst: SpecResult | None = None
    for measurement in measurements:
        value = measurement.metrics.get(spec.metric) if measurement.status == "ok" else None
        if value is not None and not math.isfinite(value):
            value = None
        e = shortfall(spec, value)
        margin = None if value is None else signed_margin(spec, value)
        result = SpecResult(spec, value, margin, e, e == 0.0, measurement.conditions.corner)
        if worst is None or _badness(result) > _badness(worst):
            worst = result
    return worst or SpecResult(spec, None, None, 1.0, False, "")


def _badness(result: SpecResult) -> tuple[float, float]:
    return result.shortfall, math.inf if result.margin is None else -result.margin


def score(specs: Sequence[Spec], measurements: Sequence[Measurement]) -> Score:
    """Scores one sizing. A simulation that failed at any corner scores 0."""
    results = tuple(judge(spec, measurements) for spec in specs)
    if not measurements or any(m.status == "failed" for m in measurements):
        return Score(0.0, False, results)
    total = sum(spec.weight for spec in specs)
    lost = sum(r.spec.weight * r.shortfall for r in results)
    value = 1.0 - lost / total if total else 1.0
    return Score(value, all(r.met for r in results), results)


def reward(score: Score | None) -> float:
    """Turn reward: the score, plus 1 when all specs are met; an invalid call (None) costs."""
    if score is None:
        return -INVALID_CALL_PENALTY
    return score.value + (1.0 if score.met else 0.0)
