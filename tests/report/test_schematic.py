"""The annotated drawing names every device once, with its sizes and state."""

from __future__ import annotations

from dataclasses import replace

from acs_assistant.report.schematic import annotated, device_lines
from tests.report import session


def test_transistors_come_first_with_aligned_columns() -> None:
    record = session.record()
    assert device_lines(record.task.circuit, record.turns[3]) == [
        "M1  w_in=50u      10uA  gm/Id 15.0  saturation",
        "M2  w_in=50u      10uA  gm/Id 12.0  linear",
        "Ib  i_bias=12.3u",
    ]


def test_names_sort_as_people_count() -> None:
    record = session.record()
    circuit = record.task.circuit
    many = replace(circuit.parameters[0], devices=("M10", "m2", "M1"))
    lines = device_lines(replace(circuit, parameters=(many,)), record.turns[3])
    assert [line.split()[0] for line in lines] == ["M1", "m2", "M10"]


def test_a_rejected_turn_has_sizes_and_no_state() -> None:
    record = session.record()
    assert device_lines(record.task.circuit, record.turns[1]) == [
        "Ib  i_bias=12.3u", "M1  w_in=30u", "M2  w_in=30u",
    ]  # fmt: skip


def test_what_is_missing_is_left_out() -> None:
    record = session.record()
    circuit = record.task.circuit
    assert annotated(circuit, None) == circuit.schematic
    bare = replace(circuit, schematic="", parameters=())
    assert annotated(bare, None) == ""
    assert annotated(bare, record.turns[1]) == ""
    assert annotated(circuit, record.turns[3]).startswith("in --[M1 M2]-- out\n\nM1  w_in=50u")
