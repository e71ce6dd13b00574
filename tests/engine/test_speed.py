"""Tokens a second: what is counted, and what is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from acs_assistant import llm
from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.domain import Task
from acs_assistant.engine import speed
from acs_assistant.engine.speed import Speed, keep_speed, load_speeds, measure_speed
from acs_assistant.errors import ModelError
from acs_assistant.llm.scripted import ScriptedModel
from tests.llm.tiny_gguf import write_tiny_gguf
from tests.tui.fakes import make_circuit


@pytest.fixture
def task() -> Task:
    circuit = make_circuit()
    return Task(circuit, circuit.specs, circuit.conditions, ("tt",))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "speeds_file", lambda: tmp_path / "speeds.json")


class Ticking(ScriptedModel):
    """Two seconds until the first word, a quarter of a second for each further one."""

    now = 0.0

    def stream(self, *args: object, **kwargs: object) -> Iterator[str]:  # type: ignore[override]
        self.now += 1.75
        for piece in super().stream(*args, **kwargs):  # type: ignore[arg-type]
            self.now += 0.25
            yield piece

    def clock(self) -> float:
        return self.now


class Counting(Ticking):
    def prompt_tokens(self, messages: object, tools: object) -> int:
        return 500


@pytest.mark.parametrize(("kind", "read"), [(Ticking, None), (Counting, 250.0)])
def test_reading_and_writing_are_timed_apart(
    task: Task, kind: Callable[..., Ticking], read: float | None
) -> None:
    model = kind(*["word " * 9] * 50)
    said: list[str] = []
    found = measure_speed(model, task, CancelToken(), said.append, model.clock)
    assert found.generation == pytest.approx(4.0) and found.prompt == read
    assert said == ["reading a prompt", "writing"]
    beginnings = {request.messages[0]["content"] for request in model.requests}
    assert len(beginnings) == 1
    again = kind(*["word " * 9] * 50)
    measure_speed(again, task, CancelToken(), said.append, again.clock)
    assert again.requests[0].messages[0]["content"] not in beginnings, "nothing is in its memory"


def test_a_model_that_says_nothing_cannot_be_timed(task: Task) -> None:
    with pytest.raises(ModelError, match="nothing"):
        measure_speed(ScriptedModel(""), task, CancelToken(), lambda what: None)


def test_it_can_be_stopped(task: Task) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(CancelledError):
        measure_speed(ScriptedModel("a b c"), task, cancel, lambda what: None)


def test_what_is_measured_is_kept(tmp_path: Path) -> None:
    first, second = Speed(4000.0, 953.0, "2026-11-23"), Speed(None, 20.0, "2026-11-24")
    keep_speed("abc", first)
    keep_speed("http://localhost:8080/v1", second)
    assert load_speeds() == {"abc": first, "http://localhost:8080/v1": second}
    (tmp_path / "speeds.json").write_text("{broken")
    assert load_speeds() == {}


def test_a_real_model(task: Task, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_tiny_gguf(path, context=4096)
    model = llm.open_model(str(path))
    try:
        found = measure_speed(model, task, CancelToken(), lambda what: None)
    finally:
        model.close()
    assert found.generation > 1.0 and found.prompt is not None and found.prompt > 1.0
