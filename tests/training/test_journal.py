"""What a run writes down while it goes."""

from __future__ import annotations

import io
import itertools
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from acs_assistant.training import journal
from acs_assistant.training.journal import Journal


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    loading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = loading.EventAccumulator(str(folder))
    events.Reload()
    return {
        name: [(point.step, point.value) for point in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_figures_are_lines_and_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Journal(tmp_path) as writer:
        for step in (1, 2):
            writer.advance(step / 4, f"step {step}")
            writer.write({"step": step, "loss": 3.0 / step, "met": None}, step / 4, f"step {step}")
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 3.0, "met": None}, {"step": 2, "loss": 1.5, "met": None}]
    assert scalars(tmp_path / "tensorboard") == {"loss": [(1, 3.0), (2, 1.5)]}
    said = capsys.readouterr().err
    assert "step 2  0.0 min left" in said and "step 1" in said


def test_a_resumed_run_replaces_what_the_killed_one_wrote_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(1_000_000_000)  # files are ordered by the second they begin at
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    for begins, value in ((0, 5.0), (1, 7.0)):
        with Journal(tmp_path, step=begins) as writer:
            for step in range(begins + 1, 4):
                writer.write({"step": step, "loss": value}, 0.5, "")
    assert scalars(tmp_path / "tensorboard")["loss"] == [(1, 5.0), (2, 7.0), (3, 7.0)]


def test_a_terminal_gets_one_bar_with_the_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    monkeypatch.setattr(journal, "Console", lambda **_: console)
    times = iter([0.0, 300.0, 300.0])
    monkeypatch.setattr(journal.time, "monotonic", lambda: next(times, 300.0))
    with Journal(tmp_path, share=0.25) as writer:
        writer.advance(0.5, "step 9  loss 1.0")
        writer._bar.refresh()
    text = screen.getvalue()
    assert "step 9  loss 1.0  10.0 min left" in text and "50%" in text
