"""Choose what to write, name a file, write: what export and figures have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.widgets import Input, OptionList, Static

from acs_assistant.errors import AcsError
from acs_assistant.tui.screens.page import Dialog
from acs_assistant.tui.text import plain


class WriteDialog(Dialog[Path]):
    """A list, and a file name that follows it until it is edited; one that exists is asked about.

    Args:
        choices: (name, what it is).
        first: Which is chosen at the start.
    """

    LIST_LABEL: ClassVar[str]
    FILE_LABEL: ClassVar[str]
    BUSY: ClassVar[str]

    def __init__(self, choices: Sequence[tuple[str, str]], first: int = 0) -> None:
        super().__init__()
        self._choices = tuple(choices)
        self._chosen = first
        self._confirmed: Path | None = None

    @abstractmethod
    def file_name(self, choice: str) -> str:
        """The name that is proposed."""

    @abstractmethod
    async def write(self, choice: str, path: Path) -> None:
        """Writes, off the thread that draws.

        Raises:
            AcsError, OSError: It cannot be made, or not be written there.
        """

    def refusal(self, path: Path) -> str:
        """Why the file cannot be of that name; empty when it can."""
        return ""

    def body(self) -> ComposeResult:
        width = max(len(name) for name, _ in self._choices) + 2
        yield Static(self.LIST_LABEL, classes="field-label")
        yield OptionList(*(f"{name:<{width}}{text}" for name, text in self._choices),
                         compact=True, markup=False)  # fmt: skip
        yield Static(self.FILE_LABEL, classes="field-label hint")
        yield Input(self._proposed(), compact=True, id="path")
        yield Static("", classes="fault", markup=False)

    def subtitle(self) -> str:
        return "Enter chooses, Enter again writes · Esc closes"

    def on_mount(self) -> None:
        choices = self.query_one(OptionList)
        choices.focus()
        choices.highlighted = self._chosen

    def _proposed(self) -> str:
        return self.file_name(self._choices[self._chosen][0])

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        field = self.query_one(Input)
        untouched = field.value == self._proposed()
        self._chosen = event.option_index
        if untouched:
            field.value = self._proposed()

    def on_option_list_option_selected(self) -> None:
        self.query_one(Input).focus()

    @work(exclusive=True, group="write")
    async def on_input_submitted(self, event: Input.Submitted) -> None:
        fault = self.query_one(".fault", Static)
        path = Path(event.value.strip()).expanduser()
        if not event.value.strip() or path.is_dir():
            fault.update("✗ Give the name of a file.")
            return
        if refusal := self.refusal(path):
            fault.update(f"✗ {refusal}")
            return
        if path.exists() and self._confirmed != path:
            self._confirmed = path
            fault.update("! That file exists. Enter again writes over it.")
            return
        fault.update(self.BUSY)
        try:
            await self.write(self._choices[self._chosen][0], path)
        except AcsError as error:
            fault.update(f"✗ {plain(error.message)} {plain(error.hint)}")
            return
        except OSError as error:
            fault.update(f"✗ {path}: {error.strerror}. Choose another place.")
            return
        self.notify(f"Written: {path.resolve()}", timeout=10, markup=False)
        self.dismiss(path)
