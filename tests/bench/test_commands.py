"""``bench tasks``, ``bench check`` and ``bench summary`` as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from acs_assistant.bench.taskfile import read_tasks, witness_file
from acs_assistant.cli.bench import bench
from acs_assistant.errors import InputError
from tests.bench.test_summary import run


def call(*arguments: str | Path) -> str:
    done = CliRunner().invoke(bench, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_tasks_are_drawn_go_on_and_are_checked(tmp_path: Path) -> None:
    out = tmp_path / "set.json"
    draw = ("tasks", "ota_5t", "--count", "2", "--seed", "7", "--workers", "1", "--out", out)
    assert "2 tasks" in call(*draw, "--level", "easy")
    before = out.read_text()
    assert "set_corners.json: 2 tasks" in call(*draw, "--level", "easy", "--corners")
    assert out.read_text() == before
    corners = out.with_name("set_corners.json")
    assert [len(task.corners) for task in read_tasks(corners)] == [5, 5]
    assert "every task is met by its witness" in call("check", corners, "--workers", "1")
    entries = json.loads(out.read_text())
    entries[1]["specs"][0] |= {"target": 1e12, "relation": ">="}
    out.write_text(json.dumps(entries))
    with pytest.raises(InputError, match=r"1 tasks are not met .*-01"):
        call("check", out, "--workers", "1")
    witness_file(out).write_text("[]")
    with pytest.raises(InputError, match="no witness"):
        call(*draw)


def test_a_stopped_benchmark_can_be_summarized(tmp_path: Path) -> None:
    runs = [
        run(task, proposer, [0.5, 1.0], circuit="ota_5t")
        for task, proposer in (("a", "x"), ("a", "y"), ("b", "x"))
    ]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(r) + "\n" for r in runs))
    out = tmp_path / "tables"
    assert "| x |" in call("summary", tmp_path, "--proposers", "x", "--out", out)
    assert json.loads((out / "summary.json").read_text())["overall"]["x"]["tasks"] == 2
    document = json.loads(call("summary", tmp_path, "--json", "--out", out))
    assert document["overall"]["x"]["tasks"] == 1
    assert (out / "summary.md").is_file()
    assert (out / "success.svg").is_file()
    assert not (tmp_path / "summary.json").exists()
    with pytest.raises(InputError, match="no run of 'z'"):
        call("summary", tmp_path, "--proposers", "z", "--out", out)
