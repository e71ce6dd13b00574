"""Files that are either the old text or the new text, never half of one."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

from acs_assistant.errors import InputError, StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text with ``write_bytes``; line ends are kept as they are."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Writes beside the file, flushes to the disk and renames: a reader sees old or new.

    Missing parent folders are made. A link is followed; a device or a pipe is written to directly.

    Raises:
        InputError: The path names a folder, or something that cannot hold a file.
        StorageError: The disk is full or read-only, or the folder may not be written to.
    """
    try:
        target = path.expanduser().resolve()
        if target.is_dir():
            raise InputError(
                f"'{path}' is a folder, not a file.", hint="Give the name of a file in it."
            )
        if target.exists() and not target.is_file():
            target.write_bytes(data)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, data)
    except OSError as fault:
        raise _explained(path, fault) from fault


def _replace(target: Path, data: bytes) -> None:
    beside = target.parent / f".acs-{secrets.token_hex(8)}.tmp"
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            beside.chmod(target.stat().st_mode & 0o7777)
        beside.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself durable; some file systems refuse, and lose nothing by it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _explained(path: Path, fault: OSError) -> StorageError | InputError:
    reason = fault.strerror or str(fault)
    if fault.errno in _FULL:
        return StorageError(
            f"'{path}' was not written: {reason}.",
            hint="Free some space or choose another disk, then export again; nothing was changed.",
        )
    if fault.errno in _REFUSED:
        return StorageError(
            f"'{path}' was not written: {reason}.",
            hint="Choose a folder that you may write to; nothing was changed.",
        )
    return InputError(f"'{path}' cannot be written: {reason}.", hint="Choose another path.")
