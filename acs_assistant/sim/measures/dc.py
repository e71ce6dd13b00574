"""Measures of operating points (``.op``) and sweeps (``.dc``), and of the netlist itself."""

from __future__ import annotations

import numpy as np

from acs_assistant.sim.measures.registry import measure
from acs_assistant.sim.measures.scripting import Script, vector
from acs_assistant.sim.vectors import MeasureError, Run, Vector, at, crossing

_SWEEP = '"v-sweep"'


def _op(run: Run, node: str, plot: str) -> float:
    return float(np.real(run.plot("op", plot)[node][0]))


@measure(unit="V", analysis="op")
def op_voltage(run: Run, node: str, plot: str = "") -> float:
    """Voltage of a node ("out") or between two ("outp,outn") at the operating point."""
    return _op(run, node, plot)


@op_voltage.script
def _(name: str, node: str, plot: str) -> list[str]:
    return Script(name, plot or "op1").result(vector(node))


@measure(unit="V", analysis="op")
def offset(run: Run, node: str, reference: str = "", value: float = 0.0, plot: str = "") -> float:
    """Magnitude of v(node) - v(reference) - value at the operating point, volts.

    In a unity-gain copy with the input at ``reference`` this is the systematic input offset.
    """
    base = _op(run, reference, plot) if reference else 0.0
    return abs(_op(run, node, plot) - base - value)


@offset.script
def _(name: str, node: str, reference: str, value: float, plot: str) -> list[str]:
    base = vector(reference) if reference else "0"
    return Script(name, plot or "op1").result(f"abs({vector(node)} - {base} - ({value!r}))")


@measure(unit="A", analysis="op")
def supply_current(run: Run, source: str, plot: str = "") -> float:
    """Current that a voltage source delivers at the operating point, amperes.

    Several sources: names separated by spaces; the currents add.
    """
    op = run.plot("op", plot)
    return float(sum(-np.real(op.current(name)[0]) for name in source.split()))


@supply_current.script
def _(name: str, source: str, plot: str) -> list[str]:
    terms = " - ".join(f"i({one.lower()})" for one in source.split())
    return Script(name, plot or "op1").result(f"0 - {terms}")


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


@power.script
def _(name: str, source: str, node: str, plot: str) -> list[str]:
    sources = source.split()
    pairs = zip(sources, node.split() or sources, strict=True)
    terms = " - ".join(f"i({one.lower()}) * {vector(net)}" for one, net in pairs)
    return Script(name, plot or "op1").result(f"0 - {terms}")


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


@saturation_margin.script
def _(name: str, devices: str) -> list[str]:
    script = Script(name, "op1")
    margins = [f"abs(@{path}[vds]) - abs(@{path}[vdsat])" for path in devices.split()]
    smallest = script.let("s", margins[0])
    for margin in margins[1:]:
        script.lines.append(f"let {smallest} = min({smallest}, {margin})")
    return script.result(smallest)


@measure(unit="m2", analysis="")
def area(run: Run) -> float:
    """Sum of W·L·m over transistors plus the area of MIM capacitors and resistors, square metres.

    Ideal capacitors count with 2 fF/µm². Wiring, wells and spacing are not in it.
    """
    return run.area


@area.script
def _(name: str, area: float) -> list[str]:
    return [f"let {name} = {area!r}"]


@measure(unit="", analysis="")
def meas(run: Run, name: str) -> float:
    """The result of the testbench's own ``.meas`` line of that name."""
    try:
        return run.meas[name.lower()]
    except KeyError:
        raise MeasureError(f".meas {name} failed or is not in the testbench") from None


@meas.script
def _(name: str) -> list[str]:
    return []


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


@output_swing.script
def _(name: str, node: str, input: str, fraction: float, plot: str) -> list[str]:
    script = Script(name, plot or "dc1")
    y = script.let("y", vector(node))
    x = script.let("x", vector(input) if input else _SWEEP)
    n = script.let("n", f"length({x}) - 1")
    slope, i = script.let("d", f"{x} * 0"), script.let("i", "0")
    left, right = script.fresh("a"), script.fresh("b")
    script.lines += [
        f"while {i} <= {n}",
        f"let {left} = max({i} - 1, 0)",
        f"let {right} = min({i} + 1, {n})",
        f"let {slope}[{i}] = abs(({y}[{right}] - {y}[{left}]) / ({x}[{right}] - {x}[{left}]))",
        f"let {i} = {i} + 1",
        "end",
    ]
    limit = script.let("l", f"{fraction!r} * vecmax({slope})")
    peak = script.let("k", "0")
    script.lines += [
        f"let {i} = 0",
        f"while {i} <= {n}",
        f"if {slope}[{i}] > {slope}[{peak}]",
        f"let {peak} = {i}",
        "end",
        f"let {i} = {i} + 1",
        "end",
    ]
    ends = []
    for step in ("- 1", "+ 1"):
        end, going = script.let("j", peak), script.let("go", "1")
        bound = f"{end} > 0" if step == "- 1" else f"{end} < {n}"
        script.lines += [
            f"while {going}",
            f"let {going} = 0",
            f"if {bound}",
            f"if {slope}[{end} {step}] >= {limit}",
            f"let {end} = {end} {step}",
            f"let {going} = 1",
            "end",
            "end",
            "end",
        ]
        ends.append(end)
    return script.result(f"abs({y}[{ends[1]}] - {y}[{ends[0]}])")


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


@input_range.script
def _(name: str, node: str, input: str, tolerance: float, plot: str) -> list[str]:
    script = Script(name, plot or "dc1")
    x = script.let("x", vector(input) if input else _SWEEP)
    good = script.let("g", f"abs({vector(node)} - {x}) le {tolerance!r}")
    best, start = script.let("b", "0"), script.let("s", "-1")
    n, i = script.let("n", f"length({x})"), script.let("i", "0")
    script.lines += [
        f"while {i} < {n}",
        f"if {good}[{i}]",
        f"if {start} < 0",
        f"let {start} = {i}",
        "end",
        f"let {best} = max({best}, abs({x}[{i}] - {x}[{start}]))",
        "else",
        f"let {start} = 0 - 1",
        "end",
        f"let {i} = {i} + 1",
        "end",
    ]
    return script.result(best)


def _regulation_script(
    name: str, node: str, low: float, high: float, plot: str, sweep: str
) -> list[str]:
    script = Script(name, plot or "dc1")
    x, y = script.let("x", sweep), script.let("y", vector(node))
    n = script.let("n", f"length({x}) - 1")
    if low == high:
        return script.result(f"abs(({y}[{n}] - {y}[0]) / ({x}[{n}] - {x}[0]))")
    ends = [_end(script, x, y, n, value) for value in (low, high)]
    return script.result(f"abs(({ends[1]} - {ends[0]}) / ({high - low!r}))")


def _end(script: Script, x: str, y: str, n: str, value: float) -> str:
    """The swept vector at one value; the last point counts although nothing lies beyond it."""
    last = script.let("e", f"{y}[{n}]")
    script.lines.append(f"if {x}[{n}] > {value!r}")
    found = script.at(x, y, repr(value))
    script.lines += [f"let {last} = {found}", "end"]
    return last


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


@line_regulation.script
def _(name: str, node: str, low: float, high: float, plot: str) -> list[str]:
    return _regulation_script(name, node, low, high, plot, _SWEEP)


@measure(unit="V/A", analysis="dc")
def load_regulation(
    run: Run, node: str, low: float = 0.0, high: float = 0.0, plot: str = ""
) -> float:
    """|Δv(node)| / |Δ load current| between two currents of a sweep of the load, V/A."""
    x, y = _swept(run, node, low, high, plot)
    return float(abs((y[-1] - y[0]) / (x[-1] - x[0])))


@load_regulation.script
def _(name: str, node: str, low: float, high: float, plot: str) -> list[str]:
    return _regulation_script(name, node, low, high, plot, '"i-sweep"')


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


@dropout.script
def _(name: str, node: str, nominal: float, fraction: float, plot: str) -> list[str]:
    script = Script(name, plot or "dc1")
    x, y = script.let("x", _SWEEP), script.let("y", vector(node))
    top = repr(nominal) if nominal else f"{y}[length({y}) - 1]"
    level = script.let("l", f"{fraction!r} * {top}")
    return script.result(f"{script.between(x, script.crossing(y, level, 'rise'))} - {level}")


@measure(unit="1/K", analysis="dc")
def temperature_coefficient(run: Run, node: str, plot: str = "") -> float:
    """Box method: (max - min) / (mean · temperature span) over a ``.dc temp`` sweep, 1/K.

    Times 1e6 it is ppm/K.
    """
    sweep = run.plot("dc", plot)
    y = np.real(sweep[node])
    return float((y.max() - y.min()) / (abs(y.mean()) * (sweep.x.max() - sweep.x.min())))


@temperature_coefficient.script
def _(name: str, node: str, plot: str) -> list[str]:
    script = Script(name, plot or "dc1")
    x, y = script.let("x", '"temp-sweep"'), script.let("y", vector(node))
    span = f"(vecmax({x}) - vecmin({x}))"
    return script.result(f"(vecmax({y}) - vecmin({y})) / (abs(mean({y})) * {span})")
