"""Chat JSONL: one conversation a line, in the OpenAI message shape, for any trainer to read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from acs_assistant import atomic
from acs_assistant.errors import InputError
from acs_assistant.report.record import Message, SessionRecord, evaluation_of, sizing_of

_ROLES = ("system", "user", "assistant", "tool")


def conversation(record: SessionRecord) -> dict[str, Any]:
    """One line: ``messages``, ``tools``, and what the conversation reached in ``metadata``.

    Raises:
        InputError: The session has no messages, or one is not a chat message.
    """
    if not record.messages:
        raise InputError(
            f"session {record.id} has no conversation to export.",
            hint="Sessions of a black-box optimizer have no messages; export csv or report.",
        )
    return {
        "messages": [_checked(message, record.id) for message in record.messages],
        "tools": [dict(tool) for tool in record.tools],
        "metadata": _metadata(record),
    }


def jsonl_text(records: Iterable[SessionRecord]) -> str:
    """One JSON document a line; every line ends with a newline."""
    return "".join(
        json.dumps(conversation(record), ensure_ascii=False, allow_nan=False) + "\n"
        for record in records
    )


def write_jsonl(records: Iterable[SessionRecord], path: Path) -> None:
    """Writes ``jsonl_text`` atomically."""
    atomic.write_text(path, jsonl_text(records))


def _checked(message: Message, session: str) -> dict[str, Any]:
    """The message in plain containers, with arguments as the JSON text that the shape asks for."""
    if message.get("role") not in _ROLES:
        raise InputError(f"session {session} holds a message of role {message.get('role')!r}.")
    plain = dict(message)
    if "tool_calls" in plain:
        plain["tool_calls"] = [_call(call) for call in plain["tool_calls"]]
    return plain


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call["function"])
    if not isinstance(function["arguments"], str):
        function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
    return {"type": "function", **call, "function": function}


def _metadata(record: SessionRecord) -> dict[str, Any]:
    provenance = record.provenance
    return {
        "session": record.id,
        "created": record.created,
        "circuit": record.task.circuit.name,
        "specs": [
            {"metric": s.metric, "relation": s.relation, "target": s.target}
            for s in record.task.specs
        ],
        "corners": list(record.task.corners),
        "proposer": provenance.proposer,
        "model": provenance.model,
        "model_sha256": provenance.model_sha256,
        "prompt_version": provenance.prompt_version,
        "ngspice_version": provenance.ngspice_version,
        "pdk": provenance.pdk,
        "seed": provenance.seed,
        "met": record.first_met_at is not None,
        "turns": [
            {
                "turn": turn.index,
                "decision": turn.decision.kind if turn.decision else None,
                "sizing": sizing_of(turn),
                "score": evaluation_of(turn).score.value if turn.evaluation else None,
                "met": evaluation_of(turn).score.met if turn.evaluation else None,
            }
            for turn in record.path
        ],
    }
