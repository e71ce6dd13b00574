"""SPICE engineering notation at the edges, SI floats inside.

Suffixes are case-insensitive and follow SPICE: ``m`` is milli, ``meg`` is 1e6. Letters after the
suffix are a unit and carry no meaning (``10uF``, ``5pF``, ``1.8V``), as in ngspice.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

from acs_assistant.errors import UnitError

_EXPONENTS = {
    "a": -18, "f": -15, "p": -12, "n": -9, "u": -6, "µ": -6, "μ": -6, "m": -3,
    "k": 3, "meg": 6, "g": 9, "t": 12,
}  # fmt: skip
_SUFFIXES = {-18: "a", -15: "f", -12: "p", -9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "meg",
             9: "g", 12: "t"}  # fmt: skip
_QUANTITY = re.compile(
    r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(meg|[afpnuµμmkgt])?([a-zΩ%°/]*)\s*",
    re.IGNORECASE,
)


def parse_quantity(text: str) -> float:
    """Reads ``10u``, ``2.5meg``, ``1.2pF``, ``1e-6`` as an SI float.

    Raises:
        UnitError: The text is not a number in SPICE notation.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UnitError(
            f"'{text}' is not a number.", hint="Write it as SPICE does: 10u, 180n, 2.5meg, 1.2p."
        )
    number, suffix, _unit = match.groups()
    exponent = _EXPONENTS[suffix.lower()] if suffix else 0
    return float(Decimal(number).scaleb(exponent))


def format_quantity(value: float, digits: int = 4) -> str:
    """Writes an SI float in SPICE notation with at most ``digits`` significant digits.

    >>> format_quantity(1.25e-5), format_quantity(2.5e6), format_quantity(0.0)
    ('12.5u', '2.5meg', '0')
    """
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    rounded = Decimal(f"{value:.{max(digits, 1) - 1}e}")
    if rounded == 0:
        return "0"
    if not -21 <= rounded.adjusted() <= 17:
        return format(rounded.normalize(), "e")
    exponent = min(12, max(-18, 3 * (rounded.adjusted() // 3)))
    mantissa = format(rounded.scaleb(-exponent).normalize(), "f")
    return mantissa + _SUFFIXES[exponent]
