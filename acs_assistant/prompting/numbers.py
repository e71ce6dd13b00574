"""The numbers of a conversation: three significant digits in half-percent steps, SPICE suffixes.

A small model learns sizes when every value is one token with an ordered embedding, so each number
in a prompt is one of some nine thousand strings (``all_values``) that its tokenizer knows. Any
other model reads them as the ordinary engineering notation that they are. Plain numbers from 10 to
99.9 (decibels, degrees, percent) keep every tenth. A target is rounded towards the harder side, so
a sizing that meets the rounded spec meets the exact one.
"""

from __future__ import annotations

import bisect
import math
from functools import cache
from typing import Literal

Rounding = Literal["nearest", "up", "down"]

_SUFFIXES = {-15: "f", -12: "p", -9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "meg", 9: "g"}
_LOWEST, _HIGHEST = -14, 9  # decades that have values: 10f up to 9.88g


@cache
def _mantissas(decade: int) -> tuple[int, ...]:
    """Three-digit mantissas (100..999) of a decade, ascending: steps of 0.5 to 1 percent."""
    if decade == 1:
        return tuple(range(100, 1000))
    return (*range(100, 200), *range(200, 500, 2), *range(500, 1000, 5))


def _text(mantissa: int, decade: int) -> str:
    exponent = 3 * (decade // 3)
    digits = f"{mantissa:03d}"
    whole = decade - exponent + 1
    number = digits[:whole] + ("." + digits[whole:] if whole < 3 else "")
    return number + _SUFFIXES[exponent]


def format_value(value: float, rounding: Rounding = "nearest") -> str:
    """Writes a value on the grid. Too small becomes "0"; too large, the largest on the grid.

    >>> format_value(1.234e-5), format_value(-61.23), format_value(1e7, "up")
    ('12.3u', '-61.2', '10.0meg')
    """
    if not math.isfinite(value):
        return "nan"
    if value < 0:
        flipped: dict[Rounding, Rounding] = {"up": "down", "down": "up", "nearest": "nearest"}
        text = format_value(-value, flipped[rounding])
        return text if text == "0" else "-" + text
    if value < 10.0**_LOWEST:
        return "0"
    decade = min(math.floor(math.log10(value) + 1e-12), _HIGHEST)
    scaled = value / 10.0 ** (decade - 2)
    grid = _mantissas(decade)
    if rounding == "down":
        index = bisect.bisect_right(grid, scaled * (1 + 1e-9)) - 1
    elif rounding == "up":
        index = bisect.bisect_left(grid, scaled * (1 - 1e-9))
    else:
        index = bisect.bisect_left(grid, scaled)
        below = grid[index - 1] if index else grid[0]
        above = grid[index] if index < len(grid) else 1000
        if scaled - below <= above - scaled:
            index -= 1
    index = max(index, 0)
    if index == len(grid):
        if decade == _HIGHEST:
            return _text(grid[-1], decade)
        return _text(100, decade + 1)
    return _text(grid[index], decade)


@cache
def all_values() -> tuple[str, ...]:
    """Every string that ``format_value`` gives for a positive value, ascending by value."""
    return tuple(
        _text(mantissa, decade)
        for decade in range(_LOWEST, _HIGHEST + 1)
        for mantissa in _mantissas(decade)
    )


def grid_range(low: float, high: float) -> list[tuple[int, int, int]]:
    """The three-digit mantissas between two positive bounds: (decade, first, last), ascending.

    Every three-digit mantissa counts here, on the conversation's grid or not.
    """
    if not 0 < low <= high:
        raise ValueError(f"bounds must be positive and ordered: {low}, {high}")
    ranges = []
    first_decade = math.floor(math.log10(low) + 1e-12)
    last_decade = math.floor(math.log10(high) + 1e-12)
    for decade in range(max(first_decade, _LOWEST - 1), min(last_decade, _HIGHEST + 2) + 1):
        unit = 10.0 ** (decade - 2)
        first = max(100, math.ceil(low / unit * (1 - 1e-9)))
        last = min(999, math.floor(high / unit * (1 + 1e-9)))
        if first <= last:
            ranges.append((decade, first, last))
    return ranges


def suffix_of(decade: int) -> tuple[int, str]:
    """(digits before the point, suffix) of a three-digit number in ``decade``."""
    exponent = 3 * (decade // 3)
    return decade - exponent + 1, _SUFFIXES[exponent]
