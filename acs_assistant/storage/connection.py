"""Opening the database, one connection per thread, and SQLite's faults in words that mend them."""

from __future__ import annotations

import itertools
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from acs_assistant.errors import StorageError
from acs_assistant.storage.migrations import MIGRATIONS, migrate, version

_BUSY_SECONDS = 15.0
_memory_names = itertools.count()


class Connections:
    """A database file, or one in memory, and a connection to it for every thread that asks."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._uri = f"file:acs-{id(self)}-{next(_memory_names)}?mode=memory&cache=shared"
        self._local = threading.local()
        self._all: weakref.WeakSet[Database] = weakref.WeakSet()
        with self.guard():
            self._prepare()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turns SQLite's and the file system's errors into StorageError."""
        try:
            yield
        except sqlite3.Error as error:
            raise _explain(error, self.path) from error
        except OSError as error:
            raise StorageError(
                f"cannot be opened: {error.strerror}.",
                file=self.path,
                hint="Check the folder's permissions, or set XDG_DATA_HOME to another folder.",
            ) from error

    @contextmanager
    def read(self) -> Iterator[Database]:
        """A consistent view for several queries."""
        with self.guard():
            db = self._database()
            if db.conn.in_transaction:
                yield db
                return
            db.conn.execute("begin")
            try:
                yield db
            finally:
                db.conn.rollback()

    @contextmanager
    def write(self) -> Iterator[Database]:
        """One transaction: all of it is on disk afterwards, or none."""
        with self.guard():
            db = self._database()
            db.conn.execute("begin immediate")
            try:
                yield db
                db.conn.execute("commit")
            except BaseException:
                if db.conn.in_transaction:
                    db.conn.rollback()
                raise

    def close(self) -> None:
        """Closes the connections of every thread."""
        for db in list(self._all):
            db.conn.close()
        self._local = threading.local()

    def _database(self) -> Database:
        db: Database | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = self._connect()
            self._all.add(db)
        return db

    def _connect(self) -> Database:
        # A connection serves one thread; the check is off so that close() can end them all.
        connection = sqlite3.connect(
            self._uri if self.path is None else self.path,
            uri=self.path is None,
            timeout=_BUSY_SECONDS,
            check_same_thread=False,
        )
        db = Database(connection)
        connection.execute("pragma foreign_keys = on")
        connection.execute("pragma synchronous = full")
        return db

    def _prepare(self) -> None:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        db = self._database()
        found = version(db)
        if found > len(MIGRATIONS):
            self.close()
            raise StorageError(
                f"this database has version {found}; this program knows {len(MIGRATIONS)}.",
                file=self.path,
                hint="Update acs-assistant, or set XDG_DATA_HOME to another folder. "
                "The file was not changed.",
            )
        if self.path is not None:
            db.enable_wal()
        migrate(db)


def insert(db: Database, table: str, row: dict[str, Any]) -> int:
    """Inserts one row and returns its integer key."""
    key = db.table(table).insert(row).last_pk
    assert isinstance(key, int)
    return key


def _explain(error: sqlite3.Error, path: Path | None) -> StorageError:
    text = str(error)
    where = path.parent if path else Path()
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return StorageError(
            f"not a session database, or a damaged one ({text}).",
            file=path,
            hint=f"Move it aside: mv '{path}' '{path}.damaged'. "
            "What is readable in it comes out with: sqlite3 FILE .recover",
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return StorageError(
            f"cannot be written ({text}).",
            file=path,
            hint=f"Make the file and its folder writable: chmod -R u+w '{where}', "
            "or set XDG_DATA_HOME to another folder.",
        )
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return StorageError(
            f"the disk is full or failing ({text}).",
            file=path,
            hint=f"Free some space (df -h '{where}') and go on; everything stored before is safe.",
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StorageError(
            "another process is writing and does not end.",
            file=path,
            hint="Close the other acs-assistant and try again.",
        )
    return StorageError(f"{text}.", file=path)
