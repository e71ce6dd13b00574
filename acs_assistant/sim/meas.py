"""``.meas dc`` of extremes and averages, over temperature and current too.

ngspice 39 finds them over a swept voltage only ("no such vector as time, frquency or v-sweep"), to
seven digits, and says 0 when no point lies in the range. A bandgap's box over temperature and a
regulator's droop over its load need them as well.
"""

from __future__ import annotations

import math
import re

import numpy as np

from acs_assistant.errors import UnitError
from acs_assistant.sim.vectors import MeasureError, Plot, Vector
from acs_assistant.units import parse_quantity

_FUNCTIONS = frozenset({"max", "min", "pp", "max_at", "min_at", "avg"})
_CURRENT = re.compile(r"i\(\s*([\w.#]+)\s*\)")


def measure_sweep(command: str, plot: Plot) -> float | None:
    """The result of ``meas dc name max|min|pp|avg|max_at|min_at vector [from=] [to=]``.

    As in ngspice, points outside of from and to are left out and nothing is interpolated at the
    ends; ``avg`` is the trapezoidal integral over the span of the points.

    Returns:
        NaN when no point lies in the range, None when it is another kind of measurement.
    """
    words = command.split()
    if len(words) < 5 or words[1] != "dc":
        return None
    function, vector = words[3], words[4]
    if function not in _FUNCTIONS:
        return None
    options = dict(word.split("=", 1) for word in words[5:] if "=" in word)
    try:
        low = parse_quantity(options.get("from", "-1e300"))
        high = parse_quantity(options.get("to", "1e300"))
        x, y = plot.x, np.real(_vector(plot, vector))
    except (UnitError, MeasureError):
        return None
    keep = (x >= low) & (x <= high)
    x, y = x[keep], y[keep]
    if not len(y):
        return math.nan
    match function:
        case "max":
            return float(y.max())
        case "min":
            return float(y.min())
        case "pp":
            return float(y.max() - y.min())
        case "max_at":
            return float(x[y.argmax()])
        case "min_at":
            return float(x[y.argmin()])
    if x[0] == x[-1]:
        return math.nan
    return float(np.sum((y[1:] + y[:-1]) / 2 * np.diff(x)) / (x[-1] - x[0]))


def _vector(plot: Plot, text: str) -> Vector:
    match = _CURRENT.fullmatch(text)
    return plot[f"{match[1]}#branch"] if match else plot[text]
