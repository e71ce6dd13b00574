"""A chart as a figure of matplotlib, for the pictures of plots that no exported figure shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from acs_assistant.report.figures import Figure, Look, style

if TYPE_CHECKING:
    from acs_assistant.tui.widgets.plot import Chart, Curve


def depicted(chart: Chart, colours: Mapping[str, str], look: Look) -> Figure:
    """Draws what the native plot draws, with its ticks.

    Args:
        colours: What the styles of the curves are in the theme; the ink's where one is missing.
    """
    from matplotlib.figure import Figure as Canvas

    parts = [chart.curves, *([chart.lower] if chart.lower else [])]
    with style(look):
        figure = Canvas(figsize=(5.4, 3.0))
        grid = figure.subplots(len(parts), 1, sharex=True, squeeze=False)[:, 0]
        for n, (axes, curves) in enumerate(zip(grid, parts, strict=True)):
            for mark in chart.marks:
                axes.axvline(mark, color=look.muted, linewidth=1)
            _curves(axes, curves, colours, look)
            axes.margins(x=0.0)
            if chart.xlimits:
                axes.set_xlim(chart.xlimits)
            if chart.ylimits and not n:
                axes.set_ylim(chart.ylimits)
            _ticks(axes, chart)
    return figure


def _curves(axes: Any, curves: Sequence[Curve], colours: Mapping[str, str], look: Look) -> None:
    for curve in curves:
        line = "o" if curve.points else "-"
        axes.plot(curve.x, curve.y, line, color=colours.get(curve.style) or look.ink)


def _ticks(axes: Any, chart: Chart) -> None:
    for axis, (low, high), made, most in (
        (axes.xaxis, axes.get_xlim(), chart.x, 8),
        (axes.yaxis, axes.get_ylim(), chart.y, 5),
    ):
        places, words = made.get_ticks_and_labels(low, high, most)
        axis.set_ticks(places, words)
