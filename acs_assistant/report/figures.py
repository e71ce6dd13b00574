"""Figures of a session, for print and for the HTML report.

Colours are Okabe and Ito's, which colour-blind readers tell apart; every colour is paired with a
marker, a line style or a word. No figure needs a display: they are drawn with matplotlib's Agg, SVG
and PDF canvases, and matplotlib is imported when the first one is drawn.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from acs_assistant import atomic
from acs_assistant.domain import Metric, SpecResult, Waveform
from acs_assistant.errors import InputError
from acs_assistant.report.record import SessionRecord, evaluation_of
from acs_assistant.report.response import Response, find_response
from acs_assistant.units import format_quantity

FORMATS = ("svg", "png", "pdf")


@dataclass(frozen=True, slots=True)
class Look:
    """Colours of a figure, as #rrggbb. ``met`` is also what a figure points at."""

    first: str
    second: str
    met: str
    muted: str
    ink: str
    grid: str
    paper: str


PAPER = Look("#0072B2", "#D55E00", "#009E73", "#8A8F98", "#1B1F24", "#D9DCE1", "#FFFFFF")
"""Okabe and Ito's colours on white, for print."""

_STYLE = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "svg.hashsalt": "acs-assistant",
}
Figure = Any  # matplotlib.figure.Figure, whose import is late


_ONE_AT_A_TIME = threading.RLock()  # matplotlib's settings are the process's


@contextlib.contextmanager
def style(look: Look = PAPER) -> Iterator[None]:
    """The settings that every figure is drawn and saved with."""
    import matplotlib

    colours = {
        "axes.edgecolor": look.ink,
        "axes.labelcolor": look.ink,
        "axes.facecolor": look.paper,
        "figure.facecolor": look.paper,
        "grid.color": look.grid,
        "text.color": look.ink,
        "xtick.color": look.ink,
        "ytick.color": look.ink,
    }
    with _ONE_AT_A_TIME, matplotlib.rc_context(_STYLE | colours):  # type: ignore[arg-type]
        yield


def progress(record: SessionRecord, look: Look = PAPER) -> Figure:
    """Score of each simulation, and the best score so far."""
    scores = [evaluation_of(turn).score for turn in record.simulated]
    if not scores:
        raise InputError(f"session {record.id} has no simulated turn to draw.")
    count = np.arange(1, len(scores) + 1)
    values = np.array([score.value for score in scores])
    met = np.array([score.met for score in scores])
    with style(look):
        figure, axes = _blank(5.4, 3.0)
        best = np.maximum.accumulate(values)
        axes.step(count, best, where="post", color=look.first, label="best so far")
        axes.plot(
            count[~met], values[~met], "o", mfc=look.paper, mec=look.second, label="specs missed"
        )
        axes.plot(count[met], values[met], "D", color=look.met, label="all specs met")
        axes.set(
            title="Best score against simulations",
            xlabel="simulations",
            ylabel="score",
            xlim=(0.5, max(record.budget, len(scores)) + 0.5),
        )
        floor = min(0.9, float(values.min()))
        axes.set_ylim(max(-0.03, floor - 0.05), 1.03)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(loc="lower right")
    return figure


def margins(record: SessionRecord, look: Look = PAPER) -> Figure:
    """Margin of every spec at every simulation, in percent of the target.

    A cell is blue with a plus sign when the spec is met, orange with a minus sign when not.
    """
    turns = record.simulated
    if not turns:
        raise InputError(f"session {record.id} has no simulated turn to draw.")
    specs = list(dict.fromkeys((r.spec.metric, r.spec.relation) for t in turns for r in
                               evaluation_of(t).score.specs))  # fmt: skip
    table = np.full((len(specs), len(turns)), np.nan)
    for column, turn in enumerate(turns):
        for result in evaluation_of(turn).score.specs:
            row = specs.index((result.spec.metric, result.spec.relation))
            table[row, column] = relative_margin(result)
    with style(look):
        from matplotlib.colors import LinearSegmentedColormap

        shades = [look.second, _pale(look.second, look), look.paper, _pale(look.first, look),
                  look.first]  # fmt: skip
        colours = LinearSegmentedColormap.from_list("margin", shades)
        figure, axes = _blank(min(12.0, 2.2 + 0.62 * max(len(turns), 5)), 1.2 + 0.34 * len(specs))
        axes.pcolormesh(
            np.arange(len(turns) + 1) - 0.5,
            np.arange(len(specs) + 1) - 0.5,
            _shade(table),
            cmap=colours,
            vmin=-1,
            vmax=1,
            edgecolors=look.paper,
            linewidth=1.0,
        )
        axes.invert_yaxis()
        if len(turns) <= 16:
            for (row, column), value in np.ndenumerate(table):
                bold = "normal" if value >= 0 else "bold"
                ink = look.paper if abs(_shade(value)) > 0.75 else look.ink
                axes.text(column, row, _percent(value), ha="center", va="center", size=7.5,
                          weight=bold, color=ink)  # fmt: skip
        axes.set_xticks(_thinned(len(turns)), [str(n + 1) for n in _thinned(len(turns))])
        axes.set_yticks(range(len(specs)), [f"{metric} {relation}" for metric, relation in specs])
        axes.set(title="Spec margins over simulations, % of target", xlabel="simulation")
        axes.grid(visible=False)
        axes.tick_params(length=0)
    return figure


def bode(record: SessionRecord, look: Look = PAPER) -> Figure:
    """Gain and phase of the best turn, with GBW and phase margin marked; those behind it muted.

    Raises:
        InputError: The record holds no frequency response.
    """
    response = find_response(record)
    if response is None:
        raise InputError(f"session {record.id} holds no frequency response to draw.")
    with style(look):
        from matplotlib.figure import Figure as Canvas

        figure = Canvas(figsize=(5.4, 4.0))
        upper, lower = figure.subplots(2, 1, sharex=True)
        for earlier in filter(None, [find_response(replace(record, waveforms=record.behind))]):
            upper.semilogx(earlier.frequency, earlier.gain_db, color=look.muted, label="before")
            lower.semilogx(earlier.frequency, earlier.phase, color=look.muted, linestyle="--")
        upper.semilogx(response.frequency, response.gain_db, color=look.first)
        upper.axhline(0, color=look.ink, linewidth=0.8)
        lower.semilogx(response.frequency, response.phase, color=look.second, linestyle="--")
        lower.axhline(-180, color=look.ink, linewidth=0.8)
        upper.set(title=f"Frequency response of {record.task.circuit.name}", ylabel="gain (dB)")
        lower.set(xlabel="frequency (Hz)", ylabel="phase (°)")
        lower.yaxis.set_major_locator(_ticks(45))
        engineering(lower.xaxis, response.frequency)
        _mark_crossover(upper, lower, response, look)
    return figure


def step(record: SessionRecord, look: Look = PAPER) -> Figure:
    """Every vector of the best turn's transient, against time in microseconds.

    Raises:
        InputError: The record holds no transient.
    """
    waveform = _waveform(record, "tran", "transient", least=1)
    with style(look):
        figure, axes = _blank(5.4, 3.0)
        time = np.array(waveform.x) * 1e6
        for name, (line, colour) in zip(_voltages(waveform), _lines(look), strict=False):
            values = np.real(np.array(waveform.y[name]))
            axes.plot(time, values, line, color=colour, label=name)
        axes.set(title=f"Step response, {waveform.testbench}", xlabel="time (µs)",
                 ylabel="voltage (V)")  # fmt: skip
        axes.legend(loc="best")
    return figure


def transfer(record: SessionRecord, look: Look = PAPER) -> Figure:
    """Every vector of the best turn's dc sweep, against what is swept.

    Raises:
        InputError: The record holds no dc sweep.
    """
    waveform = _waveform(record, "dc", "dc sweep")
    with style(look):
        figure, axes = _blank(5.4, 3.0)
        for name, (line, colour) in zip(_voltages(waveform), _lines(look), strict=False):
            axes.plot(waveform.x, np.real(np.array(waveform.y[name])), line, color=colour,
                      label=name)  # fmt: skip
        axes.set(title=f"Dc transfer, {waveform.testbench}", xlabel=waveform.x_name,
                 ylabel="voltage (V)")  # fmt: skip
        axes.legend(loc="best")
    return figure


def noise(record: SessionRecord, look: Look = PAPER) -> Figure:
    """Every spectral density of the best turn's noise analysis, against frequency.

    Raises:
        InputError: The record holds no noise analysis.
    """
    waveform = _waveform(record, "noise", "noise analysis")
    with style(look):
        figure, axes = _blank(5.4, 3.0)
        frequency = np.array(waveform.x, dtype=float)
        for name, (line, colour) in zip(waveform.y, _lines(look), strict=False):
            density = np.abs(np.array(waveform.y[name]))
            axes.loglog(frequency, density, line, color=colour, label=name)
            engineering(axes.yaxis, density)
        engineering(axes.xaxis, frequency)
        axes.set(title=f"Noise, {waveform.testbench}", xlabel="frequency (Hz)",
                 ylabel="density (V/√Hz)")  # fmt: skip
        axes.legend(loc="best")
    return figure


def pareto(record: SessionRecord, x: str, y: str, look: Look = PAPER) -> Figure:
    """Two metrics against each other over all simulations, the undominated ones joined.

    Raises:
        InputError: The circuit has no such metric, or fewer than one simulation measured both.
    """
    circuit = record.task.circuit
    metrics = (circuit.metric(x), circuit.metric(y))
    found = [
        (e.nominal.metrics[x], e.nominal.metrics[y], e.score.met, n)
        for n, e in enumerate((evaluation_of(t) for t in record.simulated), start=1)
        if x in e.nominal.metrics and y in e.nominal.metrics
    ]
    if not found:
        raise InputError(f"session {record.id} measured {x} and {y} together in no simulation.")
    points = np.array([(a, b) for a, b, _met, _n in found], dtype=float)
    met = np.array([m for _a, _b, m, _n in found])
    front = undominated(points, metrics)
    with style(look):
        figure, axes = _blank(5.2, 3.8)
        order = front[np.argsort(points[front, 0])]
        axes.plot(*points[order].T, color=look.muted, linewidth=1, label="undominated", zorder=1)
        axes.plot(*points[~met].T, "o", mfc=look.paper, mec=look.second, label="specs missed")
        axes.plot(*points[met].T, "D", color=look.met, label="all specs met")
        if len(found) <= 40:
            for (a, b), (_x, _y, _met, n) in zip(points, found, strict=True):
                axes.annotate(str(n), (a, b), (4, 4), textcoords="offset points", size=7)
        for axis, metric, values in ((axes.xaxis, metrics[0], points[:, 0]),
                                     (axes.yaxis, metrics[1], points[:, 1])):  # fmt: skip
            engineering(axis, values)
            axis.set_label_text(_label(metric))
        axes.set_title(f"{y} against {x}")
        axes.legend(loc="best", fontsize=8)
    return figure


def tradeoff(record: SessionRecord, look: Look = PAPER) -> Figure:
    """The objective against the first spec that pulls the other way, as ``pareto`` draws it.

    Raises:
        InputError: The circuit has no objective or no such spec, or under three simulations.
    """
    circuit = record.task.circuit
    if circuit.objective is None or len(record.simulated) < 3:
        raise InputError(f"session {record.id} has no trade-off to draw.")
    cost = circuit.metric(circuit.objective.metric)
    rivals = [
        metric.name
        for metric in (circuit.metric(spec.metric) for spec in record.task.specs)
        if metric.better not in ("neither", cost.better)
    ]
    if not rivals:
        raise InputError(f"no spec of session {record.id} pulls against {cost.name}.")
    speeds = [name for name in rivals if circuit.metric(name).unit == "Hz"]
    return pareto(record, cost.name, (speeds or rivals)[0], look)


def undominated(points: np.ndarray, metrics: Sequence[Metric]) -> np.ndarray:
    """Indices of the rows of ``points`` (n, 2) that no other row beats in both metrics.

    A metric whose better direction is "neither" is taken as better when lower.
    """
    signs = np.array([-1.0 if m.better == "higher" else 1.0 for m in metrics])
    cost = points * signs
    keep = [
        i
        for i, row in enumerate(cost)
        if not np.any(np.all(cost <= row, axis=1) & np.any(cost < row, axis=1))
    ]
    return np.array(keep, dtype=int)


FIGURES: dict[str, Callable[..., Figure]] = {
    "progress": progress,
    "margins": margins,
    "bode": bode,
    "step": step,
    "noise": noise,
    "transfer": transfer,
    "tradeoff": tradeoff,
}


def pixels(figure: Figure, width: int, height: int, dpi: float) -> Any:
    """The figure without its title as an array (height, width, 4) of bytes, red green blue alpha.

    Args:
        width, height: In pixels; the figure is laid out anew for them.
        dpi: Pixels an inch, which sets the size of the words.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with style():
        for axes in figure.axes:
            axes.set_title("")
        figure.set_dpi(dpi)
        figure.set_size_inches(width / dpi, height / dpi)
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())


def save(figure: Figure, path: Path) -> None:
    """Writes SVG, PNG (200 dpi) or PDF by the file's ending, atomically.

    Raises:
        InputError: The ending is none of these.
        StorageError: The disk is full or read-only.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise InputError(f"'{path}' is not a figure.", hint=f"Use one of: {', '.join(FORMATS)}.")
    stream = io.BytesIO()
    dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    with style():
        figure.savefig(stream, format=kind, dpi=200, metadata=dated)
    atomic.write_bytes(path, stream.getvalue())


def inline_svg(figure: Figure, prefix: str, title: str) -> str:
    """The figure as one ``<svg>`` element for an HTML page: no prolog, no metadata, no addresses.

    Args:
        prefix: Makes the element's ids unique in the page.
        title: What a screen reader says.
    """
    stream = io.StringIO()
    with style():
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    opening, rest = text.split(">", 1)
    size = re.search(r'viewBox="[^"]*"', opening)
    rest = re.sub(r'\bid="', f'id="{prefix}-', rest)
    rest = re.sub(r'href="#', f'href="#{prefix}-', rest)
    rest = re.sub(r"url\(#", f"url(#{prefix}-", rest)
    label = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return f'<svg role="img" aria-label="{label}" {size.group(0) if size else ""}>{rest}'


def relative_margin(result: SpecResult) -> float:
    """The margin as a fraction of the target; of the tolerance or the value when that is 0."""
    if result.margin is None:
        return math.nan
    scale = abs(result.spec.target) or result.spec.tolerance or abs(result.value or 0.0) or 1.0
    return result.margin / scale


def _blank(width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(width, height))
    return figure, figure.subplots()


def _shade(margin: Any) -> Any:
    """Depth of colour in [-1, 1]: the root makes small margins visible; a missing one is -1."""
    clipped = np.clip(np.nan_to_num(margin, nan=-1.0), -1.0, 1.0)
    return np.sign(clipped) * np.sqrt(np.abs(clipped))


def _lines(look: Look) -> list[tuple[str, str]]:
    """Line styles, each with a colour of its own."""
    colours = (look.first, look.second, look.met, look.muted)
    return list(zip(("-", "--", "-.", ":"), colours, strict=True))


def _pale(colour: str, look: Look) -> Any:
    """A fifth of the colour on the paper."""
    from matplotlib.colors import to_rgb

    return tuple(0.2 * np.array(to_rgb(colour)) + 0.8 * np.array(to_rgb(look.paper)))


def _ticks(every: float) -> Any:
    from matplotlib.ticker import MultipleLocator

    return MultipleLocator(every)


def _mark_crossover(upper: Any, lower: Any, response: Response, look: Look) -> None:
    """Draws GBW on the gain and the phase margin on the phase, where the gain crosses 0 dB."""
    if response.crossover is None or response.phase_margin is None:
        return
    gbw, margin = response.crossover, response.phase_margin
    for axes in (upper, lower):
        axes.axvline(gbw, color=look.met, linewidth=1.0, linestyle=":")
    upper.plot([gbw], [0], "D", color=look.met)
    upper.annotate(f"GBW {format_quantity(gbw, 3)} Hz", (gbw, 0), (-6, -14), ha="right",
                   textcoords="offset points", color=look.ink)  # fmt: skip
    arrow = {"arrowstyle": "<->", "color": look.met, "shrinkA": 0, "shrinkB": 0}
    lower.annotate("", (gbw, margin - 180), (gbw, -180), arrowprops=arrow)
    lower.annotate(f"PM {margin:.1f}°", (gbw, -180 + margin / 2), (-6, 0), ha="right", va="center",
                   textcoords="offset points", color=look.ink)  # fmt: skip


def _waveform(record: SessionRecord, analysis: str, what: str, least: int = 2) -> Waveform:
    """The best turn's first vectors of an analysis, with ``least`` points.

    Raises:
        InputError: There are none; ``what`` names them.
    """
    for waveform in record.waveforms:
        if waveform.analysis == analysis and len(waveform.x) >= least:
            return waveform
    raise InputError(f"session {record.id} holds no {what} to draw.")


def _voltages(waveform: Waveform) -> list[str]:
    """Nodes of the testbench itself that move: no currents, no circuit insides, no supply."""
    names = [n for n in waveform.y if n != waveform.x_name and not set("#@.") & set(n)]
    moving = [n for n in names if np.ptp(np.real(np.array(waveform.y[n]))) > 1e-3]
    return moving or names


def engineering(axis: Any, values: np.ndarray) -> None:
    """SPICE notation on the ticks; a log scale where the values span over 30 times."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if values.min() > 0 and values.max() / values.min() > 30:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_minor_formatter(NullFormatter())
        if values.max() / values.min() < 1e4:
            axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _position: format_quantity(value, 3)))


def _label(metric: Metric) -> str:
    return f"{metric.name} ({metric.unit})" if metric.unit else metric.name


def _percent(value: float) -> str:
    if math.isnan(value):
        return "none"
    if abs(value) >= 9.995:
        return ">+999" if value > 0 else "<−999"
    return f"{100 * value:+.0f}".replace("-", "−") if abs(value) >= 0.005 else (
        "+0" if value >= 0 else "−0"
    )  # fmt: skip


def _thinned(count: int) -> list[int]:
    return list(range(0, count, max(1, math.ceil(count / 20))))
