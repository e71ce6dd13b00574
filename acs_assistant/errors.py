"""One tree of errors. Each carries a title, a message and a hint that mends it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class AcsError(Exception):
    """Base of every error that a person is meant to read.

    Attributes:
        title: A few words that name the kind of fault.
        message: What happened, with the file and the line where they are known.
        hint: What mends it, a command where there is one; may be empty.
        exit_status: 2 for bad input, 1 for a fault of our own.
    """

    title = "Error"
    exit_status = 2

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        file: Path | str | None = None,
        line: int | None = None,
    ) -> None:
        place = "" if file is None else f"{file}:{line}: " if line is not None else f"{file}: "
        self.message = place + message
        self.hint = hint
        self.file = file
        self.line = line
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.title}: {self.message}" + (f"\n  {self.hint}" if self.hint else "")


class InputError(AcsError):
    """Something that a person typed or wrote in a file cannot be used."""

    title = "Bad input"


class UnitError(InputError):
    title = "Not a quantity"


class CircuitError(InputError):
    """A circuit folder is broken."""

    title = "Broken circuit"


class UnsafeNetlistError(CircuitError):
    """A netlist asks for something that a netlist may not do."""

    title = "Netlist refused"


class PdkError(AcsError):
    title = "Device models"


class SimulatorError(AcsError):
    """ngspice is missing or cannot be started. A simulation that fails is a result, not this."""

    title = "Simulator"


class ModelError(AcsError):
    title = "Language model"


class StorageError(AcsError):
    title = "Session store"


class ConfigError(InputError):
    title = "Configuration"


class InternalError(AcsError):
    title = "Internal error"
    exit_status = 1


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint that names the nearest of ``choices``, or lists them when none is near."""
    names = sorted(choices)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(names)}." if names else ""
