"""Domain objects to rows and back. Every function works inside the caller's transaction."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, cast

import numpy as np
from pydantic import TypeAdapter
from sqlite_utils import Database

from acs_assistant.domain import (
    Circuit,
    Conditions,
    Decision,
    Evaluation,
    Measurement,
    OperatingPoint,
    Proposal,
    Score,
    Spec,
    SpecResult,
    Turn,
    Waveform,
)
from acs_assistant.storage.connection import insert
from acs_assistant.storage.records import Exchange, Provenance

Row = Mapping[str, Any]


@cache
def _circuits() -> TypeAdapter[Circuit]:
    return TypeAdapter(Circuit)


def insert_circuit(db: Database, circuit: Circuit) -> int:
    """Stores the circuit as it is now, once per content, so that a session outlives an edit."""
    document = _circuits().dump_json(circuit).decode()
    digest = hashlib.sha256(document.encode()).hexdigest()
    db.conn.execute(
        "insert or ignore into circuits (sha256, name, document) values (?, ?, ?)",
        [digest, circuit.name, document],
    )
    return int(db.conn.execute("select id from circuits where sha256 = ?", [digest]).fetchone()[0])


def read_circuit(document: str) -> Circuit:
    return _circuits().validate_json(document)


def insert_specs(db: Database, session: int, specs: Sequence[Spec], now: str) -> int:
    key = insert(db, "spec_sets", {"session": session, "created": now})
    db.table("specs").insert_all(
        {
            "spec_set": key,
            "position": position,
            "metric": spec.metric,
            "relation": spec.relation,
            "target": spec.target,
            "weight": spec.weight,
            "tolerance": spec.tolerance,
            "low": spec.range[0] if spec.range else None,
            "high": spec.range[1] if spec.range else None,
        }
        for position, spec in enumerate(specs)
    )
    return key


def read_spec_sets(db: Database, session: int) -> dict[int, tuple[Spec, ...]]:
    """Every spec set that the session had, oldest first."""
    sets: dict[int, list[Spec]] = {
        row["id"]: []
        for row in db.query("select id from spec_sets where session = ? order by id", [session])
    }
    for row in db.query(
        "select specs.* from specs join spec_sets on spec_sets.id = spec_set "
        "where session = ? order by spec_set, position",
        [session],
    ):
        band = None if row["low"] is None else (row["low"], row["high"])
        sets[row["spec_set"]].append(
            Spec(
                row["metric"], row["relation"], row["target"], row["weight"], row["tolerance"], band
            )
        )
    return {key: tuple(specs) for key, specs in sets.items()}


def insert_turn(
    db: Database,
    session: int,
    parent: int | None,
    index: int,
    spec_set: int,
    provenance: Provenance,
    now: str,
) -> int:
    return insert(
        db,
        "turns",
        {
            "session": session,
            "parent": parent,
            "position": index,
            "spec_set": spec_set,
            "created": now,
            "app": provenance.app,
            "prompt": provenance.prompt,
            "model": provenance.model,
            "model_sha256": provenance.model_sha256,
            "simulator": provenance.simulator,
            "pdk": provenance.pdk,
            "seed": provenance.seed,
        },
    )


def insert_proposal(db: Database, turn: int, proposal: Proposal) -> None:
    insert(
        db,
        "proposals",
        {
            "turn": turn,
            "proposer": proposal.proposer,
            "sizing": json.dumps(dict(proposal.sizing)),
            "reasoning": proposal.reasoning,
            "raw": proposal.raw,
            "predictions": json.dumps(dict(proposal.predictions)),
            "error": proposal.error,
            "seconds": proposal.seconds,
        },
    )


def insert_decision(db: Database, turn: int, decision: Decision, now: str) -> None:
    insert(
        db,
        "decisions",
        {
            "turn": turn,
            "kind": decision.kind,
            "decided_by": decision.by,
            "sizing": json.dumps(dict(decision.sizing)),
            "reason": decision.reason,
            "created": now,
        },
    )


def insert_evaluation(db: Database, turn: int, evaluation: Evaluation, now: str) -> None:
    score = evaluation.score
    insert(
        db, "evaluations", {"turn": turn, "score": score.value, "met": score.met, "created": now}
    )
    db.table("spec_results").insert_all(
        {
            "turn": turn,
            "position": position,
            "value": result.value,
            "margin": result.margin,
            "shortfall": result.shortfall,
            "met": result.met,
            "corner": result.corner,
        }
        for position, result in enumerate(score.specs)
    )
    for measurement in evaluation.measurements:
        _insert_measurement(db, turn, measurement)


def _insert_measurement(db: Database, turn: int, measurement: Measurement) -> None:
    conditions = measurement.conditions
    key = insert(
        db,
        "measurements",
        {
            "turn": turn,
            "corner": conditions.corner,
            "supply": conditions.supply,
            "temperature": conditions.temperature,
            "load": conditions.load,
            "status": measurement.status,
            "error": measurement.error,
            "seconds": measurement.seconds,
            "cached": measurement.cached,
        },
    )
    db.table("metrics").insert_all(
        {"measurement": key, "position": position, "name": name, "value": value}
        for position, (name, value) in enumerate(measurement.metrics.items())
    )
    db.table("operating_points").insert_all(
        {
            "measurement": key,
            "position": position,
            "name": device.name,
            "kind": device.kind,
            "region": device.region,
            "id": device.id,
            "gm": device.gm,
            "gds": device.gds,
            "vgs": device.vgs,
            "vds": device.vds,
            "vth": device.vth,
            "vdsat": device.vdsat,
        }
        for position, device in enumerate(measurement.devices)
    )
    for position, waveform in enumerate(measurement.waveforms):
        insert(db, "waveforms", {"measurement": key, "position": position, **_pack(waveform)})


def _pack(waveform: Waveform) -> dict[str, Any]:
    columns = {
        name: "complex" if np.iscomplexobj(np.asarray(y)) else "real"
        for name, y in waveform.y.items()
    }
    arrays = [np.asarray(waveform.x, dtype="<f8").tobytes()]
    for name, kind in columns.items():
        dtype = "<c16" if kind == "complex" else "<f8"
        arrays.append(np.asarray(waveform.y[name], dtype=dtype).tobytes())
    return {
        "analysis": waveform.analysis,
        "testbench": waveform.testbench,
        "x_name": waveform.x_name,
        "columns": json.dumps({"points": len(waveform.x), "y": columns}),
        "data": zlib.compress(b"".join(arrays), 3),
    }


def _unpack(row: Row) -> Waveform:
    layout = json.loads(row["columns"])
    points, data, offset = layout["points"], zlib.decompress(row["data"]), 0

    def take(dtype: str) -> tuple[Any, ...]:
        nonlocal offset
        array = np.frombuffer(data, dtype=dtype, count=points, offset=offset)
        offset += array.nbytes
        return tuple(array.tolist())

    x = take("<f8")
    y = {name: take("<c16" if kind == "complex" else "<f8") for name, kind in layout["y"].items()}
    return Waveform(row["analysis"], row["testbench"], row["x_name"], x, y)


def read_waveforms(db: Database, turn: int) -> tuple[Waveform, ...]:
    return tuple(
        _unpack(row)
        for row in db.query(
            "select waveforms.* from waveforms join measurements on measurements.id = measurement "
            "where turn = ? order by measurement, position",
            [turn],
        )
    )


def read_turns(db: Database, session: int) -> list[Turn]:
    """The whole tree, in the order in which the turns were made; without waveforms."""
    sets = read_spec_sets(db, session)
    rows = list(
        db.query(
            "select turns.id, turns.parent, turns.position, turns.spec_set, proposals.*, "
            "decisions.kind, decisions.decided_by, decisions.sizing as decided, decisions.reason, "
            "evaluations.score, evaluations.met from turns join proposals on proposals.turn = "
            "turns.id left join decisions on decisions.turn = turns.id left join evaluations on "
            "evaluations.turn = turns.id where session = ? order by turns.id",
            [session],
        )
    )
    results = _grouped(
        db.query(
            "select spec_results.* from spec_results join turns on turns.id = turn "
            "where session = ? order by turn, position",
            [session],
        ),
        "turn",
    )
    measurements = _read_measurements(db, session)
    turns = []
    for row in rows:
        specs = sets[row["spec_set"]]
        evaluation = None
        if row["score"] is not None:
            judged = tuple(
                SpecResult(
                    spec, r["value"], r["margin"], r["shortfall"], bool(r["met"]), r["corner"]
                )
                for spec, r in zip(specs, results[row["id"]], strict=True)
            )
            evaluation = Evaluation(
                tuple(measurements[row["id"]]), Score(row["score"], bool(row["met"]), judged)
            )
        turns.append(
            Turn(
                row["id"],
                row["parent"],
                row["position"],
                _proposal(row),
                _decision(row),
                evaluation,
                specs,
            )
        )
    return turns


def _proposal(row: Row) -> Proposal:
    return Proposal(
        json.loads(row["sizing"]),
        row["proposer"],
        row["reasoning"],
        row["raw"],
        json.loads(row["predictions"]),
        row["error"],
        row["seconds"],
    )


def _decision(row: Row) -> Decision | None:
    if row["kind"] is None:
        return None
    return Decision(row["kind"], json.loads(row["decided"]), row["reason"], row["decided_by"])


def _read_measurements(db: Database, session: int) -> dict[int, list[Measurement]]:
    of_session = (
        "join measurements on measurements.id = measurement join turns on turns.id = turn "
        "where turns.session = ? order by measurement, {0}.position"
    )
    metrics = _grouped(
        db.query(f"select metrics.* from metrics {of_session.format('metrics')}", [session]),
        "measurement",
    )
    devices = _grouped(
        db.query(
            "select operating_points.* from operating_points "
            f"{of_session.format('operating_points')}",
            [session],
        ),
        "measurement",
    )
    found: dict[int, list[Measurement]] = defaultdict(list)
    for row in db.query(
        "select measurements.* from measurements join turns on turns.id = turn "
        "where session = ? order by measurements.id",
        [session],
    ):
        found[row["turn"]].append(
            Measurement(
                row["status"],
                {m["name"]: _number(m["value"]) for m in metrics[row["id"]]},
                tuple(_device(d) for d in devices[row["id"]]),
                Conditions(row["supply"], row["temperature"], row["load"], row["corner"]),
                row["error"],
                row["seconds"],
                bool(row["cached"]),
            )
        )
    return found


def _device(row: Row) -> OperatingPoint:
    names = ("id", "gm", "gds", "vgs", "vds", "vth", "vdsat")
    return OperatingPoint(
        row["name"], row["kind"], row["region"], *(_number(row[name]) for name in names)
    )


def _number(value: float | None) -> float:
    """SQLite stores a NaN as null."""
    return float("nan") if value is None else value


def _grouped(rows: Iterable[dict[str, Any]], key: str) -> dict[int, list[dict[str, Any]]]:
    groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row[key]].append(row)
    return groups


def insert_messages(db: Database, turn: int, messages: Sequence[Mapping[str, Any]]) -> None:
    """Adds messages to a turn; each distinct one is stored once, however many turns share it."""
    held = "select coalesce(max(position), -1) + 1 from turn_messages where turn = ?"
    first = int(db.conn.execute(held, [turn]).fetchone()[0])
    for position, message in enumerate(messages, start=first):
        document = json.dumps(message, ensure_ascii=False, sort_keys=True)
        digest = hashlib.sha256(document.encode()).hexdigest()
        db.conn.execute(
            "insert or ignore into messages (sha256, document) values (?, ?)", [digest, document]
        )
        db.conn.execute(
            "insert into turn_messages (turn, position, message) "
            "select ?, ?, id from messages where sha256 = ?",
            [turn, position, digest],
        )


def read_messages(db: Database, turn: int) -> list[dict[str, Any]]:
    """What the model was given; questions asked later are left out."""
    return [
        message
        for row in db.query(
            "select document from turn_messages join messages on messages.id = message "
            "where turn = ? order by position",
            [turn],
        )
        if (message := _message(row)).get("name") not in (_QUESTION, _ANSWER)
    ]


_QUESTION, _ANSWER = "question", "answer"


def insert_exchange(db: Database, turn: int, exchange: Exchange) -> None:
    """Two messages behind those of the turn, told apart by their names."""
    answer: dict[str, Any] = {"role": "assistant", "name": _ANSWER, "content": exchange.answer}
    if exchange.sizing:
        answer["sizing"] = dict(exchange.sizing)
    question = {"role": "user", "name": _QUESTION, "content": exchange.question}
    insert_messages(db, turn, (question, answer))


def read_exchanges(db: Database, session: int) -> dict[int, list[Exchange]]:
    """Questions and answers by turn, in the order in which they were asked."""
    found: dict[int, list[Exchange]] = defaultdict(list)
    question = ""
    for row in db.query(
        "select turn, document from turn_messages join messages on messages.id = message "
        "join turns on turns.id = turn where session = ? and instr(document, '\"name\"') > 0 "
        "order by turn, turn_messages.position",
        [session],
    ):
        message = _message(row)
        if message.get("name") == _QUESTION:
            question = message["content"]
        elif message.get("name") == _ANSWER:
            answer = Exchange(question, message["content"], message.get("sizing", {}))
            found[row["turn"]].append(answer)
    return dict(found)


def _message(row: Row) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(row["document"]))
