"""One plot in the terminal: a picture where the terminal can show one, else Textual's own plot.

The widget of textual-plot draws; what is drawn is said by a ``Chart``, in the theme's colours, and
in words where the colour alone would carry it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from textual import work
from textual.app import ComposeResult, RenderResult
from textual.containers import Grid, Vertical
from textual.content import Content
from textual.geometry import Size
from textual.strip import Strip
from textual.widgets import Static
from textual_hires_canvas import Canvas
from textual_plot import HiResMode, PlotWidget
from textual_plot.axis_formatter import AxisFormatter, NumericAxisFormatter
from textual_plot.plot_widget import Legend

from acs_assistant.errors import AcsError
from acs_assistant.report.figures import Figure, Look
from acs_assistant.tui.graphics import Graphics
from acs_assistant.tui.widgets.depiction import depicted
from acs_assistant.tui.widgets.panel import Panel
from acs_assistant.tui.widgets.picture import Picture, draw, look_of
from acs_assistant.tui.widgets.themed import colour
from acs_assistant.units import format_quantity

if TYPE_CHECKING:
    from acs_assistant.tui.app import AcsApp

Drawing = Callable[[Look], Figure]
"""Makes the figure of a chart for a picture; called in a thread."""


class Decades(AxisFormatter):
    """Ticks at powers of ten for an axis that holds log10 of the quantity."""

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        first, last = math.ceil(min_ - 1e-9), math.floor(max_ + 1e-9)
        step = max(1, math.ceil((last - first + 1) / max_ticks))
        return [float(decade) for decade in range(first, last + 1, step)]

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        return [format_quantity(10.0**tick) for tick in ticks]


class Linear(NumericAxisFormatter):
    """Linear ticks, no more than the height has room for. ``most`` is set when it is drawn."""

    most = 6

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        return super().get_ticks(min_, max_, min(max_ticks, self.most))


class Engineering(Linear):
    """Linear ticks, written as SPICE writes numbers."""

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        return [format_quantity(tick, 3) for tick in ticks]


class Whole(Linear):
    """Linear ticks at whole numbers."""

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        ticks = super().get_ticks(min_, max_, max_ticks)
        return sorted({float(round(tick)) for tick in ticks})


@dataclass(frozen=True, slots=True)
class Curve:
    """One line (or points) of a plot. ``style`` names a theme variable."""

    x: Sequence[float]
    y: Sequence[float]
    style: str
    points: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that one drawing needs.

    Attributes:
        lower: Curves of a second plot below that shares the x axis (phase under gain).
        caption: One line in words.
    """

    title: str
    curves: tuple[Curve, ...]
    caption: str
    x: AxisFormatter = field(compare=False)
    y: AxisFormatter = field(compare=False)
    lower: tuple[Curve, ...] = ()
    marks: tuple[float, ...] = ()
    xlimits: tuple[float, float] | None = None
    ylimits: tuple[float, float] | None = None


class _Canvas(Canvas):
    """A canvas whose lines all have a style, also those beyond its edge while the size changes.

    Without one a filter fails that makes colours grey (``NO_COLOR``).
    """

    def render_line(self, y: int) -> Strip:
        strip = super().render_line(y)
        return strip if strip.cell_length else Strip.blank(0, self.rich_style)


class _Plot(PlotWidget, can_focus=False):
    """Keys belong to the screen, so the plot never takes the focus.

    The widget draws again at every layout of the screen; here only for new data or another size.
    """

    _stamp = 0
    _drawn_for: object = None

    def compose(self) -> ComposeResult:
        with Grid():
            for part in ("margin-top", "margin-left", "plot", "margin-bottom"):
                yield _Canvas(1, 1, id=part)
        yield Legend(id="legend")

    def on_mount(self) -> None:
        super().on_mount()
        self.margin_top = 0
        self.margin_bottom = 1
        self.margin_left = 8

    def touch(self) -> None:
        """There is something new to draw."""
        self._stamp += 1

    def notify_style_update(self) -> None:
        self.touch()
        super().notify_style_update()

    def render(self) -> RenderResult:
        wanted = (self._stamp, self.size, *(canvas.size for canvas in self.query(Canvas)))
        if wanted != self._drawn_for:
            self._drawn_for = wanted
            return super().render()
        return ""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a picture is to show, and how."""

    chart: Chart
    size: Size
    graphics: Graphics
    theme: str


_SMALLEST = Size(24, 6)
"""A picture of fewer cells says less than the native plot."""


class Plot(Vertical, Panel):
    """One chart, or a sentence that says why there is none yet."""

    def __init__(self, *, id: str | None = None, classes: str = "") -> None:
        super().__init__(id=id, classes=classes)
        self._chart: Chart | None = None
        self._drawing: Drawing | None = None
        self._wanted: _Wanted | None = None
        self._pictured = False
        self._caption = ""

    def compose(self) -> ComposeResult:
        yield _Plot(classes="plot-upper", allow_pan_and_zoom=False)
        yield _Plot(classes="plot-lower", allow_pan_and_zoom=False)
        yield Picture(classes="plot-picture")
        yield Static(markup=False, classes="plot-caption")

    def on_mount(self) -> None:
        self.query_one(Picture).display = False
        self._acs.graphics_changed_signal.subscribe(self, lambda _: self._depict())

    def on_resize(self) -> None:
        self._depict()

    def show(self, chart: Chart | None, empty: str, drawing: Drawing | None = None) -> None:
        """Draws; the same chart again costs nothing.

        Args:
            drawing: Makes the figure that is exported, for terminals that show pictures; without
                one the picture shows what the native plot does.
        """
        upper, lower = self.query_one(".plot-upper", _Plot), self.query_one(".plot-lower", _Plot)
        self.set_class(chart is None, "-empty")
        caption = empty if chart is None else chart.caption
        if caption != self._caption:
            self._caption = caption
            words = Content.styled(caption, "$foreground-muted")
            self.query_one(".plot-caption", Static).update(words, layout=False)
        if chart is not None and chart != self._chart:
            self._draw(upper, chart, chart.curves)
            upper.margin_bottom = 0 if chart.lower else 1
            upper.set_xticks([] if chart.lower else None)
            if chart.lower:
                self._draw(lower, chart, chart.lower)
        self._chart, self._drawing = chart, drawing
        self._depict()

    def forget(self) -> None:
        """Draws again next time: the theme changed."""
        self._chart = None

    # -- the picture ------------------------------------------------------------------------

    @property
    def _acs(self) -> AcsApp:
        return cast("AcsApp", self.app)

    def _front(self, *, picture: bool) -> None:
        """Which of the two is seen."""
        chart = self._chart
        self._pictured = picture
        self.query_one(Picture).display = picture
        self.query_one(".plot-upper").display = chart is not None and not picture
        self.query_one(".plot-lower").display = bool(chart and chart.lower) and not picture

    def _depict(self) -> None:
        """Wants a picture of the chart, where the terminal can show one.

        Until it is drawn, an older picture of the same chart stays, or the native plot is seen.
        """
        before, self._wanted = self._wanted, self._wish()
        wanted = self._wanted
        same = wanted and before and wanted.chart.title == before.chart.title
        self._front(picture=self._pictured and bool(same))
        if wanted is not None and wanted != before:
            self._paint()

    def _wish(self) -> _Wanted | None:
        graphics, chart = self._acs.graphics, self._chart
        room = Size(self.size.width, self.size.height - 1)
        if graphics is None or chart is None:
            return None
        if room.width < _SMALLEST.width or room.height < _SMALLEST.height:
            return None
        return _Wanted(chart, room, graphics, self.app.theme)

    @work(group="picture", exclusive=True)
    async def _paint(self) -> None:
        wanted, picture = self._wanted, self.query_one(Picture)
        if wanted is None:
            return
        drawing = self._drawing or self._depiction(wanted.chart)
        look = look_of(self.app)
        try:
            drawn = await self._acs.draw(
                draw, drawing, look, wanted.graphics, wanted.size, picture.number
            )
        except AcsError:
            return  # the figure has nothing to draw of what the native plot shows
        if wanted == self._wanted and self.is_attached:
            self._front(picture=True)
            picture.show(drawn)

    def _depiction(self, chart: Chart) -> Drawing:
        colours = {c.style: colour(self.app, c.style) for c in (*chart.curves, *chart.lower)}
        return lambda look: depicted(chart, colours, look)

    def _draw(self, plot: _Plot, chart: Chart, curves: tuple[Curve, ...]) -> None:
        plot.touch()
        plot.clear()
        plot.set_x_formatter(chart.x)
        plot.set_y_formatter(chart.y)
        for mark in chart.marks:
            plot.add_v_line(mark, colour(self.app, "secondary"))
        for curve in curves:
            style = colour(self.app, curve.style)
            if curve.points:
                plot.scatter(curve.x, curve.y, marker="●", marker_style=style)
            else:
                plot.plot(curve.x, curve.y, line_style=style, hires_mode=HiResMode.BRAILLE)
        if isinstance(chart.y, Linear):
            chart.y.most = max(2, plot.size.height // 3)
        plot.set_xlimits(*(chart.xlimits or (None, None)))
        plot.set_ylimits(*(chart.ylimits or _limits(curves)))


def _limits(curves: tuple[Curve, ...]) -> tuple[float, float]:
    values = [v for curve in curves for v in curve.y if math.isfinite(v)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    pad = 0.05 * (high - low) or max(abs(high) * 0.1, 1e-3)
    return low - pad, high + pad
