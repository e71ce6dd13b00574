"""How benchmark results are shown: shares met, success against simulations, boxes by circuit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from textual.content import Content
from textual_plot.axis_formatter import AxisFormatter

from acs_assistant.tui.text import MISSING
from acs_assistant.tui.widgets.columns import Cell, Column, columns
from acs_assistant.tui.widgets.plot import Chart, Curve, Linear

CHECKPOINTS = (1, 3, 5, 10, 20, 50, 100)
_COLOURS = ("primary", "accent", "success", "error", "secondary", "foreground")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Simulations(AxisFormatter):
    """Ticks at the checkpoints, for an axis that holds log10 of the number of simulations."""

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        return [math.log10(n) for n in CHECKPOINTS if min_ - 1e-9 <= math.log10(n) <= max_ + 1e-9]

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        return [f"{10**tick:.0f}" for tick in ticks]


def colour_of(place: int) -> str:
    """Theme variable of the proposer in this place; its letter says the same without colour."""
    return _COLOURS[place % len(_COLOURS)]


def letter_of(place: int) -> str:
    return _LETTERS[place % len(_LETTERS)]


def shares_table(group: Mapping[str, Any], names: Sequence[str], width: int) -> Content:
    """Share of runs that met all specs, in percent with its 95 % interval; then the rest."""
    steps = [n for n in CHECKPOINTS if any(n in m.met_at for m in group.values())]
    title = [Column(""), Column("proposer", shrink=8)]
    title += [Column(f"≤ {n}", "right", rank=_rank(n, steps)) for n in steps]
    title += [Column("median", "right", rank=20), Column("area", "right", rank=21),
              Column("s/turn", "right", rank=22), Column("failed", "right", rank=23)]  # fmt: skip
    best = {n: max(m.met_at[n].value for m in group.values() if n in m.met_at) for n in steps}
    rows: list[list[Cell]] = []
    for place, name in enumerate(names):
        m = group.get(name)
        if m is None:
            continue
        row: list[Cell] = [(letter_of(place), f"bold ${colour_of(place)}"), (name, "bold")]
        for n in steps:
            estimate = m.met_at.get(n)
            top = estimate is not None and estimate.value == best[n] > 0
            row.append((MISSING if estimate is None else _percent(estimate), "bold" if top else ""))
        median = m.median_to_success
        row += [
            (MISSING if median is None else f"{median:g}", "$foreground-muted"),
            (f"{m.area.value:.3f}", "$foreground-muted"),
            (f"{m.model_seconds:.2f}", "$foreground-muted"),
            (f"{100 * m.failed:.0f} %", "$foreground-muted"),
        ]
        rows.append(row)
    table = columns(title, rows, width)
    note = (
        "Share of runs that met every spec within so many simulations, in percent, with its 95 % "
        "interval. Bold is the highest; overlapping intervals say that it may be chance."
    )
    return Content("\n").join([table, Content(""), Content.styled(note, "$foreground-muted")])


def _rank(n: int, steps: Sequence[int]) -> int:
    """The first and the last checkpoint stay longest when the width is short."""
    return {1: 1, 10: 2, steps[-1]: 0}.get(n, 3 + (n in (3, 20)))


def _percent(estimate: Any) -> str:
    low, high = 100 * estimate.low, 100 * estimate.high
    return f"{100 * estimate.value:.0f} ({low:.0f}–{high:.0f})"


def success_chart(
    curves: Mapping[str, tuple[Any, Any, Any]], names: Sequence[str], chosen: str
) -> Chart | None:
    """Share met against simulations; points mark the chosen proposer, thin lines its interval."""
    if not curves:
        return None
    lines: list[Curve] = []
    points: list[Curve] = []
    legend = []
    budget = 1
    for place, name in enumerate(names):
        if name not in curves:
            continue
        mean, low, high = (100 * np.asarray(values) for values in curves[name])
        budget = max(budget, len(mean))
        x = np.log10(np.arange(1, len(mean) + 1))
        style = colour_of(place)
        if name == chosen:
            lines += [_stairs(x, low, "secondary"), _stairs(x, high, "secondary")]
            marks = [n - 1 for n in CHECKPOINTS if n <= len(mean)]
            points = [Curve(tuple(x[marks]), tuple(mean[marks]), style, points=True)]
        lines.append(_stairs(x, mean, style))
        legend.append(f"{'●' if name == chosen else letter_of(place)} {name} {mean[-1]:.0f} %")
    lines += points
    caption = f"after {budget}: " + "  ".join(legend)
    top = max((max(curve.y) for curve in lines), default=1.0)
    return Chart("Success", tuple(lines), caption, Simulations(), Linear(),
                 xlimits=(0.0, math.log10(budget) or 0.1),
                 ylimits=(0.0, min(102.0, max(10.0, 1.1 * top))))  # fmt: skip


def _stairs(x: Any, y: Any, style: str) -> Curve:
    xs = np.repeat(x, 2)[1:]
    ys = np.repeat(y, 2)[:-1]
    return Curve(tuple(map(float, xs)), tuple(map(float, ys)), style)


def boxes_text(
    firsts: Mapping[str, Mapping[str, Sequence[float]]],
    names: Sequence[str],
    budget: int,
    width: int,
) -> Content:
    """A box per circuit and proposer: quartiles of the simulations to the first success."""
    label = max(len(name) for name in (*names, *firsts)) + 1
    cells = max(width - label - 27, 16)
    parts: list[Content] = []
    for circuit, groups in firsts.items():
        head = f"{circuit:<{label + 5}}"
        parts.append(
            Content.assemble(
                (head, "bold $text-primary"),
                (_axis(budget, cells), "$foreground-muted"),
            )
        )
        for place, name in enumerate(names):
            values = groups.get(name)
            if not values:
                continue
            parts.append(
                Content.assemble(
                    (f" {letter_of(place)} ", f"bold ${colour_of(place)}"),
                    f"{name:<{label}}  ",
                    (box(values, budget, cells), f"${colour_of(place)}"),
                    (f"  {_quartiles(values)}", "$foreground-muted"),
                )
            )
        parts.append(Content(""))
    note = "│ median, ▒ half of the runs, ─ all of them; the right edge is never within the budget."
    return Content("\n").join([*parts, Content.styled(note, "$foreground-muted")])


def _place(value: float, budget: int, cells: int) -> int:
    """Column of a number of simulations on the log axis; the last one means never."""
    if value > budget:
        return cells - 1
    return round((cells - 3) * math.log(value) / (math.log(budget) or 1.0))


def _axis(budget: int, cells: int) -> str:
    line = [" "] * cells
    for n in (*CHECKPOINTS, math.inf):
        if n != math.inf and n > budget:
            continue
        text = "never" if n == math.inf else str(n)
        at = min(_place(n, budget, cells), cells - len(text))
        if n == math.inf or all(c == " " for c in line[max(at - 1, 0) : at + len(text) + 1]):
            line[at : at + len(text)] = text
    return "".join(line)


def box(values: Sequence[float], budget: int, cells: int) -> str:
    """A box with whiskers in one line."""
    low, first, middle, third, high = (
        _place(v, budget, cells) for v in _five(values)
    )  # fmt: skip
    line = [" "] * cells
    line[low : high + 1] = "─" * (high + 1 - low)
    line[first : third + 1] = "▒" * (third + 1 - first)
    line[middle] = "│"
    return "".join(line)


def _five(values: Sequence[float]) -> tuple[float, ...]:
    """Least, quartiles, greatest: each one of the values, since some are infinite."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return tuple(ordered[round(share * last)] for share in (0.0, 0.25, 0.5, 0.75, 1.0))


def _quartiles(values: Sequence[float]) -> str:
    _, first, middle, third, _ = _five(values)
    return f"{_number(middle)} ({_number(first)}–{_number(third)})"


def _number(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:g}"
