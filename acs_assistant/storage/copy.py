"""Copies a session row by row inside one transaction."""

from __future__ import annotations

from typing import Any

from sqlite_utils import Database

from acs_assistant.storage.connection import insert

_OF_TURN = ("proposals", "decisions", "evaluations", "spec_results", "turn_messages")
_OF_MEASUREMENT = ("metrics", "operating_points", "waveforms")


def copy_session(db: Database, session: int, title: str, now: str) -> int:
    """Returns the id of the copy. Turns keep their order, so ids grow as in the original."""
    row = _one(db, "select * from sessions where id = ?", session)
    row |= {"title": title, "parent": session, "created": now, "updated": now, "archived": 0}
    head, tip = row.pop("head"), row.pop("tip")
    copy = insert(db, "sessions", row | {"id": None})
    spec_sets = {}
    for spec_set in _all(db, "select * from spec_sets where session = ? order by id", session):
        old = spec_set["id"]
        spec_sets[old] = insert(db, "spec_sets", spec_set | {"id": None, "session": copy})
        _copy_rows(db, "specs", "spec_set", old, spec_sets[old])
    turns: dict[int | None, int | None] = {None: None}
    for turn in _all(db, "select * from turns where session = ? order by id", session):
        old = turn["id"]
        new = insert(
            db,
            "turns",
            turn
            | {
                "id": None,
                "session": copy,
                "parent": turns[turn["parent"]],
                "spec_set": spec_sets[turn["spec_set"]],
            },
        )
        turns[old] = new
        for table in _OF_TURN:
            _copy_rows(db, table, "turn", old, new)
        for measurement in _all(db, "select * from measurements where turn = ? order by id", old):
            key = insert(db, "measurements", measurement | {"id": None, "turn": new})
            for table in _OF_MEASUREMENT:
                _copy_rows(db, table, "measurement", measurement["id"], key)
    db.table("sessions").update(copy, {"head": turns[head], "tip": turns[tip]})
    return copy


def _copy_rows(db: Database, table: str, column: str, old: int, new: int) -> None:
    others = [name for name in db.table(table).columns_dict if name != column]
    names = ", ".join(others)
    db.conn.execute(
        f"insert into {table} ({column}, {names}) "
        f"select ?, {names} from {table} where {column} = ?",
        [new, old],
    )


def _all(db: Database, sql: str, key: int) -> list[dict[str, Any]]:
    return [dict(row) for row in db.query(sql, [key])]


def _one(db: Database, sql: str, key: int) -> dict[str, Any]:
    return _all(db, sql, key)[0]
