"""Measures of transients (``.tran``).

Step measures need the node that is driven (``input``) to find the edges: an edge is where the input
passes the middle of its range. The output's start level is taken at the edge, its end level just
before the next edge or at the end of the record, so let the output settle in between.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from acs_assistant.sim.measures.registry import measure
from acs_assistant.sim.measures.scripting import NONE, Script, vector
from acs_assistant.sim.vectors import MeasureError, Run, Vector, crossing

Direction = Literal["rise", "fall"]


def _edges(t: Vector, drive: Vector) -> list[tuple[float, Direction]]:
    middle = (float(drive.max()) + float(drive.min())) / 2
    above = drive > middle
    edges: list[tuple[float, Direction]] = []
    for k in np.flatnonzero(above[1:] != above[:-1]):
        part = (middle - drive[k]) / (drive[k + 1] - drive[k])
        edges.append((float(t[k] + part * (t[k + 1] - t[k])), "rise" if above[k + 1] else "fall"))
    return edges


def _step(run: Run, node: str, input: str, edge: Direction, plot: str) -> tuple[Vector, Vector]:
    """Time after the first edge of that direction, and the output from there to the next edge.

    The output is turned over for a fall and scaled so that the step goes from 0 to its height.
    """
    tran = run.plot("tran", plot)
    t, out, drive = tran.x, tran[node], tran[input]
    edges = _edges(t, drive)
    for i, (start, direction) in enumerate(edges):  # noqa: B007
        if direction == edge:
            end = edges[i + 1][0] if i + 1 < len(edges) else float(t[-1])
            break
    else:
        raise MeasureError(f"the input '{input}' has no {edge}ing edge")
    inside = (t > start) & (t < end)
    time = np.concatenate(([start], t[inside], [end]))
    wave = np.concatenate(([np.interp(start, t, out)], out[inside], [np.interp(end, t, out)]))
    rise = (wave - wave[0]) * (1.0 if edge == "rise" else -1.0)
    swing = float(drive.max() - drive.min())
    if rise[-1] < 0.05 * swing:
        raise MeasureError("the output does not follow the step")
    return time - start, rise


class _StepScript:
    """The same step in ngspice's language: names of vectors that hold its start, end and height."""

    def __init__(self, script: Script, node: str, input: str, edge: str) -> None:
        self.script = script
        out, drive = script.let("out", vector(node)), script.let("in", vector(input))
        middle = script.let("mid", f"(vecmax({drive}) + vecmin({drive})) / 2")
        place = script.crossing(drive, middle, edge)
        self.first = place[0]
        self.start = script.let("t", script.between("time", place))
        low = script.let("low", script.between(out, place))
        last = script.let("m", "length(time) - 1")
        self.end, high = script.let("e", f"time[{last}]"), script.let("high", f"{out}[{last}]")
        a, b, numbers = script.pair(drive)
        passes = f"({a} gt {middle}) ne ({b} gt {middle})"
        k = script.first(f"({passes}) and ({numbers} gt {self.first})", numbers)
        script.lines.append(f"if {k} < {NONE}")
        part = script.let("p", f"({middle} - {drive}[{k}]) / ({drive}[{k}+1] - {drive}[{k}])")
        script.lines += [
            f"let {self.end} = {script.between('time', (k, part))}",
            f"let {high} = {script.between(out, (k, part))}",
            "end",
        ]
        sign = "-1" if edge == "fall" else "1"
        self.rise = script.let("r", f"({out} - {low}) * ({sign})")
        self.height = script.let("h", f"({high} - {low}) * ({sign})")
        self.inside = script.let("w", f"(time gt {self.start}) and (time lt {self.end})")

    def passes(self, fraction: float) -> str:
        """Time at which the output passes a fraction of the step."""
        level = self.script.let("l", f"{fraction!r} * {self.height}")
        found = self.script.crossing(self.rise, level, "rise", start=self.first)
        return self.script.let("x", self.script.between("time", found))


def _slope_script(script: Script, node: str, input: str, edge: str) -> str:
    step = _StepScript(script, node, input, edge)
    low, high = step.passes(0.1), step.passes(0.9)
    return script.let("s", f"0.8 * {step.height} / ({high} - {low})")


def _settling_script(script: Script, node: str, input: str, tolerance: float, edge: str) -> str:
    step = _StepScript(script, node, input, edge)
    band = script.let("b", f"{tolerance!r} * {step.height}")
    rise = step.rise
    outside = f"(abs({rise} - {step.height}) gt {band}) and {step.inside}"
    last = script.let("last", f"vecmax(vector(length(time)) * ({outside}))")
    side = script.let("d", f"{rise}[{last}] gt {step.height}")
    level = script.let("l", f"{step.height} + {band} * (2 * {side} - 1)")
    part = script.let("p", f"({level} - {rise}[{last}]) / ({rise}[{last}+1] - {rise}[{last}])")
    where = f"time[{last}] + {part} * (time[{last}+1] - time[{last}])"
    return script.let("s", f"{where} - {step.start}")


def _slope(run: Run, node: str, input: str, edge: Direction, plot: str) -> float:
    time, rise = _step(run, node, input, edge, plot)
    low = crossing(time, rise, 0.1 * rise[-1], "rise")
    high = crossing(time, rise, 0.9 * rise[-1], "rise")
    return float(0.8 * rise[-1] / (high - low))


@measure(unit="V/s", analysis="tran")
def slew_rate(run: Run, node: str, input: str, plot: str = "") -> float:
    """Slope of the output between 10 % and 90 % of the step; the smaller of both edges, V/s.

    Pitfall: with a step that is too small the amplifier never slews and this is its bandwidth.
    """
    return min(_slope(run, node, input, "rise", plot), _slope(run, node, input, "fall", plot))


@slew_rate.script
def _(name: str, node: str, input: str, plot: str) -> list[str]:
    script = Script(name, plot or "tran1")
    slopes = [_slope_script(script, node, input, edge) for edge in ("rise", "fall")]
    return script.result(f"min({slopes[0]}, {slopes[1]})")


@measure(unit="V/s", analysis="tran")
def slew_rate_rise(run: Run, node: str, input: str, plot: str = "") -> float:
    """10-90 % slope of the output after the first rising edge of the input, V/s."""
    return _slope(run, node, input, "rise", plot)


@slew_rate_rise.script
def _(name: str, node: str, input: str, plot: str) -> list[str]:
    script = Script(name, plot or "tran1")
    return script.result(_slope_script(script, node, input, "rise"))


@measure(unit="V/s", analysis="tran")
def slew_rate_fall(run: Run, node: str, input: str, plot: str = "") -> float:
    """10-90 % slope of the output after the first falling edge of the input, V/s, positive."""
    return _slope(run, node, input, "fall", plot)


@slew_rate_fall.script
def _(name: str, node: str, input: str, plot: str) -> list[str]:
    script = Script(name, plot or "tran1")
    return script.result(_slope_script(script, node, input, "fall"))


def _settling(run: Run, node: str, input: str, tolerance: float, edge: Direction, p: str) -> float:
    time, rise = _step(run, node, input, edge, p)
    outside = np.abs(rise - rise[-1]) > tolerance * rise[-1]
    last = int(np.flatnonzero(outside)[-1])
    level = rise[-1] * (1 + tolerance if rise[last] > rise[-1] else 1 - tolerance)
    part = (level - rise[last]) / (rise[last + 1] - rise[last])
    return float(time[last] + part * (time[last + 1] - time[last]))


@measure(unit="s", analysis="tran")
def settling_time(
    run: Run, node: str, input: str, tolerance: float = 0.01, edge: str = "both", plot: str = ""
) -> float:
    """From the input's edge until the output stays within ``tolerance`` of its final step.

    ``tolerance`` is a fraction of the step (0.01 is 1 %). ``edge`` is "rise", "fall" or "both"
    (the longer). Pitfall: an output that still moves at the end of the record looks settled.
    """
    if edge == "rise" or edge == "fall":
        return _settling(run, node, input, tolerance, edge, plot)  # type: ignore[arg-type]
    return max(
        _settling(run, node, input, tolerance, "rise", plot),
        _settling(run, node, input, tolerance, "fall", plot),
    )


@settling_time.script
def _(name: str, node: str, input: str, tolerance: float, edge: str, plot: str) -> list[str]:
    script = Script(name, plot or "tran1")
    edges = (edge,) if edge in ("rise", "fall") else ("rise", "fall")
    times = [_settling_script(script, node, input, tolerance, one) for one in edges]
    return script.result(times[0] if len(times) == 1 else f"max({times[0]}, {times[1]})")


@measure(unit="%", analysis="tran")
def overshoot(run: Run, node: str, input: str, plot: str = "") -> float:
    """How far the output passes its final value, in percent of the step; the larger edge."""
    worst = 0.0
    for edge in ("rise", "fall"):
        _, rise = _step(run, node, input, edge, plot)
        worst = max(worst, float(rise.max() / rise[-1] - 1.0))
    return 100.0 * worst


@overshoot.script
def _(name: str, node: str, input: str, plot: str) -> list[str]:
    script = Script(name, plot or "tran1")
    worst = script.let("w", "0")
    for edge in ("rise", "fall"):
        step = _StepScript(script, node, input, edge)
        peak = f"vecmax({step.rise} * {step.inside}) / {step.height} - 1"
        script.lines.append(f"let {worst} = max({worst}, {peak})")
    return script.result(f"100 * {worst}")


@measure(unit="s", analysis="tran")
def propagation_delay(run: Run, node: str, input: str, plot: str = "") -> float:
    """From the input's passing the middle of its range to the output's doing so; the longer edge.

    Works for inverting and non-inverting outputs.
    """
    tran = run.plot("tran", plot)
    t, out = tran.x, tran[node]
    outputs = _edges(t, out)
    inputs = _edges(t, tran[input])
    delays = []
    for start, direction in inputs:
        later = [time for time, _ in outputs if time > start]
        if later:
            delays.append((direction, later[0] - start))
    if not delays:
        raise MeasureError("the output does not answer the input")
    firsts = dict(reversed(delays))
    return max(firsts.values())


@propagation_delay.script
def _(name: str, node: str, input: str, plot: str) -> list[str]:
    script = Script(name, plot or "tran1")
    out, drive = script.let("out", vector(node)), script.let("in", vector(input))
    levels = [script.let("mid", f"(vecmax({v}) + vecmin({v})) / 2") for v in (out, drive)]
    worst = script.let("w", "0")
    for edge in ("rise", "fall"):
        place = script.crossing(drive, levels[1], edge)
        script.lines.append(f"if {place[0]} < {NONE}")
        start = script.let("t", script.between("time", place))
        answer = script.crossing(out, levels[0], "any", start=place[0])
        script.lines.append(f"if {answer[0]} < {NONE}")
        delay = script.let("d", f"{script.between('time', answer)} - {start}")
        script.lines += [f"let {worst} = max({worst}, {delay})", "end", "end"]
    return script.result(worst)


@measure(unit="Hz", analysis="tran")
def oscillation_frequency(run: Run, node: str, start: float = 0.0, plot: str = "") -> float:
    """Mean frequency of the rising passes of the middle level after ``start`` seconds.

    Give ``start`` to leave out the start-up. Needs two full periods.
    """
    tran = run.plot("tran", plot)
    t, y = tran.x, tran[node]
    keep = t >= start
    rises = [time for time, direction in _edges(t[keep], y[keep]) if direction == "rise"]
    if len(rises) < 3:
        raise MeasureError("fewer than two periods: no oscillation")
    return (len(rises) - 1) / (rises[-1] - rises[0])


@oscillation_frequency.script
def _(name: str, node: str, start: float, plot: str) -> list[str]:
    script = Script(name, plot or "tran1")
    y = script.let("y", vector(node))
    kept = script.let("k", f"time ge {start!r}")
    high = script.let("hi", f"vecmax({y} * {kept} + vecmin({y}) * (1 - {kept}))")
    low = script.let("lo", f"vecmin({y} * {kept} + vecmax({y}) * (1 - {kept}))")
    level = script.let("l", f"({high} + {low}) / 2")
    a, b, numbers = script.pair(y)
    mask = script.let("m", f"({a} le {level}) and ({b} gt {level})")
    begin = script.first(f"time gt {start!r}", "vector(length(time))") if start else "0"
    mask = script.let("m", f"{mask} and ({numbers} ge {begin})")
    times = []
    for k in (script.first(mask, numbers), script.let("k", f"vecmax({numbers} * {mask})")):
        part = script.let("p", f"({level} - {y}[{k}]) / ({y}[{k}+1] - {y}[{k}])")
        times.append(script.let("t", script.between("time", (k, part))))
    periods = script.let("c", f"mean({mask}) * length({mask}) - 1")
    return script.result(f"{periods} / ({times[1]} - {times[0]})")


@measure(unit="%", analysis="tran")
def thd(run: Run, node: str, frequency: float, harmonics: float = 9.0, plot: str = "") -> float:
    """Total harmonic distortion, percent, over the last whole period of the record.

    The root of the sum of squares of harmonics 2 to ``harmonics`` over the fundamental, by the
    trapezoidal rule; keep the time step below 1/1000 of the period for 0.01 %.
    """
    tran = run.plot("tran", plot)
    t, y = tran.x, tran[node]
    period = 1.0 / frequency
    start = t[-1] - period
    if start < t[0] - 1e-9 * period:
        raise MeasureError("the record is shorter than one period")
    keep = t > start
    time = np.concatenate(([start], t[keep]))
    wave = np.concatenate(([np.interp(start, t, y)], y[keep]))
    orders = np.arange(1, int(harmonics) + 1)[:, None]
    turning = wave * np.exp(-2j * np.pi * frequency * orders * time)
    spectrum = np.abs(np.sum((turning[:, 1:] + turning[:, :-1]) * np.diff(time) / 2, axis=1))
    if spectrum[0] == 0:
        raise MeasureError("there is no fundamental")
    return float(100 * np.sqrt(np.sum(spectrum[1:] ** 2)) / spectrum[0])


@thd.script
def _(name: str, node: str, frequency: float, harmonics: float, plot: str) -> list[str]:
    script = Script(name, plot or "tran1")
    y = script.let("y", vector(node))
    begin = script.let("e", f"time[length(time) - 1] - {1.0 / frequency!r}")
    first, last, _ = script.pair("time")
    # The first interval counts only as far as it lies inside the period.
    steps = script.let("d", f"max({last} - max({first}, {begin}), 0)")
    powers = []
    for order in range(1, int(harmonics) + 1):
        angle = f"{2 * math.pi * order * frequency!r} * time"
        total = []
        for wave in ("cos", "sin"):
            a, b, _ = script.pair(script.let("g", f"{y} * {wave}({angle})"))
            total.append(script.let("s", f"mean(({a} + {b}) * {steps})"))
        powers.append(script.let("q", f"{total[0]}^2 + {total[1]}^2"))
    return script.result(f"100 * sqrt(({' + '.join(powers[1:])}) / {powers[0]})")
