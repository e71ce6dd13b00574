"""Write a session out: netlist, chat JSONL, CSV or report."""

from __future__ import annotations

from pathlib import Path

from textual import work
from textual.app import ComposeResult
from textual.widgets import Input, OptionList, Static

from acs_assistant.errors import AcsError
from acs_assistant.tui.screens.page import Dialog
from acs_assistant.tui.text import plain

FORMATS = (
    ("spice", ".spice", "netlist that plain ngspice -b runs and measures"),
    ("report", ".html", "report with figures"),
    ("csv", ".csv", "every turn: sizes, metrics, margins"),
    ("jsonl", ".jsonl", "conversation for training"),
)


class ExportDialog(Dialog[Path]):
    """A format and a path. A file that is there already is asked about by a second Enter."""

    BOX_TITLE = "Export"

    def __init__(self, session: int) -> None:
        super().__init__()
        self.session = session
        self._format = 0
        self._confirmed: Path | None = None

    def body(self) -> ComposeResult:
        yield Static("Format", classes="field-label")
        yield OptionList(*(f"{name:<8}{text}" for name, _, text in FORMATS), compact=True,
                         markup=False)  # fmt: skip
        yield Static("File", classes="field-label hint")
        yield Input(str(self._default()), compact=True, id="path")
        yield Static("", classes="fault", markup=False)

    def subtitle(self) -> str:
        return "Enter chooses, Enter again writes · Esc closes"

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()
        self.query_one(OptionList).highlighted = 0

    def _default(self) -> Path:
        return Path(f"session-{self.session}{FORMATS[self._format][1]}")

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        field = self.query_one(Input)
        if field.value == str(self._default()):
            self._format = event.option_index
            field.value = str(self._default())
        self._format = event.option_index

    def on_option_list_option_selected(self) -> None:
        self.query_one(Input).focus()

    @work(exclusive=True, group="write")
    async def on_input_submitted(self, event: Input.Submitted) -> None:
        from acs_assistant.engine.export import export_session

        fault = self.query_one(".fault", Static)
        path = Path(event.value.strip()).expanduser()
        if not event.value.strip() or path.is_dir():
            fault.update("✗ Give the name of a file.")
            return
        if path.exists() and self._confirmed != path:
            self._confirmed = path
            fault.update("! That file exists. Enter again writes over it.")
            return
        fault.update("Writing…")
        try:
            await self.acs.offload(
                export_session, self.acs.services, self.session, FORMATS[self._format][0], path
            )
        except AcsError as error:
            fault.update(f"✗ {plain(error.message)} {plain(error.hint)}")
            return
        except OSError as error:
            fault.update(f"✗ {path}: {error.strerror}. Choose another place.")
            return
        self.notify(f"Written: {path.resolve()}", markup=False)
        self.dismiss(path)
