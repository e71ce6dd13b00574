"""Import of a circuit: netlist, testbenches and folder in, a report and a circuit out."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from acs_assistant import paths
from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.domain import Measurement
from acs_assistant.engine.importing import Imported, import_circuit
from acs_assistant.errors import AcsError
from acs_assistant.sim.port import SimulationRequest, Simulator
from acs_assistant.tui.keys import bindings
from acs_assistant.tui.screens.page import Bindings, Page
from acs_assistant.tui.widgets.import_report import fault_text, help_text, report_text
from acs_assistant.tui.widgets.key_bar import KeyBar

MOST_FILES = 12


class FileRow(Horizontal):
    """One path, and whether it can be read."""

    def __init__(self, label: str, hint: str = "") -> None:
        super().__init__(classes="field")
        self.label = label
        self.hint = hint

    def compose(self) -> ComposeResult:
        yield Static(self.label, classes="name", markup=False)
        yield Input(placeholder=self.hint, compact=True)
        yield Static("", classes="note muted", markup=False)

    @property
    def text(self) -> str:
        return self.query_one(Input).value.strip()

    @property
    def path(self) -> Path | None:
        return Path(self.text).expanduser() if self.text else None

    def judge(self) -> bool:
        """Whether it can be used; says so beside it."""
        note, path = self.query_one(".note", Static), self.path
        if path is None:
            note.update("")
            return True
        if path.is_file():
            note.update(Content.styled("✓", "$text-success"))
            return True
        word = "a folder" if path.is_dir() else "no such file"
        note.update(Content.styled(f"✗ {word}", "$text-error"))
        return False


class FileRows(Vertical):
    """As many paths as wanted: filling the last row adds one."""

    def __init__(self, label: str, hint: str, id: str) -> None:
        super().__init__(id=id, classes="files")
        self._label = label
        self._hint = hint

    def compose(self) -> ComposeResult:
        yield FileRow(self._label, self._hint)

    def on_input_changed(self) -> None:
        rows = list(self.query(FileRow))
        if rows[-1].text and len(rows) < MOST_FILES:
            self.mount(FileRow("", "another, or empty"))

    @property
    def paths(self) -> list[Path]:
        return [row.path for row in self.query(FileRow) if row.path is not None]


class ImportScreen(Page):
    """Left the files, right what became of them. Escape stops an import before it leaves."""

    CSS_PATH = "importing.tcss"
    KEY_SCOPES: ClassVar[tuple[str, ...]] = ("import", "page")
    BINDINGS: ClassVar[Bindings] = [*bindings("page"), *bindings("import")]

    def __init__(self) -> None:
        super().__init__()
        self._cancel: CancelToken | None = None
        self._began = 0.0
        self._followed = ""
        self.made: Imported | None = None

    def compose(self) -> ComposeResult:
        yield Static("Import a circuit", classes="page-title", markup=False)
        with Horizontal(id="import"):
            with VerticalScroll(id="files", classes="panel", can_focus=False):
                yield FileRows("netlist", "amp.sp: holds the .subckt", "netlist")
                yield FileRows("testbench", "tb.sp: instantiates it, has .meas", "testbenches")
                yield FileRows("include", "models or parameters elsewhere", "includes")
                with Horizontal(classes="field"):
                    yield Static("subcircuit", classes="name")
                    yield Input(placeholder="its name, when there are several", id="name",
                                compact=True)  # fmt: skip
                with Horizontal(classes="field"):
                    yield Static("folder", classes="name")
                    yield Input(id="out", compact=True)
                yield Static("", classes="fault", id="fault", markup=False)
            with VerticalScroll(id="report", classes="panel"):
                yield Static(help_text(), markup=False, id="report-text")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#files").border_title = "Files"
        self.query_one("#report").border_title = "Report"
        self.query_one("#netlist Input", Input).focus()
        self.set_interval(0.5, self._busy)

    # -- the form -----------------------------------------------------------------------------

    def on_input_changed(self) -> None:
        for row in self.query(FileRow):
            row.judge()
        self._follow()

    def _follow(self) -> None:
        """Proposes a folder by the netlist's name until the person types another."""
        out = self.query_one("#out", Input)
        found = self.query_one("#netlist", FileRows).paths
        if out.value in ("", self._followed):
            name = re.sub(r"\W+", "_", found[0].stem).strip("_").lower() if found else ""
            self._followed = str(paths.user_circuits() / name) if name else ""
            out.value = self._followed

    def on_input_submitted(self) -> None:
        self.focus_next(Input)

    @work(group="pick", exclusive=True)
    async def action_pick(self) -> None:
        from acs_assistant.tui.screens.pick import PickDialog

        field = self.focused if isinstance(self.focused, Input) else None
        if field is None or field.id == "name":
            field = self.query_one("#netlist Input", Input)
        typed = Path(field.value or ".").expanduser()
        start = next((p for p in (typed, *typed.parents) if p.is_dir()), Path.cwd())
        picked = await self.app.push_screen_wait(
            PickDialog("Folder" if field.id == "out" else "File", start.absolute(),
                       folders=field.id == "out")
        )  # fmt: skip
        if picked is not None:
            field.value = str(picked)
            field.focus()

    # -- the work -----------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        return self._cancel is not None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("start", "pick"):
            return not self.busy
        if action == "library":
            return self.made is not None
        return True

    @work(group="import", exclusive=True)
    async def action_start(self) -> None:
        fault = self.query_one("#fault", Static)
        netlists = self.query_one("#netlist", FileRows).paths
        benches = self.query_one("#testbenches", FileRows).paths
        out = self.query_one("#out", Input).value.strip()
        wrong = (
            "A path cannot be read: see the ✗."
            if not all(row.judge() for row in self.query(FileRow))
            else "Give the netlist." if not netlists
            else "Give at least one testbench." if not benches
            else "Give the folder to make." if not out
            else ""
        )  # fmt: skip
        fault.update(f"✗ {wrong}" if wrong else "")
        if wrong:
            return
        # a netlist in several files: the first holds the circuit
        includes = [*netlists[1:], *self.query_one("#includes", FileRows).paths]
        cancel = self._cancel = CancelToken()
        self._began, self.made = self.acs.clock(), None
        self._busy()
        self.refresh_bindings()
        name = self.query_one("#name", Input).value.strip().lower()
        text = self.query_one("#report-text", Static)
        try:
            made = await asyncio.to_thread(
                self._import, netlists[0], benches, Path(out).expanduser(), name, includes, cancel
            )
        except CancelledError:
            text.update(Content.styled("■ Stopped. Nothing was written.", "$text-warning"))
        except AcsError as error:
            text.update(fault_text(error, [*netlists, *benches, *includes]))
        else:
            self.made = made
            text.update(report_text(made, self._width()))
            self.query_one("#report").focus()
        finally:
            self._cancel = None
            self.query_one("#report").scroll_home(animate=False)
            self.refresh_bindings()

    def _import(
        self,
        netlist: Path,
        benches: list[Path],
        out: Path,
        name: str,
        includes: list[Path],
        cancel: CancelToken,
    ) -> Imported:
        """In a thread. What a failed import wrote is taken away, so that it can be tried again."""
        fresh = not out.exists() or (out.is_dir() and not any(out.iterdir()))
        simulator = Stoppable(self.acs.services.simulator(), cancel)
        try:
            return import_circuit(
                netlist, benches, out, name=name, include=includes, simulator=simulator
            )
        except (AcsError, CancelledError):
            if fresh:
                shutil.rmtree(out, ignore_errors=True)
            raise

    def _busy(self) -> None:
        if self._cancel is not None:
            seconds = self.acs.clock() - self._began
            word = "stopping" if self._cancel.cancelled else "reading, then simulating once"
            self.query_one("#report-text", Static).update(
                Content.assemble(
                    (f"▶ {word} · {seconds:.0f} s\n\n", "bold $text-primary"),
                    ("The first simulation of new devices takes some seconds. Esc stops.",
                     "$foreground-muted"),
                )
            )  # fmt: skip

    def _width(self) -> int:
        return max(self.query_one("#report").scrollable_content_region.width, 30)

    def on_resize(self) -> None:
        if self.made is not None:
            self.call_after_refresh(self._redraw)

    def _redraw(self) -> None:
        if self.made is not None:
            self.query_one("#report-text", Static).update(report_text(self.made, self._width()))

    async def action_back(self) -> None:
        if self._cancel is not None:
            self._cancel.cancel()
            return
        self.dismiss()

    async def action_library(self) -> None:
        from acs_assistant.tui.screens.circuits import CircuitsScreen

        if self.made is not None:
            self.app.switch_screen(CircuitsScreen(self.made.folder))


class Stoppable:
    """A simulator that one token stops, for work that passes none on."""

    def __init__(self, simulator: Simulator, cancel: CancelToken) -> None:
        self._simulator = simulator
        self._cancel = cancel

    @property
    def version(self) -> str:
        return self._simulator.version

    def simulate(
        self, request: SimulationRequest, cancel: CancelToken | None = None
    ) -> Measurement:
        self._cancel.raise_if_cancelled()
        return self._simulator.simulate(request, self._cancel)

    def map(
        self, requests: Iterable[SimulationRequest], cancel: CancelToken | None = None
    ) -> Iterator[tuple[int, Measurement]]:
        self._cancel.raise_if_cancelled()
        return self._simulator.map(requests, self._cancel)

    def close(self) -> None:
        """The simulator belongs to the services."""
