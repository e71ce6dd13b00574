"""ngspice in this process, through PySpice's ``NgSpiceShared``.

PySpice takes any stderr line for a failure and warns at start-up; here success is judged by the
vectors alone, and messages are only collected, for the reason of a failure.
"""

from __future__ import annotations

import ctypes.util
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acs_assistant.errors import SimulatorError
from acs_assistant.sim.vectors import Plot, Vector

_PLACES = (
    "/usr/lib/{machine}-linux-gnu/libngspice.so.0",
    "/usr/lib64/libngspice.so.0",
    "/usr/lib/libngspice.so.0",
    "/usr/local/lib/libngspice.so.0",
    "/usr/local/lib/libngspice.so",
    "/opt/homebrew/lib/libngspice.dylib",
    "/usr/local/lib/libngspice.dylib",
)
_IMPORTANT = (
    "error", "warning: singular", "no such", "unknown", "can't find", "could not", "unable",
    "timestep too small", "doanalyses", "undefined", "fatal", "fail", "illegal",
)  # fmt: skip


def find_library() -> str:
    """The path or name of libngspice.

    Raises:
        SimulatorError: It is not installed.
    """
    named = os.environ.get("NGSPICE_LIBRARY_PATH")
    if named:
        if not Path(named).exists():
            raise SimulatorError(
                f"NGSPICE_LIBRARY_PATH names '{named}', which does not exist.",
                hint="Unset it, or let it name libngspice.so.0.",
            )
        return named
    for place in _PLACES:
        path = place.format(machine=os.uname().machine)
        if Path(path).exists():
            return path
    found = ctypes.util.find_library("ngspice")
    if found:
        return found
    raise SimulatorError(
        "libngspice is not installed.",
        hint="Debian and Ubuntu: sudo apt install libngspice0 · Fedora: sudo dnf install "
        "libngspice · macOS: brew install libngspice",
    )


class NgSpice:
    """One ngspice. There can be only one in a process.

    Raises:
        SimulatorError: libngspice is missing or does not start.
    """

    def __init__(self) -> None:
        os.environ["NGSPICE_LIBRARY_PATH"] = find_library()
        logging.getLogger("PySpice").setLevel(logging.CRITICAL)
        try:
            from PySpice.Spice.NgSpice import Shared
        except ImportError as error:
            raise SimulatorError(
                f"PySpice cannot be imported: {error}", hint="pip install 'PySpice>=1.5,<2'"
            ) from None
        self._ffi: Any = Shared.ffi
        self.messages: list[str] = []
        collected = self.messages
        text = Shared.ffi.string

        class Quiet(Shared.NgSpiceShared):  # type: ignore[misc]
            @staticmethod
            def _send_char(message: Any, number: int, data: Any) -> int:
                if len(collected) < 2_000:
                    collected.append(text(message).decode("utf8", "replace"))
                return 0

            @staticmethod
            def _send_stat(message: Any, number: int, data: Any) -> int:
                return 0

            @staticmethod
            def _exit(status: int, now: bool, on_quit: bool, number: int, data: Any) -> int:
                os._exit(70)

            def _get_version(self) -> None:
                self._ngspice_version = None
                self._ngspice_shared.ngSpice_Command(b"version -f")

        Quiet.setup_platform()
        try:
            self._shared: Any = Quiet(ngspice_id=0)
        except Exception as error:
            raise SimulatorError(f"libngspice does not start: {error}") from None
        self._api: Any = self._shared._ngspice_shared
        self.version = self._read_version()
        for setting in ("set nomoremode", "set num_threads=1", "unset printinfo", "set noaskquit"):
            self.command(setting)
        self.messages.clear()

    def _read_version(self) -> str:
        for message in self.messages:
            for word in message.split():
                if word.lower().startswith("ngspice-"):
                    return word.lower()
        return "ngspice"

    @property
    def release(self) -> float:
        """The number in the version, 0 when it has none."""
        try:
            return float(self.version.partition("-")[2].rstrip("+"))
        except ValueError:
            return 0.0

    def command(self, text: str) -> None:
        """Runs one command; its failure shows in ``messages`` and in the vectors."""
        self._api.ngSpice_Command(text.encode())

    def load(self, lines: Sequence[str]) -> None:
        """Replaces the circuit. The first line is a title, the last is ".end"."""
        self.command("destroy all")
        self.replace(lines)

    def replace(self, lines: Sequence[str]) -> None:
        """Replaces the circuit as ``load`` does, but keeps the plots."""
        self.command("remcirc")
        self.messages.clear()
        keep = [self._ffi.new("char[]", line.encode()) for line in lines]
        self._api.ngSpice_Circ(self._ffi.new("char *[]", [*keep, self._ffi.NULL]))

    def plot_names(self) -> list[str]:
        """Names of the plots, oldest first, without the constants."""
        names = self._strings(self._api.ngSpice_AllPlots())
        return [name for name in reversed(names) if name != "const"]

    def _strings(self, array: Any) -> list[str]:
        found = []
        i = 0
        while array[i] != self._ffi.NULL:
            found.append(self._ffi.string(array[i]).decode("utf8", "replace"))
            i += 1
        return found

    def vector(self, name: str) -> Vector | None:
        """A copy of one vector, None when there is none or it is empty."""
        info = self._api.ngGet_Vec_Info(name.encode())
        if info == self._ffi.NULL or info.v_length <= 0:
            return None
        length = info.v_length
        if info.v_compdata != self._ffi.NULL:
            buffer = self._ffi.buffer(info.v_compdata, length * 16)
            return np.frombuffer(buffer, dtype=np.complex128).copy()
        if info.v_realdata == self._ffi.NULL:
            return None
        buffer = self._ffi.buffer(info.v_realdata, length * 8)
        return np.frombuffer(buffer, dtype=np.float64).copy()

    def value(self, name: str) -> float:
        """The first number of a vector such as ``@m.xdut.xm1.m1[gm]``, NaN when there is none."""
        info = self._api.ngGet_Vec_Info(name.encode())
        if info == self._ffi.NULL or info.v_length <= 0 or info.v_realdata == self._ffi.NULL:
            return float("nan")
        return float(info.v_realdata[0])

    def figure(self, name: str) -> float:
        """A vector of one real number, NaN when it is none."""
        info = self._api.ngGet_Vec_Info(name.encode())
        if info == self._ffi.NULL or info.v_length != 1 or info.v_realdata == self._ffi.NULL:
            return math.nan
        return float(info.v_realdata[0])

    def plot(self, name: str) -> Plot:
        """One plot. Its vectors are copied when they are first read, so read them before the next
        circuit is loaded."""
        kind = name.rstrip("0123456789")
        names = self._strings(self._api.ngSpice_AllVecs(name.encode()))
        scale = _scale(kind, names)
        if kind == "noise" and any(n.lower().endswith("_total") for n in names):
            kind = "noise_total"
        return Plot(name, kind, scale.lower(), _Vectors(self, name, names))

    @property
    def stepped(self) -> bool:
        """An operating point since the circuit was loaded took gmin or source stepping."""
        return any("stepping" in message for message in self.messages)

    def reason(self) -> str:
        """The first message that reads like the cause of a failure."""
        for message in self.messages:
            text = message.removeprefix("stderr ").removeprefix("stdout ").strip()
            if any(mark in text.lower() for mark in _IMPORTANT) and len(text) > 6:
                return text[:300]
        return "ngspice gave no result"


class _Vectors(Mapping[str, Vector]):
    """Vectors of one plot by lower-case name, read from ngspice when they are asked for."""

    def __init__(self, ngspice: NgSpice, plot: str, names: Sequence[str]) -> None:
        self._ngspice = ngspice
        self._places = {name.lower(): f"{plot}.{name}" for name in names}
        self._read: dict[str, Vector] = {}

    def __getitem__(self, name: str) -> Vector:
        known = self._read.get(name)
        if known is None:
            known = self._ngspice.vector(self._places[name])
            self._read[name] = known = np.empty(0) if known is None else known
        return known

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


_SCALES = {"ac": "frequency", "tran": "time", "noise": "frequency"}


def _scale(kind: str, names: Sequence[str]) -> str:
    expected = _SCALES.get(kind, "")
    for name in names:
        if name.lower() == expected or (kind == "dc" and name.lower().endswith("sweep")):
            return name
    return ""
