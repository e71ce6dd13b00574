"""How numbers and foreign text become cells: quantities with units, bars, trends, safe text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from acs_assistant.domain import Circuit, Parameter, Spec
from acs_assistant.units import format_quantity

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_PLAIN_UNITS = frozenset({"db", "deg", "°", "%", ""})
_TREND = "▁▂▃▄▅▆▇█"
MISSING = "–"


PROPOSERS = {
    "model": "language model, draws chosen by a critic",
    "model-alone": "language model without the critic",
    "tpe": "tree-structured Parzen estimator",
    "cmaes": "covariance matrix adaptation",
    "gp": "Gaussian process",
    "turbo": "Gaussian process in a trust region",
    "scbo": "trust region with a model of every spec",
    "random": "independent draws",
    "sobol": "evenly spread draws",
}


def proposer_text(name: str) -> str:
    """A proposer's name and what it is."""
    return f"{name}: {PROPOSERS[name]}" if name in PROPOSERS else name


def plain(text: str) -> str:
    """Text from a model, a netlist or a file without terminal escapes or control characters."""
    text = _ESCAPE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _CONTROL.sub("", text)


def first_line(text: str, width: int = 120) -> str:
    """The first line that says something, without Markdown's signs, cut to ``width``."""
    line = next((line.strip() for line in plain(text).splitlines() if line.strip()), "")
    line = line.lstrip("#>- ").replace("**", "").replace("`", "")
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def quantity(value: float | None, unit: str = "", digits: int = 4) -> str:
    """A metric as a designer reads it: ``12.5meg``, ``61.2``; decibels and degrees unscaled."""
    if value is None or math.isnan(value):
        return MISSING
    if unit.lower() in _PLAIN_UNITS:
        return f"{value:.{digits}g}" if abs(value) < 1e5 else format_quantity(value, digits)
    return format_quantity(value, digits)


def metric_unit(circuit: Circuit, name: str) -> str:
    return next((m.unit for m in circuit.metrics if m.name == name), "")


def spec_text(circuit: Circuit, spec: Spec) -> str:
    """``gbw ≥ 10meg Hz``."""
    sign = {">=": "≥", "<=": "≤", "==": "="}[spec.relation]
    unit = metric_unit(circuit, spec.metric)
    target = f"{quantity(spec.target, unit)}{tolerance_text(spec)}"
    return f"{spec.metric} {sign} {target} {unit}".rstrip()


def tolerance_text(spec: Spec) -> str:
    """`` ±20m`` behind the target of an equality; nothing behind others."""
    return f" ±{format_quantity(spec.tolerance, 3)}" if spec.relation == "==" else ""


def change_percent(old: float | None, new: float) -> float | None:
    """Percent from old to new; None without an old value to compare with."""
    return None if not old else 100.0 * (new - old) / abs(old)


def change_text(percent: float | None) -> str:
    """Sign, figure, percent: colour never carries it alone."""
    if percent is None:
        return "new"
    if abs(percent) < 0.05:
        return "="
    return f"{percent:+.1f} %" if abs(percent) < 1000 else f"×{1 + percent / 100:.3g}"


def log_bar(old: float | None, new: float, half: int = 4) -> str:
    """A bar around the middle: an octave fills half of one side, two octaves all of it."""
    if not old or old <= 0 or new <= 0:
        return " " * half + "│" + " " * half
    octaves = math.log2(new / old)
    length = min(half, math.ceil(abs(octaves) * half / 2)) if abs(octaves) > 1e-9 else 0
    left = "▬" * length if octaves < 0 else ""
    right = "▬" * length if octaves > 0 else ""
    return f"{left:>{half}}│{right:<{half}}"


def margin_bar(margin: float | None, target: float, half: int = 5) -> str:
    """Margin over target around the middle: a cell is 10 %, right of the line is met."""
    if margin is None:
        return f"{'':>{half}}│{'':<{half}}"
    relative = max(-1e3, min(1e3, margin / (abs(target) or 1.0)))
    length = min(half, max(1, round(abs(relative) * 10))) if margin else 0
    left = "◂" if -relative * 10 > half + 0.5 else ""
    if relative < 0:
        return f"{(left + '■' * (length - len(left))):>{half}}│{'':<{half}}"
    right = "▸" if relative * 10 > half + 0.5 else ""
    return f"{'':>{half}}│{('■' * (length - len(right)) + right):<{half}}"


def trend(values: Sequence[float | None], width: int = 10) -> str:
    """The last ``width`` values as blocks from their lowest to their highest."""
    values = values[-width:]
    known = [v for v in values if v is not None and math.isfinite(v)]
    if not known:
        return ""
    low, high = min(known), max(known)
    span = high - low
    cells = []
    for value in values:
        if value is None or not math.isfinite(value):
            cells.append("·")
        else:
            level = 0.5 if span == 0 else (value - low) / span
            cells.append(_TREND[round(level * (len(_TREND) - 1))])
    return "".join(cells)


def bound_note(parameter: Parameter, value: float) -> str:
    """ "at max", "at min" or nothing."""
    if value >= parameter.max * (1 - 1e-9):
        return "at max"
    if value <= parameter.min * (1 + 1e-9):
        return "at min"
    return ""


def budget_bar(used: int, budget: int, width: int = 10) -> str:
    filled = 0 if budget <= 0 else min(width, math.ceil(width * used / budget))
    return "█" * filled + "░" * (width - filled)


def when(timestamp: str, now: str = "") -> str:
    """``2026-11-23 15:04`` of an ISO time; the clock alone when it is today's."""
    day, clock = timestamp[:10], timestamp[11:16]
    return clock if now and now[:10] == day else f"{day} {clock}".strip()


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
