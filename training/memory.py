"""Running out of memory, said as something that a recipe can mend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from acs_assistant.errors import ConfigError


@contextmanager
def enough(what: str, keys: str, run: Path) -> Iterator[None]:
    """Turns what Python and torch raise when memory runs out into a ConfigError.

    Args:
        what: Needs the memory.
        keys: Of the recipe, that it grows with.
        run: Output folder, whose last checkpoint can be gone on from.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise ConfigError(
            f"{what} needs more memory than there is.",
            hint=f"Lower {keys} in the recipe and go on from the last checkpoint with "
            f"--resume {run}",
        ) from error
