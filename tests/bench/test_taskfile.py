from __future__ import annotations

import json
from pathlib import Path

import pytest

from acs_assistant.bench.taskfile import (
    BenchTask,
    Witness,
    read_tasks,
    read_witnesses,
    witness_file,
    write_tasks,
    write_witnesses,
)
from acs_assistant.domain import Spec
from acs_assistant.errors import InputError
from tests.optimizers.toy import toy_circuit

TASK = BenchTask(
    "a",
    "toy",
    (Spec("gbw", ">=", 1e7), Spec("power", "==", 1e-4, weight=2.0, tolerance=1e-5)),
    {"load": 3e-12},
    ("ss", "ff"),
    7,
    "hard",
)


def test_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "tasks.json"
    plain = BenchTask("b", "toy", (Spec("gbw", ">=", 2e7),), corners=("ff",))
    write_tasks(file, [TASK, plain])
    assert read_tasks(file) == [TASK, plain]
    assert json.loads(file.read_text())[1] == {
        "id": "b",
        "circuit": "toy",
        "specs": [{"metric": "gbw", "relation": ">=", "target": 2e7}],
        "corner": "ff",
    }
    witness = Witness("a", {"w_in": 1e-6}, {"gbw": 1.2e7})
    write_witnesses(witness_file(file), [witness])
    assert read_witnesses(tmp_path / "witnesses" / "tasks.json") == {"a": witness}


def test_task_of_an_entry() -> None:
    task = TASK.task(toy_circuit())
    assert task.corners == ("ss", "ff")
    assert (task.conditions.corner, task.conditions.load) == ("ss", 3e-12)
    assert task.conditions.supply == 1.8


def test_metric_that_the_circuit_does_not_have() -> None:
    with pytest.raises(InputError, match=r"task a: .*'gwb'.*\n.*Did you mean 'gbw'"):
        BenchTask("a", "toy", (Spec("gwb", ">=", 1.0),)).task(toy_circuit())


GOOD = '{"id": "a", "circuit": "c", "specs": [{"metric": "m", "relation": ">=", "target": 1}]}'


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (f"[\n{GOOD},\n]", 3, "not JSON"),
        ("{}", None, "list"),
        ("[]", None, "no tasks"),
        (f"[\n{GOOD},\n{GOOD}\n]", None, "two tasks have the id 'a'"),
        (f"[\n{GOOD},\n" + GOOD.replace(">=", "=>") + "\n]", 3, "entry 1.specs.0.relation"),
        (f"[{GOOD},\n\n" + GOOD.replace("circuit", "circiut") + "]", 3, "entry 1.circuit"),
        (f"[\n{GOOD},\n" + GOOD.replace("1}", "NaN}") + "\n]", 3, "entry 1.specs.0.target"),
        (f"[\n{GOOD},\n" + GOOD.replace('"a"', '""') + "\n]", 3, "entry 1.id"),
        ("[" + GOOD.replace("}]}", '}], "corner": "xx"}') + "]", 1, "entry 0.corner"),
    ],
)
def test_broken_files_name_file_line_and_key(
    tmp_path: Path, text: str, line: int | None, words: str
) -> None:
    file = tmp_path / "tasks.json"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_tasks(file)
    assert caught.value.file == file
    assert caught.value.line == line
    assert words in caught.value.message


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_tasks(tmp_path / "nothing.json")
