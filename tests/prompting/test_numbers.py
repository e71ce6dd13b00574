from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acs_assistant.prompting.numbers import all_values, format_value, grid_range
from acs_assistant.units import parse_quantity

on_the_grid = st.floats(min_value=1.001e-14, max_value=9.9e9)


@given(on_the_grid)
def test_nearest_is_within_half_a_percent_and_is_one_known_value(value: float) -> None:
    text = format_value(value)
    assert text in all_values()
    assert parse_quantity(text) == pytest.approx(value, rel=0.0052)


@given(on_the_grid)
def test_directed_rounding_never_crosses_the_value(value: float) -> None:
    assert parse_quantity(format_value(value, "up")) >= value * (1 - 1e-8)
    assert parse_quantity(format_value(value, "down")) <= value * (1 + 1e-8)
    assert parse_quantity(format_value(-value, "up")) >= -value * (1 + 1e-8)


@given(st.sampled_from(all_values()))
def test_every_value_reads_back_as_itself_in_every_direction(text: str) -> None:
    value = parse_quantity(text)
    for rounding in ("nearest", "up", "down"):
        assert format_value(value, rounding) == text  # type: ignore[arg-type]


def test_values_are_distinct_and_ascending() -> None:
    values = [parse_quantity(text) for text in all_values()]
    assert values == sorted(set(values))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1e-20, "0"), (61.27, "61.3"), (5e-12, "5.00p"), (9.999e-6, "10.0u"),
     (1e30, "9.95g"), (float("nan"), "nan"), (-0.5, "-500m")],
)  # fmt: skip
def test_known_texts(value: float, text: str) -> None:
    assert format_value(value) == text


def test_grid_range_covers_bounds_inclusively() -> None:
    assert grid_range(4.2e-7, 1e-4) == [
        (-7, 420, 999),
        (-6, 100, 999),
        (-5, 100, 999),
        (-4, 100, 100),
    ]
    with pytest.raises(ValueError, match="positive"):
        grid_range(0.0, 1.0)
