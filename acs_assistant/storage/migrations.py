"""The schema as numbered steps. A step that was ever released never changes; add the next one.

``PRAGMA user_version`` holds the number of steps that a file has seen.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlite_utils import Database


def _sessions_and_turns(db: Database) -> None:
    _run(
        db,
        """
        create table circuits (
            id integer primary key,
            sha256 text not null unique,
            name text not null,
            document text not null
        );
        create table sessions (
            id integer primary key autoincrement,
            title text not null,
            circuit integer not null references circuits(id),
            conditions text not null,
            corners text not null,
            proposer text not null,
            model text not null,
            budget integer not null,
            seed integer not null,
            head integer references turns(id),
            tip integer references turns(id),
            archived integer not null default 0,
            parent integer references sessions(id),
            created text not null,
            updated text not null
        );
        create table spec_sets (
            id integer primary key autoincrement,
            session integer not null references sessions(id),
            created text not null
        );
        create table specs (
            spec_set integer not null references spec_sets(id),
            position integer not null,
            metric text not null,
            relation text not null,
            target real not null,
            weight real not null,
            tolerance real not null,
            low real,
            high real,
            primary key (spec_set, position)
        ) without rowid;
        create table turns (
            id integer primary key autoincrement,
            session integer not null references sessions(id),
            parent integer references turns(id),
            position integer not null,
            spec_set integer not null references spec_sets(id),
            created text not null,
            app text not null,
            prompt text not null,
            model text not null,
            model_sha256 text not null,
            simulator text not null,
            pdk text not null,
            seed integer not null
        );
        create table proposals (
            turn integer primary key references turns(id),
            proposer text not null,
            sizing text not null,
            reasoning text not null,
            raw text not null,
            predictions text not null,
            error text not null,
            seconds real not null
        );
        create table decisions (
            turn integer primary key references turns(id),
            kind text not null,
            decided_by text not null,
            sizing text not null,
            reason text not null,
            created text not null
        );
        create table evaluations (
            turn integer primary key references turns(id),
            score real not null,
            met integer not null,
            created text not null
        );
        create table spec_results (
            turn integer not null references turns(id),
            position integer not null,
            value real,
            margin real,
            shortfall real not null,
            met integer not null,
            corner text not null,
            primary key (turn, position)
        ) without rowid;
        create table measurements (
            id integer primary key autoincrement,
            turn integer not null references turns(id),
            corner text not null,
            supply real not null,
            temperature real not null,
            load real not null,
            status text not null,
            error text not null,
            seconds real not null,
            cached integer not null
        );
        create table metrics (
            measurement integer not null references measurements(id),
            position integer not null,
            name text not null,
            value real,
            primary key (measurement, position)
        ) without rowid;
        create table operating_points (
            measurement integer not null references measurements(id),
            position integer not null,
            name text not null,
            kind text not null,
            region text not null,
            id real, gm real, gds real, vgs real, vds real, vth real, vdsat real,
            primary key (measurement, position)
        ) without rowid;
        create table waveforms (
            measurement integer not null references measurements(id),
            position integer not null,
            analysis text not null,
            testbench text not null,
            x_name text not null,
            columns text not null,
            data blob not null,
            primary key (measurement, position)
        ) without rowid;
        create table messages (
            id integer primary key,
            sha256 text not null unique,
            document text not null
        );
        create table turn_messages (
            turn integer not null references turns(id),
            position integer not null,
            message integer not null references messages(id),
            primary key (turn, position)
        ) without rowid;
        create index turns_of_session on turns(session);
        create index spec_sets_of_session on spec_sets(session);
        create index measurements_of_turn on measurements(turn);
        create index metrics_by_name on metrics(name, value);
        """,
    )


MIGRATIONS: tuple[Callable[[Database], None], ...] = (_sessions_and_turns,)


def migrate(db: Database) -> None:
    """Brings a file up to date, each step in a transaction of its own with its number."""
    for number, step in enumerate(MIGRATIONS, start=1):
        if version(db) >= number:
            continue
        db.conn.execute("begin immediate")
        try:
            if version(db) < number:
                step(db)
                db.conn.execute(f"pragma user_version = {number}")
            db.conn.execute("commit")
        except BaseException:
            db.conn.rollback()
            raise


def version(db: Database) -> int:
    return int(db.conn.execute("pragma user_version").fetchone()[0])


def _run(db: Database, script: str) -> None:
    """Runs statements inside the open transaction; ``executescript`` would commit it."""
    for statement in script.split(";"):
        if statement.strip():
            db.conn.execute(statement)
