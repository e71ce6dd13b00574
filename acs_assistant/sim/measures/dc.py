"""Measures of operating points (``.op``) and sweeps (``.dc``), and of the netlist itself."""

from __future__ import annotations

import numpy as np

from acs_assistant.sim.measures.registry import measure
from acs_assistant.sim.vectors import MeasureError, Run, Vector, at, crossing


def _op(run: Run, node: str, plot: str) -> float:
    return float(np.real(run.plot("op", plot)[node][0]))


@measure(unit="V", analysis="op")
def op_voltage(run: Run, node: str, plot: str = "") -> float:
    """Voltage of a node ("out") or between two ("outp,outn") at the operating point."""
    return _op(run, node, plot)


@measure(unit="V", analysis="op")
def offset(run: Run, node: str, reference: str = "", value: float = 0.0, plot: str = "") -> float:
    """Magnitude of v(node) - v(reference) - value at the operating point, volts.

    In a unity-gain copy with the input at ``reference`` this is the systematic input offset.
    """
    base = _op(run, reference, plot) if reference else 0.0
    return abs(_op(run, node, plot) - base - value)


@measure(unit="A", analysis="op")
def supply_current(run: Run, source: str, plot: str = "") -> float:
    """Current that a voltage source delivers at the operating point, amperes.

    Several sources: names separated by spaces; the currents add.
    """
    op = run.plot("op", plot)
    return float(sum(-np.real(op.current(name)[0]) for name in source.split()))


@measure(unit="W", analysis="op")
def power(run: Run, source: str, node: str = "", plot: str = "") -> float:
    """Power that voltage sources deliver at the operating point, watts.

    ``source`` names one or several (separated by spaces); ``node`` their positive nodes in the same
    order, needed when a source's node does not carry the source's name ("vdd" drives node "vdd").
    """
    op = run.plot("op", plot)
    sources = source.split()
    nodes = node.split() or sources
    if len(nodes) != len(sources):
        raise MeasureError("power needs one node for each source")
    pairs = zip(sources, nodes, strict=True)
    return float(sum(np.real(-op.current(s)[0] * op[n][0]) for s, n in pairs))


@measure(unit="V", analysis="op")
def saturation_margin(run: Run, device: str = "") -> float:
    """The smallest Vds - Vdsat over the circuit's transistors (or of those named), volts.

    ``device``: names separated by spaces; empty means all.
    """
    wanted = {name.lower() for name in device.split()}
    margins = [d.vds - d.vdsat for d in run.devices if not wanted or d.name.lower() in wanted]
    if not margins:
        raise MeasureError("no such transistor")
    return min(margins)


@measure(unit="m2", analysis="")
def area(run: Run) -> float:
    """Sum of W·L·m over transistors plus the area of MIM capacitors and resistors, square metres.

    Ideal capacitors count with 2 fF/µm². Wiring, wells and spacing are not in it.
    """
    return run.area


@measure(unit="", analysis="")
def meas(run: Run, name: str) -> float:
    """The result of the testbench's own ``.meas`` line of that name."""
    try:
        return run.meas[name.lower()]
    except KeyError:
        raise MeasureError(f".meas {name} failed or is not in the testbench") from None


@measure(unit="V", analysis="dc")
def output_swing(
    run: Run, node: str, input: str = "", fraction: float = 0.5, plot: str = ""
) -> float:
    """Range of v(node) over which its slope stays above ``fraction`` of the largest, volts.

    For a sweep of the input; ``input`` divides (a node), else the swept source is the input.
    """
    sweep = run.plot("dc", plot)
    y = np.real(sweep[node])
    x = np.real(sweep[input]) if input else sweep.x
    slope = np.abs(np.gradient(y, x))
    peak = int(slope.argmax())
    low = high = peak
    while low > 0 and slope[low - 1] >= fraction * slope[peak]:
        low -= 1
    while high < len(slope) - 1 and slope[high + 1] >= fraction * slope[peak]:
        high += 1
    return float(abs(y[high] - y[low]))


@measure(unit="V", analysis="dc")
def input_range(
    run: Run, node: str, input: str = "", tolerance: float = 0.01, plot: str = ""
) -> float:
    """Input common-mode range: width of the inputs over which |v(node) - v(input)| stays small.

    For a unity-gain copy whose input is swept: the longest piece of the sweep with an error below
    ``tolerance`` volts. ``input`` is the swept node; empty means the swept source itself.
    """
    sweep = run.plot("dc", plot)
    x = np.real(sweep[input]) if input else sweep.x
    good = np.abs(np.real(sweep[node]) - x) <= tolerance
    best, start = 0.0, None
    for i, ok in enumerate(good):
        if ok:
            start = i if start is None else start
            best = max(best, float(abs(x[i] - x[start])))
        else:
            start = None
    if not good.any():
        raise MeasureError("the output follows the input nowhere")
    return best


def _swept(run: Run, node: str, low: float, high: float, plot: str) -> tuple[Vector, Vector]:
    sweep = run.plot("dc", plot)
    x, y = sweep.x, np.real(sweep[node])
    if low == high:
        return x, y
    inside = (x > low) & (x < high)
    ends = [at(x, y, low), at(x, y, high)]
    return (
        np.concatenate(([low], x[inside], [high])),
        np.concatenate((ends[:1], y[inside], ends[1:])),
    )


@measure(unit="V/V", analysis="dc")
def line_regulation(
    run: Run, node: str, low: float = 0.0, high: float = 0.0, plot: str = ""
) -> float:
    """|Δv(node)| / |Δ supply| between two supply voltages of a sweep of the supply, V/V."""
    x, y = _swept(run, node, low, high, plot)
    return float(abs((y[-1] - y[0]) / (x[-1] - x[0])))


@measure(unit="V/A", analysis="dc")
def load_regulation(
    run: Run, node: str, low: float = 0.0, high: float = 0.0, plot: str = ""
) -> float:
    """|Δv(node)| / |Δ load current| between two currents of a sweep of the load, V/A."""
    x, y = _swept(run, node, low, high, plot)
    return float(abs((y[-1] - y[0]) / (x[-1] - x[0])))


@measure(unit="V", analysis="dc")
def dropout(
    run: Run, node: str, nominal: float = 0.0, fraction: float = 0.98, plot: str = ""
) -> float:
    """Supply minus output where the output has fallen to ``fraction`` of nominal, volts.

    For a sweep of the supply. ``nominal`` 0 means the output at the highest supply.
    """
    sweep = run.plot("dc", plot)
    order = np.argsort(sweep.x)
    x, y = sweep.x[order], np.real(sweep[node])[order]
    level = fraction * (nominal or float(y[-1]))
    return crossing(x, y, level, "rise") - level


@measure(unit="1/K", analysis="dc")
def temperature_coefficient(run: Run, node: str, plot: str = "") -> float:
    """Box method: (max - min) / (mean · temperature span) over a ``.dc temp`` sweep, 1/K.

    Times 1e6 it is ppm/K.
    """
    sweep = run.plot("dc", plot)
    y = np.real(sweep[node])
    return float((y.max() - y.min()) / (abs(y.mean()) * (sweep.x.max() - sweep.x.min())))
