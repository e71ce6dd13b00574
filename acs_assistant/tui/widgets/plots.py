"""What the plots of a session show: best score, margins, Bode, transient, noise, trade-offs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from acs_assistant.domain import Circuit, Waveform
from acs_assistant.report.figures import FIGURES, pareto, undominated
from acs_assistant.report.record import SessionRecord
from acs_assistant.tui.state import SessionState, value_of
from acs_assistant.tui.text import metric_unit, quantity
from acs_assistant.tui.widgets.plot import (
    Chart,
    Curve,
    Decades,
    Drawing,
    Engineering,
    Linear,
    Whole,
)
from acs_assistant.units import format_quantity

_OVER = ("primary", "warning")
_WORD = {"primary": "in front", "warning": "behind"}


def score_chart(state: SessionState) -> Chart | None:
    """Best score so far, and each simulation's own, against simulations."""
    curve = state.best_so_far()
    if not curve:
        return None
    own = [t.evaluation.score.value for t in state.in_order() if t.evaluation is not None]
    x = [float(n) for n in range(1, len(curve) + 1)]
    best = state.best
    caption = f"best {curve[-1]:.3f}"
    if best is not None:
        caption += f" at turn {best.index}"
    caption += " · ● each simulation"
    lines = [Curve(tuple(x), tuple(own), "accent", points=True)]
    if len(x) > 1:
        lines.insert(0, Curve(*_steps(x, curve), "success"))
    low = max(0.0, min(own) - 0.05)
    return Chart("Best score", tuple(lines), caption, Whole(), Linear(),
                 xlimits=(0.5, len(x) + 0.5), ylimits=(low, 1.02))  # fmt: skip


def scores_chart(runs: Sequence[tuple[str, SessionState]]) -> Chart | None:
    """Best score so far of two runs over each other, the first one in front."""
    curves, words, longest = [], [], 0
    for (name, state), style in zip(runs, _OVER, strict=False):
        curve = state.best_so_far()
        if curve:
            x = [float(n) for n in range(1, len(curve) + 1)]
            curves.append(Curve(*_steps(x, curve), style, points=len(x) == 1))
            words.append(f"{name} {_WORD[style]}: {curve[-1]:.3f}")
            longest = max(longest, len(x))
    if not curves:
        return None
    low = max(0.0, min(min(curve.y) for curve in curves) - 0.05)
    return Chart("Best score", tuple(curves[::-1]), "   ".join(words), Whole(), Linear(),
                 xlimits=(0.5, longest + 0.5), ylimits=(low, 1.02))  # fmt: skip


def _steps(x: Sequence[float], y: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    xs, ys = [x[0]], [y[0]]
    for n in range(1, len(x)):
        xs += [x[n], x[n]]
        ys += [y[n - 1], y[n]]
    return tuple(xs), tuple(ys)


_PALETTE = ("primary", "accent", "success", "error", "secondary", "foreground")


def margins_chart(state: SessionState) -> Chart | None:
    """Margin over target of every spec along the path, in percent, clipped to ±100."""
    from acs_assistant.scoring import signed_margin

    turns = state.measured()
    if not turns:
        return None
    curves, names = [], []
    for n, spec in enumerate(state.task.specs):
        points = [
            (
                float(i),
                max(-100.0, min(100.0, 100 * signed_margin(spec, v) / abs(spec.target or 1))),
            )
            for i, turn in enumerate(turns, start=1)
            if (v := value_of(turn.evaluation, spec.metric)) is not None
        ]
        if points:
            style = _PALETTE[n % len(_PALETTE)]
            xs, ys = zip(*points, strict=True)
            curves.append(Curve(xs, ys, style, points=len(points) == 1))
            names.append(f"{spec.metric} {ys[-1]:+.0f}%")
    if not curves:
        return None
    return Chart("Margins %", tuple(curves), "  ".join(names), Whole(), Linear())


def bode_chart(state: SessionState) -> Chart | None:
    """Gain in dB over phase in degrees, unity gain marked; the turn before drawn behind."""
    viewed = state.viewed
    if viewed is None:
        return None
    circuit = state.task.circuit
    turns = [(f"turn {viewed.index}", state.waveforms.get(viewed.id, ()))]
    earlier = state.before(viewed)
    if earlier is not None:
        turns.append((f"turn {earlier.index}", state.waveforms.get(earlier.id, ())))
    return responses_chart(circuit, turns)


def responses_chart(
    circuit: Circuit, turns: Sequence[tuple[str, Sequence[Waveform]]]
) -> Chart | None:
    """Frequency responses over each other, the first one in front and in words.

    Args:
        turns: A name and the vectors of each; None when the first has no ac analysis.
    """
    drawn = [(name, found) for name, waves in turns if (found := _response(circuit, waves))]
    if not drawn or drawn[0][0] != turns[0][0]:
        return None
    gains: list[Curve] = []
    phases: list[Curve] = []
    words: list[str] = []
    marks: tuple[float, ...] = ()
    for (name, (f, h)), style in zip(drawn, _OVER, strict=False):
        x = tuple(float(v) for v in np.log10(f))
        gain = 20 * np.log10(np.maximum(np.abs(h), 1e-12))
        phase = np.degrees(np.unwrap(np.angle(h)))
        phase -= 360 * round(float(phase[0]) / 360)
        text, mark = _crossing(x, gain, phase, short=len(drawn) > 1)
        if not gains:
            marks = mark
        words.append(f"{name} {_WORD[style]}: {text}" if len(drawn) > 1 else text)
        gains.append(Curve(x, tuple(map(float, gain)), style))
        phases.append(Curve(x, tuple(map(float, phase)), style))
    if len(drawn) == 1:
        phases = [replace(phases[0], style="accent")]
    # what is drawn last lies on top
    return Chart("Bode", tuple(gains[::-1]), "   ".join(words), Decades(), Linear(),
                 lower=tuple(phases[::-1]), marks=marks)  # fmt: skip


def _crossing(
    x: tuple[float, ...], gain: np.ndarray, phase: np.ndarray, *, short: bool
) -> tuple[str, tuple[float, ...]]:
    """Gain, unity-gain frequency and phase margin in words, and where to mark them."""
    text = f"{gain[0]:.1f} dB" if short else f"gain {gain[0]:.1f} dB"
    falling = np.nonzero((gain[:-1] >= 0) & (gain[1:] < 0))[0]
    if not len(falling):
        return text, ()
    k = int(falling[0])
    part = float(gain[k] / (gain[k] - gain[k + 1]))
    unity = x[k] + part * (x[k + 1] - x[k])
    lag = float(phase[k] + part * (phase[k + 1] - phase[k])) - float(phase[0])
    names = ("GBW", "PM") if short else ("unity gain", "phase margin")
    text += f", {names[0]} {format_quantity(10**unity, 3)} Hz, {names[1]} {180 + lag:.1f}°"
    return text, (unity,)


def vectors_chart(
    circuit: Circuit, turns: Sequence[tuple[str, Sequence[Waveform]]], analysis: str
) -> Chart | None:
    """The output of a transient, a noise or a dc analysis of several turns over each other."""
    curves, words = [], []
    log = analysis == "noise"
    for (name, waves), style in zip(turns, _OVER, strict=False):
        wave = next((w for w in waves if w.analysis == analysis and len(w.x) > 1), None)
        if wave is None or not wave.y:
            continue
        vectors = {vector.lower(): y for vector, y in wave.y.items()}
        wanted = [v for node in _nodes(circuit) for v in (node, f"v({node})") if v in vectors]
        vector = (wanted or list(vectors))[0]
        x = np.array(wave.x, float)
        y = np.array(vectors[vector])
        y = np.log10(np.maximum(np.abs(y), 1e-30)) if log else np.real(y)
        if log:
            x, y = np.log10(x[x > 0]), y[x > 0]
        words.append(f"{name} {_WORD[style]}: {vector}")
        curves.append(Curve(tuple(map(float, x)), tuple(map(float, y)), style))
    if not curves:
        return None
    axes = (Decades(), Decades()) if log else (Engineering(), Engineering())
    return Chart(analysis, tuple(curves[::-1]), "   ".join(words), *axes)


def transient_chart(state: SessionState) -> Chart | None:
    return _waves(state, "tran", "Transient", log_y=False)


def noise_chart(state: SessionState) -> Chart | None:
    return _waves(state, "noise", "Noise", log_y=True)


def dc_chart(state: SessionState) -> Chart | None:
    return _waves(state, "dc", "Dc transfer", log_y=False)


def _axes(state: SessionState) -> tuple[str, str] | None:
    """Metrics of the trade-off plot, across and up."""
    if state.axes is None and len(state.task.specs) > 1:
        return state.task.specs[0].metric, state.task.specs[1].metric
    return state.axes


def trade_chart(state: SessionState) -> Chart | None:
    """Two metrics over every simulation of the session, those that none beats joined."""
    axes = _axes(state)
    if axes is None:
        return None
    one, two = axes
    points = [
        (a, b)
        for turn in state.in_order()
        if (a := value_of(turn.evaluation, one)) is not None
        and (b := value_of(turn.evaluation, two)) is not None
    ]
    if not points:
        return None
    circuit = state.task.circuit
    xs, ys = zip(*points, strict=True)
    caption = f"{one} {metric_unit(circuit, one)} across, {two} {metric_unit(circuit, two)} up"
    last = f"; newest {quantity(xs[-1], '')} and {quantity(ys[-1], 'x')}"
    table = np.array(points, float)
    front = undominated(table, (circuit.metric(one), circuit.metric(two)))
    front = front[np.argsort(table[front, 0])]
    curves = [
        Curve(xs, ys, "secondary", points=True),
        Curve(xs[-1:], ys[-1:], "accent", points=True),
    ]
    if len(front) > 1:
        line = Curve(tuple(table[front, 0].tolist()), tuple(table[front, 1].tolist()), "success")
        curves.insert(0, line)
        last += "; line: the Pareto front"
    return Chart(f"{two} over {one}", tuple(curves), caption + last, Engineering(), Engineering())


CHARTS = {
    "bode": (bode_chart, "Bode", "No ac analysis was measured yet in this turn."),
    "score": (score_chart, "Best score", "The best score comes with the first simulation."),
    "margins": (margins_chart, "Margins %", "Margins come with the first simulation."),
    "tran": (transient_chart, "Transient", "No transient analysis was measured in this turn."),
    "noise": (noise_chart, "Noise", "No noise analysis was measured in this turn."),
    "dc": (dc_chart, "Dc transfer", "No dc sweep was measured in this turn."),
    "trade": (trade_chart, "Trade-off", "A trade-off needs two specs and a simulation."),
}
"""Kind: what makes the chart, its title, and the sentence for when there is none."""

FIGURE_OF = {"bode": "bode", "score": "progress", "margins": "margins", "tran": "step",
             "noise": "noise", "dc": "transfer", "trade": "tradeoff"}  # fmt: skip
"""The figure of ``report.figures`` that belongs to each plot."""


def drawing_of(state: SessionState, plot: str) -> Drawing:
    """Makes the plot's figure, the one that is exported, from what the session holds now."""
    name, axes = FIGURE_OF[plot], _axes(state)
    viewed = state.viewed
    before = state.before(viewed) if viewed is not None else None
    record = SessionRecord(
        id="",
        created="",
        task=state.task,
        budget=state.budget,
        turns=tuple(state.measured() if plot == "margins" else state.in_order()),
        best=viewed.id if viewed is not None else None,
        waveforms=state.waveforms.get(viewed.id, ()) if viewed is not None else (),
        behind=state.waveforms.get(before.id, ()) if before is not None else (),
    )
    if plot == "trade" and axes is not None:
        return lambda look: pareto(record, *axes, look)
    return lambda look: FIGURES[name](record, look)


OF_ONE_TURN = frozenset({"bode", "tran", "noise", "dc"})


def _waveforms(state: SessionState, analysis: str) -> list[Waveform]:
    turn = state.viewed
    if turn is None:
        return []
    kept = state.waveforms.get(turn.id, ())
    return [w for w in kept if w.analysis == analysis and len(w.x) > 1]


def _nodes(circuit: Circuit) -> list[str]:
    """Nodes that metrics are measured at, in lower case."""
    named = (
        str(metric.arguments[key]).lower()
        for metric in circuit.metrics
        for key in ("node", "output", "out")
        if key in metric.arguments
    )
    return [*dict.fromkeys(name.removeprefix("v(").removesuffix(")") for name in named), "out"]


def _response(circuit: Circuit, waves: Sequence[Waveform]) -> tuple[np.ndarray, np.ndarray] | None:
    """The open-loop response: the node that the unity-gain frequency is measured at."""
    waves = [w for w in waves if w.analysis == "ac" and len(w.x) > 1]
    named = [
        (metric.testbench, str(value).lower())
        for metric in circuit.metrics
        if metric.measure in ("unity_gain_frequency", "phase_margin", "dc_gain", "gain")
        for key, value in metric.arguments.items()
        if key in ("node", "output", "out")
    ]
    for wave in waves:
        vectors = {name.lower(): y for name, y in wave.y.items()}
        for testbench, node in named:
            for name in (node, f"v({node})", f"v({node.removeprefix('v(').removesuffix(')')})"):
                if wave.testbench == testbench and name in vectors:
                    return np.array(wave.x, float), np.array(vectors[name], complex)
    if waves and waves[0].y:
        wave = waves[0]
        return np.array(wave.x, float), np.array(next(iter(wave.y.values())), complex)
    return None


def _waves(state: SessionState, analysis: str, title: str, *, log_y: bool) -> Chart | None:
    waves = _waveforms(state, analysis)
    if not waves:
        return None
    wave = waves[0]
    x = np.array(wave.x, float)
    if log_y:
        keep = x > 0
        x = np.log10(x[keep])
    swept = {"tran": "s", "dc": wave.x_name}.get(analysis, "")
    curves, names = [], []
    for n, (name, values) in enumerate(list(wave.y.items())[: len(_PALETTE)]):
        y = np.abs(np.array(values)) if log_y else np.real(np.array(values))
        if log_y:
            y = np.log10(np.maximum(y[keep], 1e-30))
        curves.append(
            Curve(tuple(map(float, x)), tuple(map(float, y)), _PALETTE[n % len(_PALETTE)])
        )
        names.append(name)
    if log_y:
        return Chart(title, tuple(curves), "  ".join(names) + " over Hz", Decades(), Decades())
    caption = "  ".join(names) + f" over {swept}"
    return Chart(title, tuple(curves), caption, Engineering(), Engineering())
