"""Limits that a worker puts on itself before it sees a netlist.

Resource limits hold everywhere. Landlock (Linux 5.13 and newer) takes away writing, executing,
TCP, and reading outside of the folders that a simulation needs; it is reached through plain
system calls, and where the kernel lacks it the resource limits and the netlist's checks remain.
See https://docs.kernel.org/userspace-api/landlock.html for the numbers below.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_WRITE = 1 << 1 | 1 << 8 | 1 << 14  # write a file, make one, cut one short
_LARGEST_FILE = 1 << 20
_FS_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_FS_RIGHTS_LATEST = (1 << 16) - 1
_NET_RIGHTS = 3
_NO_NEW_PRIVILEGES = 38


def limit_resources(memory: int) -> None:
    """Caps the address space at what is used now plus ``memory`` bytes; keeps files small."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        pages = 0
    if pages:
        cap = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (cap, cap))


def restrict_files(readable: Iterable[Path], writable: Path) -> bool:
    """Leaves reading below ``readable`` and files in ``writable``, nothing else.

    BSIM4 checks its parameters only if it can write a log into the current folder, so that folder
    (an empty temporary one) stays writable. Returns False where the kernel has no Landlock.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE, None, 0, 1)
    if version < 1:
        return False
    handled_rights = _FS_RIGHTS.get(version, _FS_RIGHTS_LATEST)
    handled = struct.pack("=Q", handled_rights)
    if version >= 4:
        handled += struct.pack("=Q", _NET_RIGHTS)
    ruleset = libc.syscall(_CREATE, handled, len(handled), 0)
    if ruleset < 0:
        return False
    for path in (*readable, writable):
        try:
            folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        rights = _READ_FILE | (_READ_DIR if path.is_dir() else 0)
        if path == writable:
            rights |= _WRITE & handled_rights
        rule = struct.pack("=Qi", rights, folder)
        libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
        os.close(folder)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    done = bool(libc.syscall(_RESTRICT, ruleset, 0) == 0)
    os.close(ruleset)
    return done
