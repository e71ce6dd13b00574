"""Simulations on disk, so that an identical one is not made twice."""

from __future__ import annotations

import json
import sqlite3
import threading
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class SimulationStore:
    """A key-value table in SQLite. A store that cannot be written only forgets.

    Args:
        path: The database; its folder is made.
    """

    def __init__(self, path: Path) -> None:
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
            except sqlite3.Error:
                return

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
