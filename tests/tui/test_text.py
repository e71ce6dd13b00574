"""Numbers and foreign text as cells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from acs_assistant.domain import Parameter, Spec
from acs_assistant.engine.reached import Extremes
from acs_assistant.tui.screens.sizes import read_size
from acs_assistant.tui.text import (
    bound_note,
    budget_bar,
    change_percent,
    change_text,
    first_line,
    log_bar,
    margin_bar,
    plain,
    quantity,
    trend,
)
from acs_assistant.tui.widgets.columns import Column, columns
from acs_assistant.tui.widgets.spec_editor import read_target, warning
from tests.tui.fakes import make_circuit

WIDTH = Parameter("w_in", "m", 1e-6, 100e-6, 10e-9, "log", "", ("M1",))


@given(st.text())
def test_plain_text_holds_no_terminal_control(text: str) -> None:
    kept = plain(text)
    assert all(ch in "\n\t" or not (ord(ch) < 32 or 127 <= ord(ch) < 160) for ch in kept)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07rest", "rest"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("[bold]kept[/bold]", "[bold]kept[/bold]"),
        ("a\r\nb", "a\nb"),
    ],
)
def test_escapes_are_taken_out_and_markup_is_left_alone(raw: str, shown: str) -> None:
    assert plain(raw) == shown


def test_quantities_keep_decibels_unscaled() -> None:
    assert quantity(0.05, "dB") == "0.05"
    assert quantity(12.5e6, "Hz") == "12.5meg"
    assert quantity(None) == "–"
    assert quantity(float("nan"), "Hz") == "–"


def test_change_has_sign_and_figure() -> None:
    assert change_text(change_percent(10.0, 12.5)) == "+25.0 %"
    assert change_text(change_percent(10.0, 10.0)) == "="
    assert change_text(change_percent(None, 10.0)) == "new"
    assert change_text(change_percent(1.0, 20.1)) == "×20.1"
    assert log_bar(1.0, 2.0) == "    │▬▬  "
    assert log_bar(4.0, 1.0) == "▬▬▬▬│    "
    assert log_bar(None, 1.0) == "    │    "


def test_margin_bars_point_the_right_way() -> None:
    assert margin_bar(3.0, 10.0) == "     │■■■  "
    assert margin_bar(-3.0, 10.0) == "  ■■■│     "
    assert margin_bar(90.0, 10.0) == "     │■■■■▸"
    assert margin_bar(-90.0, 10.0) == "◂■■■■│     "
    assert margin_bar(None, 10.0) == "     │     "


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_bars_are_always_as_wide(margin: float, target: float) -> None:
    assert len(margin_bar(margin, target)) == 11


def test_trend_and_budget() -> None:
    assert trend([1.0, None, 2.0]) == "▁·█"
    assert trend([]) == ""
    assert budget_bar(0, 10) == "░" * 10
    assert budget_bar(1, 100) == "█" + "░" * 9
    assert budget_bar(200, 100) == "█" * 10


def test_first_line_drops_markdown_signs() -> None:
    assert first_line("\n\n## **Gain** of `M1`\nmore") == "Gain of M1"
    assert first_line("x" * 50, 10) == "x" * 9 + "…"


def test_sizes_are_read_on_their_grid_and_inside_their_bounds() -> None:
    assert read_size(WIDTH, "20.004u") == (pytest.approx(20e-6), "")
    value, fault = read_size(WIDTH, "0.5u")
    assert value is None and "1u to 100u" in fault
    value, fault = read_size(WIDTH, "20 parsec")
    assert value is None and fault
    assert bound_note(WIDTH, 100e-6) == "at max"
    assert bound_note(WIDTH, 1e-6) == "at min"
    assert bound_note(WIDTH, 2e-6) == ""


def test_targets_are_read_with_or_without_their_relation() -> None:
    circuit = make_circuit()
    spec = Spec("gbw", ">=", 10e6, range=(5e6, 40e6))
    assert read_target(circuit, spec, "") is None
    kept = read_target(circuit, spec, "20meg")
    assert kept is not None and (kept.relation, kept.target) == (">=", 20e6)
    turned = read_target(circuit, spec, "<= 5meg")
    assert turned is not None and (turned.relation, turned.target) == ("<=", 5e6)
    assert warning(circuit, spec) == ""
    hard = Spec("gbw", ">=", 90e6, range=(5e6, 40e6))
    assert "52.3meg" in warning(circuit, hard), "the reference's value, beyond the range"
    assert "60meg" in warning(circuit, hard, {"gbw": Extremes(2e6, 60e6)})
    assert warning(circuit, hard, {"gbw": Extremes(2e6, 95e6)}) == ""
    low = Spec("power", "<=", 90e-6, range=(100e-6, 500e-6))
    assert "100u" in warning(circuit, low)
    assert warning(circuit, low, {"power": Extremes(80e-6, 1e-3)}) == ""


@given(
    st.lists(st.lists(st.text("ab█", max_size=12), min_size=3, max_size=3), max_size=4),
    st.integers(20, 60),
)
def test_columns_never_grow_past_the_width(rows: list[list[str]], width: int) -> None:
    table = (Column("one"), Column("two", shrink=3, rank=1), Column("three", "right", rank=2))
    drawn = columns(table, rows, width)
    assert all(cell_len(line) <= max(width, 12) for line in drawn.plain.split("\n"))
