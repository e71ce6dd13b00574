"""ngspice control language that does what the measures do, for exported netlists.

ngspice's own ``meas`` interpolates linearly in frequency, which is 0.2 % off at 20 points a decade,
so these scripts walk the vectors with the same rules as the numpy code.
"""

from __future__ import annotations

import re

_WRAPPED = re.compile(r"(?:v|i)\s*\((.*)\)\s*", re.IGNORECASE)
_CONDITIONS = {
    "fall": "({y}[{i}] gt {level}) and ({y}[{i}+1] le {level})",
    "rise": "({y}[{i}] le {level}) and ({y}[{i}+1] gt {level})",
    "any": "({y}[{i}] gt {level}) ne ({y}[{i}+1] gt {level})",
}


def vector(node: str) -> str:
    """A node, a difference of nodes or a source's current as an ngspice expression."""
    match = _WRAPPED.fullmatch(node.strip())
    text = (match.group(1) if match else node).strip().lower()
    positive, comma, negative = text.partition(",")
    if comma:
        return f"({_single(positive)}-{_single(negative)})"
    return _single(text)


def _single(name: str) -> str:
    name = name.strip()
    if name in ("0", "gnd"):
        return "0"
    return f"i({name.removesuffix('#branch')})" if name.endswith("#branch") else f"v({name})"


def gain(node: str, input: str) -> str:
    """The gain as an ngspice expression."""
    return f"({vector(node)})/({vector(input)})" if input else vector(node)


class Script:
    """Lines for one metric. Its helper vectors begin with the metric's name."""

    def __init__(self, name: str, plot: str) -> None:
        self.name = name
        self.lines = [f"setplot {plot}"]
        self._count = 0

    def fresh(self, hint: str) -> str:
        """A new vector name."""
        self._count += 1
        return f"{self.name}_{hint}{self._count}"

    def let(self, hint: str, expression: str) -> str:
        """Defines a vector; returns its name."""
        name = self.fresh(hint)
        self.lines.append(f"let {name} = {expression}")
        return name

    def result(self, expression: str) -> list[str]:
        """Defines the metric itself and gives all lines."""
        self.lines.append(f"let {self.name} = {expression}")
        return self.lines

    def crossing(self, y: str, level: str, direction: str, *, start: str = "0") -> tuple[str, str]:
        """Index before the first crossing and the part of the interval before it.

        The index stays -1 when there is none; reading a vector there fails, and so does the metric.
        """
        k = self.let("k", "-1")
        i = self.let("i", start)
        condition = _CONDITIONS[direction].format(y=y, i=i, level=level)
        n = self.let("n", f"length({y}) - 1")
        self.lines += [
            f"while {i} < {n}",
            f"if {condition}",
            f"let {k} = {i}",
            f"let {i} = {n}",
            "end",
            f"let {i} = {i} + 1",
            "end",
        ]
        part = self.let("p", f"({level} - {y}[{k}]) / ({y}[{k}+1] - {y}[{k}])")
        return k, part

    def between(self, y: str, place: tuple[str, str]) -> str:
        """Linear interpolation of a vector at a place that ``crossing`` gave."""
        k, part = place
        return f"({y}[{k}] + {part} * ({y}[{k}+1] - {y}[{k}]))"

    def at(self, x: str, y: str, where: str) -> str:
        """``y`` where the rising ``x`` passes ``where``."""
        return self.between(y, self.crossing(x, where, "rise"))
