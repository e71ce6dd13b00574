"""Write a figure: SVG, PNG or PDF, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from acs_assistant.report.figures import FORMATS
from acs_assistant.tui.screens.writing import WriteDialog

FIGURES = (
    ("bode", "gain and phase, GBW and phase margin marked"),
    ("progress", "best score against simulations"),
    ("margins", "margin of every spec at every simulation"),
    ("step", "transient"),
    ("noise", "noise spectra"),
    ("transfer", "dc transfer"),
    ("tradeoff", "objective against its rival, the front joined"),
)
"""Names of ``report.figures.FIGURES`` with what they show."""


class FigureDialog(WriteDialog):
    """A figure and a file, whose ending says the format.

    Args:
        figures: (name, what it shows).
        first: Which is chosen at the start.
        stem: How file names begin.
        draw: Draws one into a file; called in the thread for drawings.
    """

    BOX_TITLE = "Figure"
    LIST_LABEL = "Figure"
    FILE_LABEL = "File; it ends in .svg, .png or .pdf"
    BUSY = "Drawing…"

    def __init__(
        self,
        figures: Sequence[tuple[str, str]],
        first: str,
        stem: str,
        draw: Callable[[str, Path], None],
    ) -> None:
        names = [name for name, _ in figures]
        super().__init__(figures, names.index(first) if first in names else 0)
        self._stem = stem
        self._draw = draw

    def file_name(self, choice: str) -> str:
        return f"{self._stem}-{choice}.svg"

    def refusal(self, path: Path) -> str:
        if path.suffix.lower().removeprefix(".") in FORMATS:
            return ""
        return "The ending says the format: .svg, .png or .pdf."

    async def write(self, choice: str, path: Path) -> None:
        await self.acs.draw(self._draw, choice, path)
