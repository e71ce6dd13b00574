"""Vectors of one testbench, as ngspice gave them, and the arithmetic that measures share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acs_assistant.domain import OperatingPoint

Vector = NDArray[Any]

_WRAPPED = re.compile(r"(?:v|i)\s*\((.*)\)\s*", re.IGNORECASE)


class MeasureError(Exception):
    """A metric that cannot be taken from these vectors; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Plot:
    """One analysis.

    Attributes:
        name: As ngspice numbers it ("ac1", "tran1", "noise2").
        kind: "op", "dc", "ac", "tran", "noise" (spectra) or "noise_total".
        scale: Name of the vector along which the others run; "" for an operating point.
        vectors: Lower-case names; complex in an ac analysis.
    """

    name: str
    kind: str
    scale: str
    vectors: Mapping[str, Vector]

    @property
    def x(self) -> Vector:
        """The scale, real."""
        return np.real(self.vectors[self.scale]).astype(float)

    def __getitem__(self, node: str) -> Vector:
        """A node's voltage ("out"), a difference ("outp,outn") or a current ("vdd#branch").

        Raises:
            MeasureError: There is no such vector.
        """
        match = _WRAPPED.fullmatch(node.strip())
        text = (match.group(1) if match else node).strip().lower()
        positive, comma, negative = text.partition(",")
        if comma:
            return self._single(positive) - self._single(negative)
        return self._single(text)

    def _single(self, name: str) -> Vector:
        name = name.strip()
        vector = self.vectors.get(name)
        if vector is None and name in ("0", "gnd"):
            return np.zeros(1)
        if vector is None:
            raise MeasureError(f"the {self.kind} analysis has no vector '{name}'")
        if not len(vector) or not np.all(np.isfinite(vector)):
            raise MeasureError(f"'{name}' is not finite in the {self.kind} analysis")
        return vector

    def current(self, source: str) -> Vector:
        """Current into the positive terminal of a voltage source, amperes."""
        return self._single(f"{source.strip().lower()}#branch")


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that one testbench gave.

    Attributes:
        meas: Results of the testbench's own ``.meas`` lines, lower-case names.
        devices: Operating points of the circuit's transistors.
        area: Gate area of all transistors, plus that of capacitors and resistors, square metres.
    """

    testbench: str
    plots: tuple[Plot, ...]
    meas: Mapping[str, float] = field(default_factory=dict)
    devices: tuple[OperatingPoint, ...] = ()
    area: float = 0.0

    def plot(self, kind: str, name: str = "") -> Plot:
        """The first analysis of a kind, or the one that is named ("dc2")."""
        for plot in self.plots:
            if plot.name == name if name else plot.kind == kind:
                return plot
        raise MeasureError(f"the testbench has no {name or kind} analysis")


def crossings(
    x: Vector, y: Vector, level: float, direction: str = "any", *, log_x: bool = False
) -> list[float]:
    """Everywhere that ``y`` passes ``level``, by linear interpolation (in log x if asked).

    Args:
        direction: "fall", "rise" or "any".
    """
    above = y > level
    change = above[1:] != above[:-1]
    if direction == "fall":
        change &= above[:-1]
    elif direction == "rise":
        change &= above[1:]
    places = []
    for k in np.flatnonzero(change).tolist():
        part = (level - y[k]) / (y[k + 1] - y[k])
        if log_x:
            places.append(float(x[k] * (x[k + 1] / x[k]) ** part))
        else:
            places.append(float(x[k] + part * (x[k + 1] - x[k])))
    return places


def crossing(
    x: Vector, y: Vector, level: float, direction: str = "any", *, log_x: bool = False
) -> float:
    """Where ``y`` first passes ``level``; see ``crossings``.

    Raises:
        MeasureError: It never does.
    """
    places = crossings(x, y, level, direction, log_x=log_x)
    if not places:
        raise MeasureError(f"no crossing of {level:.4g}")
    return places[0]


_JUMP = 1.0  # dB between neighbouring points
_FLOOR = 1e-9  # of the largest magnitude; below it rounding is expected
_ZIGZAGS = 2


def check_smooth(vector: Vector, node: str) -> None:
    """Refuses a frequency response that is rounding noise.

    A circuit's response bends, and a resonance or a notch turns it once. An ill-conditioned matrix
    throws it up and down from point to point: three steps in a row that alternate and are more
    than 1 dB each, in more than two places, are none of a circuit.

    Raises:
        MeasureError: It is not smooth.
    """
    magnitude = np.abs(vector)
    step = np.diff(decibels(vector))
    seen = magnitude > _FLOOR * magnitude.max()
    large = (np.abs(step) > _JUMP) & seen[1:] & seen[:-1]
    turn = (step[1:] * step[:-1] < 0) & large[1:] & large[:-1]
    if np.count_nonzero(turn[1:] & turn[:-1]) > _ZIGZAGS:
        raise MeasureError(
            f"'{node}' jumps between neighbouring frequencies: ngspice's matrix lost its digits"
        )


def at(x: Vector, y: Vector, where: float, *, log_x: bool = False) -> float:
    """``y`` at ``where``, by linear interpolation.

    Raises:
        MeasureError: ``where`` is outside of the sweep.
    """
    if not x[0] <= where <= x[-1] * (1 + 1e-9):
        raise MeasureError(f"{where:.4g} is outside of the sweep {x[0]:.4g} to {x[-1]:.4g}")
    if log_x:
        return float(np.interp(np.log(where), np.log(x), y))
    return float(np.interp(where, x, y))


def decibels(vector: Vector) -> Vector:
    """20 log10 of the magnitude; a zero stays finite (-6000 dB)."""
    magnitude: Vector = 20.0 * np.log10(np.maximum(np.abs(vector), 1e-300))
    return magnitude


def degrees(vector: Vector) -> Vector:
    """Unwrapped phase, degrees."""
    phase: Vector = np.degrees(np.unwrap(np.angle(vector)))
    return phase
