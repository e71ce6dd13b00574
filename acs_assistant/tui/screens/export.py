"""Write a session out: netlist, chat JSONL, CSV or report."""

from __future__ import annotations

from pathlib import Path

from acs_assistant.tui.screens.writing import WriteDialog

ENDINGS = {"spice": ".spice", "report": ".html", "csv": ".csv", "jsonl": ".jsonl"}
FORMATS = (
    ("spice", "netlist that plain ngspice -b runs and measures"),
    ("report", "report with figures"),
    ("csv", "every turn: sizes, metrics, margins"),
    ("jsonl", "conversation for training"),
)


class ExportDialog(WriteDialog):
    """A format and a file."""

    BOX_TITLE = "Export"
    LIST_LABEL = "Format"
    FILE_LABEL = "File"
    BUSY = "Writing…"

    def __init__(self, session: int) -> None:
        super().__init__(FORMATS)
        self.session = session

    def file_name(self, choice: str) -> str:
        return f"session-{self.session}{ENDINGS[choice]}"

    async def write(self, choice: str, path: Path) -> None:
        from acs_assistant.engine.export import export_session

        await self.acs.offload(export_session, self.acs.services, self.session, choice, path)
