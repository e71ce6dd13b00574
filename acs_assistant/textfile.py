"""Reading text files that strangers made: nothing that blocks, nothing without end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 4_000_000


def read_text(path: Path, *, errors: str = "strict") -> str:
    """The UTF-8 text of a regular file of at most 4 MB, with its line ends made newlines.

    A pipe would block the reader, and a device may never end.

    Args:
        errors: What to do about bytes that are not UTF-8, as for ``str.decode``.

    Raises:
        OSError: It cannot be read; ``strerror`` says why.
        UnicodeDecodeError: It is not UTF-8, with ``errors="strict"``.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, encoding="utf-8", errors=errors) as file:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
        if found.st_size > MAX_BYTES:
            raise OSError(errno.EFBIG, "the file is larger than 4 MB", str(path))
        return file.read()
