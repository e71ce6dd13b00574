"""One process at a time runs a session. The lock dies with its process, also by SIGKILL."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path
from types import TracebackType

from acs_assistant.errors import StorageError

_ATTEMPTS = 5
_PAUSE = 0.02
_held: set[tuple[str, int]] = set()
_held_lock = threading.Lock()


class SessionLock:
    """An exclusive lock on one session.

    A record lock on a small file beside the database: not inherited by a simulator's worker, and
    released by the system when the process ends. Such locks do not exclude threads of one process,
    so the process keeps a list of its own.
    """

    def __init__(self, database: Path | None, session: int) -> None:
        self._key = (str(database) if database else f"memory-{id(self)}", session)
        self._file = database.parent / f"{database.name}.locks" / f"{session}" if database else None
        self._handle: int | None = None

    def acquire(self) -> None:
        """Raises StorageError when the session is open elsewhere."""
        with _held_lock:
            if self._key in _held:
                raise _taken(self._key[1], os.getpid())
            if self._file is not None:
                self._handle = _lock_file(self._file, self._key[1])
            _held.add(self._key)

    def release(self) -> None:
        with _held_lock:
            _held.discard(self._key)
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None

    def __enter__(self) -> SessionLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def running(database: Path | None, session: int) -> bool:
    """Whether some process, this one included, holds the session."""
    if database is None:
        return False
    with _held_lock:
        if (str(database), session) in _held:
            return True
        file = database.parent / f"{database.name}.locks" / f"{session}"
        try:
            handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(handle)
        return False


def _lock_file(file: Path, session: int) -> int:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(
            f"the session cannot be locked: {error.strerror}.",
            file=file,
            hint=f"Make the folder writable: chmod -R u+w '{file.parent.parent}'.",
        ) from error
    try:
        _lock_soon(handle)
    except OSError as error:
        owner = os.pread(handle, 20, 0).decode("ascii", "replace").strip()
        os.close(handle)
        raise _taken(session, int(owner) if owner.isdigit() else None) from error
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
    except OSError:
        pass  # the number only serves the message; a full disk must not keep a session shut
    return handle


def _lock_soon(handle: int) -> None:
    """A list of sessions that looks whether this one runs holds it for an instant."""
    for _ in range(_ATTEMPTS):
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            time.sleep(_PAUSE)
    fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _taken(session: int, owner: int | None) -> StorageError:
    who = f"process {owner}" if owner is not None else "another process"
    return StorageError(
        f"session {session} is open in {who}.",
        hint="Close it there first, or duplicate the session and work on the copy.",
    )
