"""Measures of transients (``.tran``).

Step measures need the node that is driven (``input``) to find the edges: an edge is where the input
passes the middle of its range. The output's start level is taken at the edge, its end level just
before the next edge or at the end of the record, so let the output settle in between.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from acs_assistant.sim.measures.registry import measure
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
    for i, (start, direction) in enumerate(edges):
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


@measure(unit="V/s", analysis="tran")
def slew_rate_rise(run: Run, node: str, input: str, plot: str = "") -> float:
    """10-90 % slope of the output after the first rising edge of the input, V/s."""
    return _slope(run, node, input, "rise", plot)


@measure(unit="V/s", analysis="tran")
def slew_rate_fall(run: Run, node: str, input: str, plot: str = "") -> float:
    """10-90 % slope of the output after the first falling edge of the input, V/s, positive."""
    return _slope(run, node, input, "fall", plot)


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


@measure(unit="%", analysis="tran")
def overshoot(run: Run, node: str, input: str, plot: str = "") -> float:
    """How far the output passes its final value, in percent of the step; the larger edge."""
    worst = 0.0
    for edge in ("rise", "fall"):
        _, rise = _step(run, node, input, edge, plot)  # type: ignore[arg-type]
        worst = max(worst, float(rise.max() / rise[-1] - 1.0))
    return 100.0 * worst


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


@measure(unit="%", analysis="tran")
def thd(run: Run, node: str, frequency: float, harmonics: float = 9.0, plot: str = "") -> float:
    """Total harmonic distortion, percent, over the last whole period of the record.

    The root of the sum of squares of harmonics 2 to ``harmonics`` over the fundamental. The record
    is resampled on 1024 points of that period; keep the time step below 1/100 of the period.
    """
    tran = run.plot("tran", plot)
    t, y = tran.x, tran[node]
    period = 1.0 / frequency
    if t[-1] - t[0] < period:
        raise MeasureError("the record is shorter than one period")
    times = t[-1] - period + np.arange(1024) * (period / 1024)
    spectrum = np.abs(np.fft.rfft(np.interp(times, t, y)))
    if spectrum[1] == 0:
        raise MeasureError("there is no fundamental")
    return float(100 * np.sqrt(np.sum(spectrum[2 : int(harmonics) + 1] ** 2)) / spectrum[1])
