"""SPICE notation at the edges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acs_assistant.units import format_quantity, parse_quantity


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.25e-5, "12.5u"), (2.5e6, "2.5meg"), (0.0, "0"), (5e-19, "0.5a"), (-3e12, "-3t"),
        (1.14e-34, "1.14e-34"), (-2e21, "-2e+21"),
    ],
)  # fmt: skip
def test_a_quantity_is_short_whatever_its_size(value: float, text: str) -> None:
    assert format_quantity(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_is_written_reads_as_the_same(value: float) -> None:
    assert parse_quantity(format_quantity(value, 9)) == pytest.approx(value, rel=1e-8, abs=0.0)
    assert len(format_quantity(value)) <= 12
