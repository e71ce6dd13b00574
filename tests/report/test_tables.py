"""What CSV and JSONL say is what the session holds."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from acs_assistant.domain import Conditions, Evaluation, Measurement
from acs_assistant.errors import InputError
from acs_assistant.report.jsonl import conversation, jsonl_text, write_jsonl
from acs_assistant.report.table import csv_text, write_csv
from acs_assistant.scoring import score
from tests.report import session


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_round_trip(tmp_path: Path) -> None:
    record = session.record()
    write_csv(record, tmp_path / "turns.csv")
    found = rows((tmp_path / "turns.csv").read_bytes().decode())
    assert [row["turn"] for row in found] == ["1", "2", "3", "4"]
    assert [row["simulation"] for row in found] == ["1", "", "2", "3"]
    assert [row["met"] for row in found] == ["false", "", "false", "true"]
    assert [row["decision"] for row in found] == ["accepted", "rejected", "accepted", "accepted"]
    for turn, row in zip(record.turns, found, strict=True):
        assert row["parent"] == ("" if turn.parent is None else str(turn.parent))
        assert float(row["w_in"]) == turn.proposal.sizing["w_in"]
        if turn.evaluation is None:
            assert row["gbw"] == "" and row["score"] == ""
        else:
            assert float(row["score"]) == turn.evaluation.score.value
            for name, value in turn.evaluation.nominal.metrics.items():
                assert float(row[name]) == value


def test_csv_runs_no_formula() -> None:
    assert rows(csv_text(session.record()))[1]["reason"] == "'=too wide"


def test_csv_keeps_hostile_text_in_its_cell() -> None:
    found = rows(csv_text(session.failed_record()))
    assert len(found) == 1
    assert found[0]["error"] == session.HOSTILE
    assert found[0]["status"] == "failed" and found[0]["gbw"] == ""


def test_csv_has_a_column_for_each_corner() -> None:
    record = session.record()
    corners = tuple(
        Measurement("ok", {"gbw": value}, conditions=Conditions(corner=corner))
        for corner, value in (("tt", 2e7), ("ss", 1.5e7))
    )
    turn = replace(record.turns[0], evaluation=Evaluation(corners, score(session.SPECS, corners)))
    row = rows(csv_text(replace(record, turns=(turn,))))[0]
    assert (float(row["gbw@tt"]), float(row["gbw@ss"]), row["power@ss"]) == (2e7, 1.5e7, "")


def test_csv_column_names_never_clash() -> None:
    record = session.record()
    circuit = record.task.circuit
    clash = replace(circuit.metrics[1], name="w_in")
    task = replace(record.task, circuit=replace(circuit, metrics=(clash,)))
    header = csv_text(replace(record, task=task, turns=())).splitlines()[0].split(",")
    assert header[-3:] == ["w_in", "i_bias", "metric:w_in"]


def test_jsonl_is_the_openai_shape(tmp_path: Path) -> None:
    record = session.record()
    write_jsonl([record, record], tmp_path / "chat.jsonl")
    lines = (tmp_path / "chat.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == "" and len(lines) == 2
    chat = json.loads(lines[0])
    assert [m["role"] for m in chat["messages"]] == ["system", "user", "assistant", "tool"]
    assert chat["messages"][1]["content"] == session.HOSTILE
    call = chat["messages"][2]["tool_calls"][0]
    assert call["type"] == "function"
    assert json.loads(call["function"]["arguments"]) == {"w_in": "20u"}
    assert chat["messages"][3]["tool_call_id"] == call["id"]
    assert chat["tools"][0]["function"]["name"] == "simulate"


def test_jsonl_metadata_follows_the_branch() -> None:
    metadata = conversation(session.record())["metadata"]
    assert [turn["turn"] for turn in metadata["turns"]] == [1, 2, 4]
    assert metadata["turns"][1]["score"] is None
    assert metadata["met"] is True and metadata["seed"] == 7


def test_jsonl_leaves_the_record_as_it_was() -> None:
    record = session.record()
    jsonl_text([record])
    assert record.messages[2]["tool_calls"][0]["function"]["arguments"] == {"w_in": "20u"}


def test_jsonl_without_messages_is_bad_input() -> None:
    with pytest.raises(InputError, match="no conversation"):
        jsonl_text([replace(session.record(), messages=())])
    with pytest.raises(InputError, match="role 'robot'"):
        jsonl_text([replace(session.record(), messages=({"role": "robot"},))])


def test_record_knows_branch_best_and_first_met() -> None:
    record = session.record()
    assert [turn.id for turn in record.path] == [1, 2, 4]
    assert [turn.id for turn in replace(record, head=3).path] == [1, 3]
    assert record.best_turn is record.turns[3]
    assert replace(record, best=3).best_turn is record.turns[2]
    assert record.first_met_at == 3
    assert replace(record, turns=record.turns[:3]).first_met_at is None
    assert replace(record, turns=()).path == ()
