"""The report stands alone, says what was measured and runs nothing that a model wrote."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from acs_assistant.report.html import report_html, write_report
from acs_assistant.report.record import SessionRecord
from tests.report import session

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags, attributes and text as a browser would see them; complains of tags left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.mark.parametrize("record", [session.record(), session.failed_record()])
def test_nothing_is_fetched_and_nothing_runs(record: SessionRecord) -> None:
    hostile = replace(record.provenance, model=session.HOSTILE)
    page = Page(report_html(replace(record, id=session.HOSTILE, provenance=hostile)))
    assert not page.open
    assert not {"script", "img", "link", "iframe", "object", "base", "form"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on"), (name, value)
        if name in ("src", "href", "xlink:href", "action", "data"):
            assert value.startswith("#"), (name, value)
        assert "url(" not in value.replace("url(#", ""), (name, value)
    source = report_html(record)
    assert "@import" not in source and "<script" not in source
    assert ("http-equiv", "Content-Security-Policy") in page.attributes


def test_hostile_text_is_shown_as_text() -> None:
    assert session.HOSTILE in Page(report_html(session.record())).text
    assert session.HOSTILE in Page(report_html(session.failed_record())).text


def test_every_text_of_the_circuit_is_escaped() -> None:
    record = session.record()
    circuit = replace(
        record.task.circuit,
        title=session.HOSTILE,
        description=session.HOSTILE,
        schematic=session.HOSTILE,
        name=session.HOSTILE,
        parameters=tuple(replace(p, role=session.HOSTILE) for p in record.task.circuit.parameters),
        metrics=tuple(replace(m, description=session.HOSTILE) for m in record.task.circuit.metrics),
    )
    page = Page(report_html(replace(record, task=replace(record.task, circuit=circuit))))
    assert not {"script", "img"} & set(page.tags)
    assert ("onerror", "alert(1)") not in page.attributes
    assert page.text.count(session.HOSTILE) >= 8


def test_the_circuits_own_drawing_is_an_image_that_runs_nothing(tmp_path: Path) -> None:
    record = session.record()
    (tmp_path / "schematic.svg").write_text(f"<svg>{session.HOSTILE}</svg>")
    circuit = replace(record.task.circuit, path=tmp_path)
    page = Page(report_html(replace(record, task=replace(record.task, circuit=circuit))))
    assert page.tags.count("img") == 1 and "script" not in page.tags
    source = dict(page.attributes)["src"]
    assert source.startswith("data:image/svg+xml;base64,") and "<" not in source


def test_it_says_what_was_measured() -> None:
    text = Page(report_html(session.record())).text
    for words in (
        "Test amplifier",
        "all 3 specs met",
        "3 of 10",
        "gbw ≥ 10meg Hz 12meg Hz +2meg Hz +20.0 met",
        "power ≤ 300u W 210u W +90u W +30.0 met",
        "w_in input pair width M1, M2 50u m 1u 100u",
        "M2 pmos linear 10u 120u 12.0 9u 0.800 0.100 0.600 0.180",
        "Turn 2 rejected by the engineer",
        "The engineer: =too wide",
        "Changed: w_in 20u → 50u",
        "1 more on other branches is in the CSV export",
        "ngspice-39",
        "ab" * 32,
        "GBW 9.53meg Hz",
    ):
        assert words in text, words


def test_every_figure_is_drawn_once() -> None:
    assert Page(report_html(session.record())).tags.count("svg") == 4
    assert Page(report_html(session.failed_record())).tags.count("svg") == 2


def test_missed_and_empty_sessions(tmp_path: Path) -> None:
    record = session.record()
    missed = Page(report_html(replace(record, turns=record.turns[:1]))).text
    assert "1 of 3 specs met" in missed and "not met" in missed
    write_report(replace(record, turns=(), waveforms=(), messages=()), tmp_path / "empty.html")
    text = Page((tmp_path / "empty.html").read_text(encoding="utf-8")).text
    assert "nothing simulated" in text and "No turn was made." in text
