"""Simulations on disk, so that an identical one is not made twice."""

from __future__ import annotations

import json
import sqlite3
import threading
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BETWEEN_CHECKS = 1_000


class SimulationStore:
    """A key-value table in SQLite. A store that cannot be written only forgets.

    Args:
        path: The database; its folder is made.
        limit: Bytes that it may hold; beyond them the older half is forgotten.
    """

    def __init__(self, path: Path, *, limit: int = 500_000_000) -> None:
        self._limit = limit
        self._puts = 0
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, check_same_thread=False, timeout=5)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS simulations (key TEXT PRIMARY KEY, r BLOB)"
            )
            connection.commit()
            self._connection = connection
            self._forget()
        except (sqlite3.Error, OSError):
            self._connection = None

    def get(self, key: str) -> dict[str, Any] | None:
        """The stored reply, None when there is none."""
        if self._connection is None:
            return None
        with self._lock:
            try:
                row = self._connection.execute(
                    "SELECT r FROM simulations WHERE key = ?", (key,)
                ).fetchone()
                if row is None:
                    return None
                reply: dict[str, Any] = json.loads(zlib.decompress(row[0]))
            except (sqlite3.Error, ValueError, zlib.error):
                return None
        return reply

    def put(self, key: str, reply: Mapping[str, Any]) -> None:
        """Keeps a reply; a full disk or a locked file is not a failure of the simulation."""
        if self._connection is None:
            return
        blob = zlib.compress(json.dumps(reply, separators=(",", ":")).encode(), 1)
        with self._lock:
            try:
                self._connection.execute(
                    "INSERT OR REPLACE INTO simulations VALUES (?, ?)", (key, blob)
                )
                self._connection.commit()
                self._puts += 1
                if self._puts % _BETWEEN_CHECKS == 0:
                    self._forget()
            except sqlite3.Error:
                return

    def _forget(self) -> None:
        """Drops the older half when the store has grown too large; its pages are used again."""
        if self._connection is None:
            return
        pages, free, size = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        if (pages - free) * size > self._limit:
            self._connection.execute(
                "DELETE FROM simulations WHERE rowid <= "
                "(SELECT (min(rowid) + max(rowid)) / 2 FROM simulations)"
            )
            self._connection.commit()

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
