"""Key latency of the running app, through a pseudo-terminal, while model and simulator work.

A session on the reference circuit runs in auto mode, so the model streams and the simulator works
in turn; a Monte-Carlo analysis in a second process keeps every core's simulator busy all the while.
Meanwhile keys switch between two panels, and the time from the key to the first byte of the panel
title is taken, at three sizes of the terminal. A run in which no turn was made in the meantime
counts as failed. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from acs_assistant import paths
from acs_assistant.storage.store import Store

SIZES = ((80, 24), (100, 30), (160, 48))
SAMPLES = 20_000
"""Of the Monte-Carlo analysis beside the app: more than there is time for."""
NICENESS = 5
"""Of the simulators that the app starts (tui/runner.py); those beside it have the same."""
PANELS = ((b"4", b"Operating points"), (b"5", b"History"))


def environment(home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
    }


class Terminal:
    """The app in a pseudo-terminal. ``read_until`` returns seconds, or None at the limit."""

    def __init__(self, home: Path, columns: int, rows: int) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, "-m", "acs_assistant"], environment(home))
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.tail = b""

    def send(self, data: bytes) -> None:
        os.write(self.fd, data)

    def read_until(self, text: bytes, limit: float) -> float | None:
        start = time.perf_counter()
        self.tail = b""
        while (left := start + limit - time.perf_counter()) > 0:
            ready, _, _ = select.select([self.fd], [], [], left)
            if not ready:
                break
            self.tail += os.read(self.fd, 65536)
            if text in self.tail:
                return time.perf_counter() - start
        return None

    def cpu(self) -> float:
        """Processor seconds of the app's own process so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Resident megabytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def close(self) -> None:
        self.send(b"\x11")
        if self._gone(10.0):
            return
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def _gone(self, limit: float) -> bool:
        end = time.perf_counter() + limit
        while time.perf_counter() < end:
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                return True
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    os.read(self.fd, 65536)
                except OSError:
                    os.waitpid(self.pid, 0)
                    return True
        return False


def prepare(home: Path, proposer: str) -> None:
    """A home of its own with this machine's device models and models."""
    data = home / "data" / "acs-assistant"
    data.mkdir(parents=True)
    for folder in (paths.pdk_dir(), paths.user_models()):
        if folder.exists():
            (data / folder.name).symlink_to(folder)
    config = home / "config" / "acs-assistant"
    config.mkdir(parents=True)
    (config / "settings.toml").write_text(
        f'[session]\nproposer = "{proposer}"\nbudget = 5000\nstop_when_met = false\n'
        "max_failures = 1000\n"
    )


@contextmanager
def busy_simulators(home: Path) -> Iterator[None]:
    """One simulator a core, working until the block is left."""
    command = [sys.executable, "-m", "acs_assistant", "simulate", "two_stage_miller",
               "--monte-carlo", str(SAMPLES)]  # fmt: skip
    load = subprocess.Popen(
        ["nice", "-n", str(NICENESS), *command],
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
        if load.poll() is not None:
            raise SystemExit(f"the Monte-Carlo analysis beside the app ended: {load.returncode}")
    finally:
        load.terminate()
        load.wait()


def simulations(home: Path) -> int:
    """What the app's session has stored so far."""
    store = Store(home / "data" / "acs-assistant" / paths.database().name)
    try:
        return sum(summary.simulations for summary in store.sessions())
    finally:
        store.close()


def measure(proposer: str, keys: int, columns: int, rows: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        prepare(home, proposer)
        terminal = Terminal(home, columns, rows)
        try:
            painted = terminal.read_until(b"ACS Assistant", 60)
            ready = terminal.read_until(b"first steps", 60) if painted is None else painted
            if ready is None:
                raise SystemExit("the app did not paint its first screen within 60 s")
            start_cpu = terminal.cpu()
            terminal.send(b"f")
            if terminal.read_until(b"Specs", 60) is None:
                raise SystemExit("the design screen did not come within 60 s")
            terminal.send(b"\x1b[Z")
            if terminal.read_until(b"Auto turns", 10) is None:
                raise SystemExit("auto mode was not offered within 10 s")
            terminal.send(b"999\r")
            if terminal.read_until(b"turn 2", 120) is None:
                raise SystemExit("the second turn did not come within 120 s")
            with busy_simulators(home):
                terminal.read_until(b"\x00never", 5.0)  # until they have started
                before = simulations(home)
                taken, late = press(terminal, keys)
                meanwhile = simulations(home) - before
            memory = terminal.memory()
            if not meanwhile:
                raise SystemExit("no turn was made while the keys were pressed")
        finally:
            terminal.close()
    taken.sort()
    return {
        "proposer": proposer,
        "size": f"{columns}x{rows}",
        "first_paint_seconds": round(ready, 3),
        "first_paint_cpu_seconds": round(start_cpu, 3),
        "keys": keys,
        "late": late,
        "turns_meanwhile": meanwhile,
        "key_ms": {
            "p50": round(1e3 * statistics.median(taken), 1),
            "p90": round(1e3 * taken[int(0.90 * (keys - 1))], 1),
            "p99": round(1e3 * taken[int(0.99 * (keys - 1))], 1),
            "max": round(1e3 * taken[-1], 1),
        },
        "memory_mb": round(memory, 1),
    }


def press(terminal: Terminal, keys: int) -> tuple[list[float], int]:
    """Seconds of every key, and how many had no answer within five."""
    taken: list[float] = []
    late = 0
    for n in range(keys):
        key, title = PANELS[n % len(PANELS)]
        terminal.send(key)
        seconds = terminal.read_until(title, 5.0)
        if seconds is None:
            late += 1
            seconds = 5.0
        taken.append(seconds)
        terminal.read_until(b"\x00never", 0.05)
    return taken, late


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=300)
    parser.add_argument("--proposer", default="", help="default: model when one is installed")
    arguments = parser.parse_args()
    proposer = arguments.proposer
    if not proposer:
        from acs_assistant.llm import list_models

        proposer = "model" if list_models() else "tpe"
    runs = [measure(proposer, arguments.keys, *size) for size in SIZES]
    worst = max(runs, key=lambda run: run["key_ms"]["p99"])  # type: ignore[index]
    print(json.dumps({"benchmark": "ui", **worst, "runs": runs}))


if __name__ == "__main__":
    main()
