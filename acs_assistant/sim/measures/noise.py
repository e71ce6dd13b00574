"""Measures of noise analyses (``.noise v(out) vin dec 20 1 100meg``)."""

from __future__ import annotations

import numpy as np

from acs_assistant.sim.measures.registry import measure
from acs_assistant.sim.measures.scripting import Script
from acs_assistant.sim.vectors import MeasureError, Run, Vector, at


def _integral(f: Vector, density: Vector, low: float, high: float) -> float:
    """Integral of a power density between two frequencies; each piece a power law of f."""
    low, high = low or float(f[0]), high or float(f[-1])
    if low < f[0] * (1 - 1e-9) or high > f[-1] * (1 + 1e-9) or high <= low:
        raise MeasureError(f"the band {low:.4g} to {high:.4g} Hz is outside of the noise sweep")
    low, high = max(low, float(f[0])), min(high, float(f[-1]))
    inside = (f > low) & (f < high)
    edges = np.exp(np.interp(np.log([low, high]), np.log(f), np.log(density)))
    x = np.concatenate(([low], f[inside], [high]))
    s = np.concatenate((edges[:1], density[inside], edges[1:]))
    ratio = np.log(x[1:] / x[:-1])
    power = np.log(s[1:] / s[:-1]) / ratio + 1.0
    flat = np.abs(power) < 1e-9
    pieces = np.where(
        flat,
        s[:-1] * x[:-1] * ratio,
        (s[1:] * x[1:] - s[:-1] * x[:-1]) / np.where(flat, 1.0, power),
    )
    return float(pieces.sum())


def _integral_script(name: str, spectrum: str, low: float, high: float, plot: str) -> list[str]:
    script = Script(name, plot or "noise1")
    x = script.let("x", "ln(real(frequency))")
    y = script.let("y", f"2 * ln({spectrum})")
    xa, xb, _ = script.pair(x)
    ya, yb, _ = script.pair(y)
    left = script.let("c", f"max({xa}, ln({low!r}))") if low else xa
    right = script.let("d", f"min({xb}, ln({high!r}))") if high else xb
    inside = script.let("w", f"{right} gt {left}")
    # 1e-12 keeps a density that falls as 1/f exactly from dividing by zero.
    slope = script.let("q", f"({yb} - {ya}) / ({xb} - {xa}) + 1 + 1e-12")
    ends = [f"exp({ya} + {xa} + {slope} * ({end} - {xa}))" for end in (left, right)]
    piece = script.let("s", f"({ends[1]} - {ends[0]}) / {slope} * {inside}")
    total = script.let("t", f"mean({piece}) * length({piece})")
    return script.result(f"sqrt({total})")


@measure(unit="V", analysis="noise")
def input_noise(run: Run, low: float = 0.0, high: float = 0.0, plot: str = "") -> float:
    """Input-referred noise integrated from ``low`` to ``high`` hertz, volts rms.

    0 means the end of the sweep. The input is the source that the ``.noise`` line names.
    """
    spectra = run.plot("noise", plot)
    return float(np.sqrt(_integral(spectra.x, spectra["inoise_spectrum"] ** 2, low, high)))


@input_noise.script
def _(name: str, low: float, high: float, plot: str) -> list[str]:
    return _integral_script(name, "inoise_spectrum", low, high, plot)


@measure(unit="V", analysis="noise")
def output_noise(run: Run, low: float = 0.0, high: float = 0.0, plot: str = "") -> float:
    """Noise at the output that the ``.noise`` line names, ``low`` to ``high``, volts rms."""
    spectra = run.plot("noise", plot)
    return float(np.sqrt(_integral(spectra.x, spectra["onoise_spectrum"] ** 2, low, high)))


@output_noise.script
def _(name: str, low: float, high: float, plot: str) -> list[str]:
    return _integral_script(name, "onoise_spectrum", low, high, plot)


@measure(unit="V/rtHz", analysis="noise")
def spot_noise(run: Run, frequency: float, side: str = "input", plot: str = "") -> float:
    """Noise density at one frequency, V/√Hz; ``side`` is "input" or "output"."""
    spectra = run.plot("noise", plot)
    name = "onoise_spectrum" if side == "output" else "inoise_spectrum"
    density = np.log(spectra[name])
    return float(np.exp(at(spectra.x, density, frequency, log_x=True)))


@spot_noise.script
def _(name: str, frequency: float, side: str, plot: str) -> list[str]:
    script = Script(name, plot or "noise1")
    x = script.let("x", "ln(real(frequency))")
    y = script.let("y", f"ln({'onoise' if side == 'output' else 'inoise'}_spectrum)")
    return script.result(f"exp({script.at(x, y, f'ln({frequency!r})')})")
