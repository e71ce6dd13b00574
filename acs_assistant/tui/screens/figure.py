"""Write a figure: SVG, PNG or PDF, drawn by matplotlib."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from textual import work
from textual.app import ComposeResult
from textual.widgets import Input, OptionList, Static

from acs_assistant.errors import AcsError
from acs_assistant.report.figures import FORMATS
from acs_assistant.tui.screens.page import Dialog
from acs_assistant.tui.text import plain

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


class FigureDialog(Dialog[Path]):
    """A figure and a file, whose ending says the format; one that is there is asked about.

    Args:
        figures: (name, what it shows).
        first: Which is chosen at the start.
        stem: How file names begin.
        write: Draws one into a file; called in a thread.
    """

    BOX_TITLE = "Figure"

    def __init__(
        self,
        figures: Sequence[tuple[str, str]],
        first: str,
        stem: str,
        write: Callable[[str, Path], None],
    ) -> None:
        super().__init__()
        self._figures = tuple(figures)
        names = [name for name, _ in self._figures]
        self._chosen = names.index(first) if first in names else 0
        self._stem = stem
        self._write = write
        self._confirmed: Path | None = None

    def body(self) -> ComposeResult:
        yield Static("Figure", classes="field-label")
        yield OptionList(*(f"{name:<10}{text}" for name, text in self._figures), compact=True,
                         markup=False)  # fmt: skip
        yield Static("File; it ends in .svg, .png or .pdf", classes="field-label hint")
        yield Input(self._default(), compact=True, id="path")
        yield Static("", classes="fault", markup=False)

    def subtitle(self) -> str:
        return "Enter chooses, Enter again writes · Esc closes"

    def on_mount(self) -> None:
        choices = self.query_one(OptionList)
        choices.focus()
        choices.highlighted = self._chosen

    def _default(self) -> str:
        return f"{self._stem}-{self._figures[self._chosen][0]}.svg"

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        field = self.query_one(Input)
        untouched = field.value == self._default()
        self._chosen = event.option_index
        if untouched:
            field.value = self._default()

    def on_option_list_option_selected(self) -> None:
        self.query_one(Input).focus()

    @work(exclusive=True, group="write")
    async def on_input_submitted(self, event: Input.Submitted) -> None:
        fault = self.query_one(".fault", Static)
        path = Path(event.value.strip()).expanduser()
        if not event.value.strip() or path.is_dir():
            fault.update("✗ Give the name of a file.")
            return
        if path.suffix.lower().removeprefix(".") not in FORMATS:
            fault.update("✗ The ending says the format: .svg, .png or .pdf.")
            return
        if path.exists() and self._confirmed != path:
            self._confirmed = path
            fault.update("! That file exists. Enter again writes over it.")
            return
        fault.update("Drawing…")
        try:
            await asyncio.to_thread(self._write, self._figures[self._chosen][0], path)
        except AcsError as error:
            fault.update(f"✗ {plain(error.message)} {plain(error.hint)}")
            return
        except OSError as error:
            fault.update(f"✗ {path}: {error.strerror}. Choose another place.")
            return
        self.notify(f"Written: {path.resolve()}", timeout=10, markup=False)
        self.dismiss(path)
