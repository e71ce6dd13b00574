"""Measures of small-signal sweeps (``.ac``). Frequencies interpolate in log f.

Give the sweep at least 20 points a decade: unity-gain frequency is then within 0.05 % of a fine
sweep. Every measure takes the node's voltage as the gain, so drive the input with 1 V ac. A sweep
that jumps from point to point, as that of an ill-conditioned matrix does, gives no metric at all.
"""

from __future__ import annotations

import numpy as np

from acs_assistant.sim.measures.registry import measure
from acs_assistant.sim.measures.scripting import NONE, Script, vector
from acs_assistant.sim.measures.scripting import gain as gain_of
from acs_assistant.sim.vectors import (
    MeasureError,
    Plot,
    Run,
    Vector,
    at,
    check_smooth,
    crossing,
    crossings,
    decibels,
    degrees,
)


def _gain(plot: Plot, node: str, input: str) -> Vector:
    out = plot[node]
    check_smooth(out, node)
    return out / plot[input] if input else out


def _sweep(name: str, node: str, input: str, plot: str) -> tuple[Script, str, str]:
    """A script with log frequency and gain in decibels."""
    script = Script(name, plot or "ac1")
    return (
        script,
        script.let("x", "ln(real(frequency))"),
        script.let("y", f"db({gain_of(node, input)})"),
    )


@measure(unit="dB", analysis="ac")
def dc_gain(run: Run, node: str, input: str = "", plot: str = "") -> float:
    """Gain at the lowest frequency of the sweep, dB: 20 log10 |v(node)|, or of v(node)/v(input).

    Pitfall: it is the dc gain only when the sweep begins well below the first pole.
    """
    return float(decibels(_gain(run.plot("ac", plot), node, input))[0])


@dc_gain.script
def _(name: str, node: str, input: str, plot: str) -> list[str]:
    script, _, y = _sweep(name, node, input, plot)
    return script.result(f"{y}[0]")


@measure(unit="dB", analysis="ac")
def gain_at(run: Run, node: str, frequency: float, input: str = "", plot: str = "") -> float:
    """Gain at one frequency, dB, interpolated in log f."""
    ac = run.plot("ac", plot)
    return at(ac.x, decibels(_gain(ac, node, input)), frequency, log_x=True)


@gain_at.script
def _(name: str, node: str, frequency: float, input: str, plot: str) -> list[str]:
    script, x, y = _sweep(name, node, input, plot)
    return script.result(script.at(x, y, f"ln({frequency!r})"))


@measure(unit="Hz", analysis="ac")
def unity_gain_frequency(run: Run, node: str, input: str = "", plot: str = "") -> float:
    """The first frequency at which the gain falls through 0 dB.

    Missing when the gain never exceeds 0 dB or never falls through it inside the sweep. A resonance
    that lifts the gain over 0 dB again further up is no bandwidth and changes nothing here;
    ``phase_margin`` is what it spoils.
    """
    ac = run.plot("ac", plot)
    return crossing(ac.x, decibels(_gain(ac, node, input)), 0.0, "fall", log_x=True)


@unity_gain_frequency.script
def _(name: str, node: str, input: str, plot: str) -> list[str]:
    script, x, y = _sweep(name, node, input, plot)
    return script.result(f"exp({script.between(x, script.crossing(y, '0', 'fall'))})")


@measure(unit="Hz", analysis="ac")
def gain_bandwidth(run: Run, node: str, input: str = "", plot: str = "") -> float:
    """Gain-bandwidth product: dc gain (as a ratio) times the -3 dB bandwidth.

    It equals the unity-gain frequency only when one pole rules up to there.
    """
    ac = run.plot("ac", plot)
    magnitude = decibels(_gain(ac, node, input))
    corner = crossing(ac.x, magnitude, magnitude[0] + _HALF_POWER, "fall", log_x=True)
    return float(10 ** (magnitude[0] / 20) * corner)


@gain_bandwidth.script
def _(name: str, node: str, input: str, plot: str) -> list[str]:
    script, x, y = _sweep(name, node, input, plot)
    level = script.let("l", f"{y}[0] + {float(_HALF_POWER)!r}")
    corner = script.between(x, script.crossing(y, level, "fall"))
    return script.result(f"exp({y}[0] / 20 * ln(10) + {corner})")


_HALF_POWER = 10 * np.log10(0.5)


@measure(unit="deg", analysis="ac")
def phase_margin(run: Run, node: str, input: str = "", plot: str = "") -> float:
    """180 degrees minus the phase lost between the start of the sweep and unity gain.

    The phase at the start is the reference, so inverting and non-inverting outputs agree. When it
    is more than a degree off a multiple of 180, the sweep begins above the first pole, and the
    multiple is the reference instead. Where the gain rises over 0 dB again after its first fall (a
    resonance, feedthrough), a loop can oscillate at any of the crossings: the smallest margin of
    all counts. Missing when it is more than 180 degrees: a phase that leads at unity gain is that
    of positive feedback or of a broken sweep.
    """
    ac = run.plot("ac", plot)
    gain = _gain(ac, node, input)
    magnitude = decibels(gain)
    first = crossing(ac.x, magnitude, 0.0, "fall", log_x=True)
    phase = degrees(gain)
    start = _start(phase)
    margin = min(
        180.0 + at(ac.x, phase, unity, log_x=True) - start
        for unity in crossings(ac.x, magnitude, 0.0, log_x=True)
        if unity >= first
    )
    if margin > 180.0 + _ROUNDING:
        raise MeasureError(f"the phase leads by {margin - 180.0:.3g} degrees at unity gain")
    return margin


_ROUNDING = 1e-6  # degrees
_LATE = 1.0  # degrees


def _start(phase: Vector) -> float:
    """The phase, degrees, that the gain has at dc."""
    ideal = 180.0 * round(float(phase[0]) / 180.0)
    return float(phase[0]) if abs(float(phase[0]) - ideal) < _LATE else ideal


def _start_script(script: Script, phase: str) -> str:
    ideal = script.let("d", f"180 * floor({phase}[0] / 180 + 0.5)")
    return script.let("s", f"{ideal} + ({phase}[0] - {ideal}) * (abs({phase}[0] - {ideal}) lt 1)")


@phase_margin.script
def _(name: str, node: str, input: str, plot: str) -> list[str]:
    script, _, y = _sweep(name, node, input, plot)
    phase = script.let("f", f"180 / pi * cph({gain_of(node, input)})")
    first, part = script.crossing(y, "0", "fall")
    a, b, numbers = script.pair(y)
    before, after, _ = script.pair(phase)
    unity = script.let("m", f"(({a} gt 0) ne ({b} gt 0)) and ({numbers} ge {first})")
    parts = script.let("p", f"(0 - {a}) * {unity} / ({b} - {a} + 1 - {unity})")
    lags = script.let("g", f"{before} + {parts} * ({after} - {before}) + (1 - {unity}) * {NONE}")
    # The part fails, and the metric with it, when the gain never falls through 0 dB.
    start = _start_script(script, phase)
    return script.result(f"180 + vecmin({lags}) - {start} + 0 * {part}")


@measure(unit="dB", analysis="ac")
def gain_margin(run: Run, node: str, input: str = "", plot: str = "") -> float:
    """How far the gain lies below 0 dB where the phase has fallen by 180 degrees.

    Where the phase passes 180 degrees (or 540, ...) again, the highest of these gains counts.
    Missing when it never falls that far inside the sweep: sweep further.
    """
    ac = run.plot("ac", plot)
    gain = _gain(ac, node, input)
    magnitude, phase = decibels(gain), degrees(gain)
    lag = phase - _start(phase)
    turns = [crossing(ac.x, lag, -180.0, "fall", log_x=True)]
    for level in np.arange(-180.0, float(lag.min()), -360.0).tolist():
        turns += crossings(ac.x, lag, level, log_x=True)
    return min(-at(ac.x, magnitude, turn, log_x=True) for turn in turns)


@gain_margin.script
def _(name: str, node: str, input: str, plot: str) -> list[str]:
    script, _, y = _sweep(name, node, input, plot)
    phase = script.let("f", f"180 / pi * cph({gain_of(node, input)})")
    level = script.let("l", f"{_start_script(script, phase)} - 180")
    _, part = script.crossing(phase, level, "fall")
    a, b, _ = script.pair(phase)
    before, after, _ = script.pair(y)
    # Turns of 360 degrees beyond the level: a line is crossed where their number changes.
    turns = [script.let("t", f"floor(({v} - {level}) / 360)") for v in (a, b)]
    crossed = script.let("m", f"({turns[0]} ne {turns[1]}) and (min({a}, {b}) le {level})")
    line = script.let("v", f"{level} + 360 * max({turns[0]}, {turns[1]})")
    parts = script.let("p", f"({line} - {a}) * {crossed} / ({b} - {a} + 1 - {crossed})")
    gains = script.let("g", f"{before} + {parts} * ({after} - {before}) - (1 - {crossed}) * {NONE}")
    return script.result(f"0 - vecmax({gains}) + 0 * {part}")


@measure(unit="Hz", analysis="ac")
def bandwidth(run: Run, node: str, input: str = "", drop: float = 3.0103, plot: str = "") -> float:
    """The first frequency at which the gain is ``drop`` dB below its value at the start."""
    ac = run.plot("ac", plot)
    magnitude = decibels(_gain(ac, node, input))
    return crossing(ac.x, magnitude, magnitude[0] - drop, "fall", log_x=True)


@bandwidth.script
def _(name: str, node: str, input: str, drop: float, plot: str) -> list[str]:
    script, x, y = _sweep(name, node, input, plot)
    level = script.let("l", f"{y}[0] - {drop!r}")
    return script.result(f"exp({script.between(x, script.crossing(y, level, 'fall'))})")


@measure(unit="dB", analysis="ac")
def peaking(run: Run, node: str, input: str = "", plot: str = "") -> float:
    """The largest gain of the sweep over the gain at its start, dB."""
    magnitude = decibels(_gain(run.plot("ac", plot), node, input))
    return float(magnitude.max() - magnitude[0])


@peaking.script
def _(name: str, node: str, input: str, plot: str) -> list[str]:
    script, _, y = _sweep(name, node, input, plot)
    return script.result(f"vecmax({y}) - {y}[0]")


def _rejection(run: Run, node: str, other: str, frequency: float, plot: str) -> float:
    ac = run.plot("ac", plot)
    ratio = decibels(_gain(ac, node, "")) - decibels(ac[other])
    return at(ac.x, ratio, frequency, log_x=True) if frequency else float(ratio[0])


def _rejection_script(name: str, node: str, other: str, frequency: float, plot: str) -> list[str]:
    script = Script(name, plot or "ac1")
    ratio = script.let("y", f"db({vector(node)}) - db({vector(other)})")
    if not frequency:
        return script.result(f"{ratio}[0]")
    x = script.let("x", "ln(real(frequency))")
    return script.result(script.at(x, ratio, f"ln({frequency!r})"))


@measure(unit="dB", analysis="ac")
def cmrr(run: Run, node: str, common: str, frequency: float = 0.0, plot: str = "") -> float:
    """Common-mode rejection: differential gain over common-mode gain, dB.

    The testbench holds two copies of the circuit in one sweep: ``node`` is the output of the copy
    with 1 V ac between its inputs, ``common`` that of the copy with 1 V ac on both. ``frequency``
    0 means the start of the sweep. Pitfall: without mismatch only the systematic part is seen.
    """
    return _rejection(run, node, common, frequency, plot)


@cmrr.script
def _(name: str, node: str, common: str, frequency: float, plot: str) -> list[str]:
    return _rejection_script(name, node, common, frequency, plot)


@measure(unit="dB", analysis="ac")
def psrr(run: Run, node: str, ripple: str, frequency: float = 0.0, plot: str = "") -> float:
    """Supply rejection: differential gain over the gain from the supply, dB.

    ``node`` is the output of the copy with 1 V ac between its inputs, ``ripple`` that of the copy
    with 1 V ac on a supply (positive or negative).
    """
    return _rejection(run, node, ripple, frequency, plot)


@psrr.script
def _(name: str, node: str, ripple: str, frequency: float, plot: str) -> list[str]:
    return _rejection_script(name, node, ripple, frequency, plot)


@measure(unit="Ohm", analysis="ac")
def impedance(run: Run, node: str, frequency: float = 0.0, plot: str = "") -> float:
    """Magnitude of the voltage at ``node`` for 1 A ac driven into it, ohms."""
    ac = run.plot("ac", plot)
    magnitude = np.abs(ac[node])
    if np.all(magnitude == 0):
        raise MeasureError("no ac current is driven into the node")
    return at(ac.x, magnitude, frequency, log_x=True) if frequency else float(magnitude[0])


@impedance.script
def _(name: str, node: str, frequency: float, plot: str) -> list[str]:
    script = Script(name, plot or "ac1")
    magnitude = script.let("y", f"mag({vector(node)})")
    if not frequency:
        return script.result(f"{magnitude}[0]")
    x = script.let("x", "ln(real(frequency))")
    return script.result(script.at(x, magnitude, f"ln({frequency!r})"))
