"""Sessions on disk. Each method is one transaction: after it returned, a crash loses nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from acs_assistant.domain import (
    Circuit,
    Conditions,
    Decision,
    Evaluation,
    Proposal,
    Spec,
    Task,
    Turn,
    Waveform,
)
from acs_assistant.errors import InputError
from acs_assistant.storage import rows
from acs_assistant.storage.connection import Connections, insert
from acs_assistant.storage.copy import copy_session
from acs_assistant.storage.lock import SessionLock, running
from acs_assistant.storage.records import Exchange, Provenance, SessionRecord, SessionSummary

_SUMMARY = """
select sessions.*, circuits.name as circuit_name,
    (select count(*) from turns where session = sessions.id) as turns,
    (select count(*) from evaluations join turns on turns.id = turn where session = sessions.id)
        as simulations,
    (select max(score) from evaluations join turns on turns.id = turn where session = sessions.id)
        as best,
    (select max(evaluations.met) from evaluations join turns on turns.id = turn
        where session = sessions.id) as met
from sessions join circuits on circuits.id = sessions.circuit
"""


class Store:
    """The database of sessions.

    Every thread that calls gets a connection of its own. Nothing is ever deleted: undo moves a
    session's head, archiving hides it.

    Raises:
        StorageError: The file is damaged, not ours, newer than this program, locked, or cannot be
            written; the message names the file and what mends it.
    """

    def __init__(self, path: Path) -> None:
        self._path: Path | None = path.absolute()
        self._connections = Connections(self._path)
        self._circuits: dict[int, Circuit] = {}

    @classmethod
    def memory(cls) -> Store:
        """A store that is gone with the process: benchmarks and rollouts."""
        store = cls.__new__(cls)
        store._path = None
        store._connections = Connections(None)
        store._circuits = {}
        return store

    @property
    def path(self) -> Path | None:
        """The database file; None in memory."""
        return self._path

    def close(self) -> None:
        self._connections.close()

    # Sessions

    def create_session(
        self,
        task: Task,
        *,
        title: str,
        proposer: str,
        budget: int,
        seed: int,
        model: str = "",
    ) -> SessionRecord:
        now = _now()
        with self._connections.write() as db:
            key = insert(
                db,
                "sessions",
                {
                    "title": title,
                    "circuit": rows.insert_circuit(db, task.circuit),
                    "conditions": json.dumps(asdict(task.conditions)),
                    "corners": json.dumps(task.corners),
                    "proposer": proposer,
                    "model": model,
                    "budget": budget,
                    "seed": seed,
                    "created": now,
                    "updated": now,
                },
            )
            rows.insert_specs(db, key, task.specs, now)
        return self.session(key)

    def session(self, session: int) -> SessionRecord:
        """Raises InputError when there is no such session."""
        with self._connections.read() as db:
            row = self._session_row(db, session)
            return SessionRecord(
                id=row["id"],
                title=row["title"],
                task=Task(
                    self._circuit(db, row["circuit"]),
                    list(rows.read_spec_sets(db, session).values())[-1],
                    Conditions(**json.loads(row["conditions"])),
                    tuple(json.loads(row["corners"])),
                ),
                proposer=row["proposer"],
                model=row["model"],
                budget=row["budget"],
                seed=row["seed"],
                head=row["head"],
                tip=row["tip"],
                archived=bool(row["archived"]),
                created=row["created"],
                updated=row["updated"],
                parent=row["parent"],
            )

    def sessions(self, query: str = "", *, archived: bool = False) -> list[SessionSummary]:
        """Newest first.

        Args:
            query: Words that title, circuit, proposer or model must all contain; case-blind.
            archived: List the archived ones instead.
        """
        sql, values = _SUMMARY + " where archived = ?", [int(archived)]
        parameters: list[Any] = list(values)
        text = "title || ' ' || circuits.name || ' ' || proposer || ' ' || model || ' #'"
        for word in query.split():
            sql += f" and ({text} || sessions.id) like ? escape '\\'"
            parameters.append(f"%{_escape(word)}%")
        with self._connections.read() as db:
            found = list(db.query(sql + " order by updated desc, sessions.id desc", parameters))
        return [self._summary(row) for row in found]

    def summary(self, session: int) -> SessionSummary:
        """Raises InputError when there is no such session."""
        with self._connections.read() as db:
            for row in db.query(_SUMMARY + " where sessions.id = ?", [session]):
                return self._summary(row)
        raise _unknown(session)

    def rename(self, session: int, title: str) -> None:
        self._update(session, title=title)

    def archive(self, session: int, archived: bool = True) -> None:
        self._update(session, archived=int(archived))

    def set_budget(self, session: int, budget: int) -> None:
        self._update(session, budget=budget)

    def set_proposer(self, session: int, proposer: str, model: str = "") -> None:
        self._update(session, proposer=proposer, model=model)

    def set_head(self, session: int, head: int | None, tip: int | None) -> None:
        """Moves to a turn (None: before the first); ``tip`` is where redo leads."""
        self._update(session, head=head, tip=tip)

    def set_specs(self, session: int, specs: Sequence[Spec]) -> None:
        """From now on these specs are in force; older turns keep theirs."""
        now = _now()
        with self._connections.write() as db:
            self._session_row(db, session)
            rows.insert_specs(db, session, specs, now)
            db.table("sessions").update(session, {"updated": now})

    def duplicate(self, session: int, title: str = "") -> SessionRecord:
        """A copy with all its turns, to try something else on; the original stays as it is."""
        with self._connections.write() as db:
            row = self._session_row(db, session)
            key = copy_session(db, session, title or f"{row['title']} (copy)", _now())
        return self.session(key)

    def lock(self, session: int) -> SessionLock:
        """The right to run the session; ``acquire`` it, or use it in a ``with``."""
        return SessionLock(self._path, session)

    # Turns

    def add_turn(
        self,
        session: int,
        parent: int | None,
        proposal: Proposal,
        provenance: Provenance,
        messages: Sequence[Mapping[str, Any]] = (),
    ) -> Turn:
        """Stores a proposal as a new turn below ``parent`` and moves the head to it.

        Args:
            messages: What the model was given.
        """
        now = _now()
        with self._connections.write() as db:
            self._session_row(db, session)
            sets = rows.read_spec_sets(db, session)
            spec_set = max(sets)
            index = 1
            if parent is not None:
                index += int(
                    db.conn.execute("select position from turns where id = ?", [parent]).fetchone()[
                        0
                    ]
                )
            key = rows.insert_turn(db, session, parent, index, spec_set, provenance, now)
            rows.insert_proposal(db, key, proposal)
            rows.insert_messages(db, key, messages)
            db.table("sessions").update(session, {"head": key, "tip": key, "updated": now})
        return Turn(key, parent, index, proposal, specs=sets[spec_set])

    def decide(self, session: int, turn: Turn, decision: Decision) -> Turn:
        """Stores what became of the proposal; a regenerated one leaves the head at its parent."""
        now = _now()
        with self._connections.write() as db:
            rows.insert_decision(db, turn.id, decision, now)
            update: dict[str, Any] = {"updated": now}
            if decision.kind == "regenerated":
                update |= {"head": turn.parent, "tip": turn.parent}
            db.table("sessions").update(session, update)
        return replace(turn, decision=decision)

    def add_evaluation(
        self, session: int, turn: Turn, evaluation: Evaluation, simulator: str = ""
    ) -> Turn:
        """Stores what was measured; ``simulator`` is its version."""
        now = _now()
        with self._connections.write() as db:
            rows.insert_evaluation(db, turn.id, evaluation, now)
            db.table("turns").update(turn.id, {"simulator": simulator})
            db.table("sessions").update(session, {"updated": now})
        return replace(turn, evaluation=evaluation)

    def turns(self, session: int) -> list[Turn]:
        """Every turn of the tree in the order in which they were made, without waveforms."""
        with self._connections.read() as db:
            self._session_row(db, session)
            return rows.read_turns(db, session)

    def waveforms(self, turn: int) -> tuple[Waveform, ...]:
        """The vectors of a turn's simulation; empty when they were not kept."""
        with self._connections.read() as db:
            return rows.read_waveforms(db, turn)

    def messages(self, turn: int) -> list[dict[str, Any]]:
        """The messages that the model was given in this turn, in the OpenAI shape."""
        with self._connections.read() as db:
            return rows.read_messages(db, turn)

    def add_exchange(self, session: int, turn: int, exchange: Exchange) -> None:
        """Keeps a question about a turn with its answer; ``messages`` does not show it."""
        with self._connections.write() as db:
            self._session_row(db, session)
            rows.insert_exchange(db, turn, exchange)

    def exchanges(self, session: int) -> dict[int, list[Exchange]]:
        """Questions and answers by turn, oldest first."""
        with self._connections.read() as db:
            return rows.read_exchanges(db, session)

    def provenance(self, turn: int) -> Provenance:
        """What made the turn."""
        names = ("app", "prompt", "model", "model_sha256", "simulator", "pdk", "seed")
        with self._connections.read() as db:
            for row in db.query("select * from turns where id = ?", [turn]):
                return Provenance(**{name: row[name] for name in names})
        raise InputError(f"there is no turn {turn}.")

    def spec_sets(self, session: int) -> list[tuple[Spec, ...]]:
        """Every spec set that the session had, oldest first; the last is in force."""
        with self._connections.read() as db:
            return list(rows.read_spec_sets(db, session).values())

    def _update(self, session: int, **values: Any) -> None:
        with self._connections.write() as db:
            self._session_row(db, session)
            db.table("sessions").update(session, {**values, "updated": _now()})

    def _session_row(self, db: Database, session: int) -> dict[str, Any]:
        for row in db.query("select * from sessions where id = ?", [session]):
            return dict(row)
        raise _unknown(session)

    def _circuit(self, db: Database, key: int) -> Circuit:
        if key not in self._circuits:
            row = next(iter(db.query("select document from circuits where id = ?", [key])))
            self._circuits[key] = rows.read_circuit(row["document"])
        return self._circuits[key]

    def _summary(self, row: Mapping[str, Any]) -> SessionSummary:
        return SessionSummary(
            id=row["id"],
            title=row["title"],
            circuit=row["circuit_name"],
            proposer=row["proposer"],
            model=row["model"],
            budget=row["budget"],
            simulations=row["simulations"],
            turns=row["turns"],
            best=row["best"],
            met=bool(row["met"]),
            archived=bool(row["archived"]),
            created=row["created"],
            updated=row["updated"],
            running=running(self._path, row["id"]),
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _escape(word: str) -> str:
    return word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")


def _unknown(session: int) -> InputError:
    return InputError(
        f"there is no session {session}.", hint="See them with: acs-assistant sessions list"
    )
