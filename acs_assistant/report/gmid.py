"""Where a device lies on the gm/Id chart of its transistor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acs_assistant.report.figures import PAPER, Figure, Look, engineering, style
from acs_assistant.units import format_quantity

Array = NDArray[np.float64]

AXES = (
    ("density", "Id/W", "A/m"),
    ("gain", "gm/gds", ""),
    ("speed", "fT", "Hz"),
)
"""What is drawn against gm/Id: attribute of ``Curve`` and ``Point``, name, unit."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A transistor of one length, from weak to strong inversion.

    Attributes:
        length: Metres.
        gm_over_id: 1/V, falling; the others have its shape.
        density: Id/W, amperes a metre.
        gain: gm/gds.
        speed: Transit frequency, hertz.
    """

    length: float
    gm_over_id: Array
    density: Array
    gain: Array
    speed: Array


@dataclass(frozen=True, slots=True)
class Point:
    """A device at its operating point; ``speed`` is read off the curve, None outside of it."""

    gm_over_id: float
    density: float
    gain: float
    speed: float | None


@dataclass(frozen=True, slots=True, eq=False)
class DeviceChart:
    """Everything that is drawn of one device.

    Attributes:
        device: "M1".
        transistor: Its name in the PDK.
        width, length: Metres.
        vds: Volts at which the curves were taken.
        curves: The device's own length first, then shorter and longer ones.
    """

    device: str
    transistor: str
    turn: int
    width: float
    length: float
    vds: float
    point: Point
    curves: tuple[Curve, ...]


def gmid(chart: DeviceChart, look: Look = PAPER, only: str = "") -> Figure:
    """Id/W, gm/gds and fT against gm/Id, with the device's operating point on each.

    Args:
        only: The name of one of ``AXES``, to draw it alone.
    """
    from matplotlib.figure import Figure as Canvas

    with style(look):
        drawn = [axis for axis in AXES if only in ("", axis[0])]
        figure = Canvas(figsize=(5.4, 2.2 * len(drawn)))
        panes: Any = figure.subplots(len(drawn), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, label, unit) in zip(panes, drawn, strict=True):
            colours = (look.first, look.muted, look.second)
            for curve, colour, line in zip(chart.curves, colours, ("-", "--", "-."), strict=False):
                axes.semilogy(curve.gm_over_id, getattr(curve, name), line, color=colour,
                              label=f"L = {format_quantity(curve.length, 3)}m")  # fmt: skip
            engineering(axes.yaxis, getattr(chart.curves[0], name))
            axes.set_ylabel(f"{label} ({unit})" if unit else label)
            value = getattr(chart.point, name)
            if value is not None:
                axes.plot([chart.point.gm_over_id], [value], "D", color=look.met, zorder=3)
                axes.annotate(
                    f"{chart.device} {format_quantity(value, 3)}",
                    (chart.point.gm_over_id, value),
                    (6, 6),
                    textcoords="offset points",
                    color=look.ink,
                )
        width, length = format_quantity(chart.width, 3), format_quantity(chart.length, 3)
        panes[0].set_title(
            f"{chart.device}, {chart.transistor}, W {width}m, L {length}m, turn {chart.turn}"
        )
        panes[0].legend(loc="best", fontsize=8)
        panes[-1].set_xlabel(f"gm/Id (1/V), curves at Vds {chart.vds:g} V")
    return figure
