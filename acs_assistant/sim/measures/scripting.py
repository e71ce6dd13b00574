"""ngspice control language that does what the measures do, for exported netlists.

ngspice's own ``meas`` interpolates linearly in frequency, which is 0.2 % off at 20 points a decade,
so these scripts follow the same rules as the numpy code.
"""

from __future__ import annotations

import re

_WRAPPED = re.compile(r"(?:v|i)\s*\((.*)\)\s*", re.IGNORECASE)
_CONDITIONS = {
    "fall": "({a} gt {level}) and ({b} le {level})",
    "rise": "({a} le {level}) and ({b} gt {level})",
    "any": "({a} gt {level}) ne ({b} gt {level})",
}
NONE = "1e9"


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
        self._pairs: dict[str, tuple[str, str, str]] = {}

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

    def pair(self, y: str) -> tuple[str, str, str]:
        """Values at the beginning and the end of every interval, and the intervals' numbers.

        Whole vectors, not loops: ngspice copies a vector each time one of its values is read.
        """
        known = self._pairs.get(y)
        if known is None:
            n = self.let("n", f"length({y}) - 1")
            known = (
                self.let("a", f"{y}[0,{n}-1]"),
                self.let("b", f"{y}[1,{n}]"),
                self.let("i", f"vector({n})"),
            )
            self._pairs[y] = known
        return known

    def first(self, mask: str, numbers: str) -> str:
        """The smallest number where the mask holds, ``NONE`` when it never does."""
        return self.let("k", f"vecmin({numbers} + (1 - ({mask})) * {NONE})")

    def crossing(self, y: str, level: str, direction: str, *, start: str = "0") -> tuple[str, str]:
        """Interval of the first crossing from ``start`` on, and the part of it before that.

        The interval is ``NONE`` when there is none; reading a vector there fails, and so does the
        metric.
        """
        a, b, numbers = self.pair(y)
        mask = _CONDITIONS[direction].format(a=a, b=b, level=level)
        k = self.first(f"({mask}) and ({numbers} ge {start})", numbers)
        part = self.let("p", f"({level} - {y}[{k}]) / ({y}[{k}+1] - {y}[{k}])")
        return k, part

    def between(self, y: str, place: tuple[str, str]) -> str:
        """Linear interpolation of a vector at a place that ``crossing`` gave."""
        k, part = place
        return f"({y}[{k}] + {part} * ({y}[{k}+1] - {y}[{k}]))"

    def at(self, x: str, y: str, where: str) -> str:
        """``y`` where the rising ``x`` passes ``where``."""
        return self.between(y, self.crossing(x, where, "rise"))
