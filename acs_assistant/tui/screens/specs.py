"""Change the specs in mid-session. The model is told with its next turn."""

from __future__ import annotations

from textual import work
from textual.app import ComposeResult
from textual.widgets import Input, Static

from acs_assistant.domain import Spec
from acs_assistant.engine.reached import reached_in_sessions
from acs_assistant.errors import AcsError
from acs_assistant.tui.screens.page import Dialog
from acs_assistant.tui.state import SessionState
from acs_assistant.tui.widgets.spec_editor import SpecEditor


class SpecsDialog(Dialog[tuple[Spec, ...]]):
    """Answers with the new set."""

    BOX_TITLE = "Specs"

    def __init__(self, state: SessionState) -> None:
        super().__init__()
        self.state = state

    def body(self) -> ComposeResult:
        yield SpecEditor(self.state.task.circuit, self.state.task.specs)
        yield Static("", classes="fault", markup=False)
        yield Static("An empty field switches a spec off. Older turns keep the specs that they "
                     "were made for.", classes="hint", markup=False)  # fmt: skip

    def on_mount(self) -> None:
        self.query(Input).first().focus()
        self._look_back()

    @work(group="load")
    async def _look_back(self) -> None:
        """What saved sessions reached goes into the warnings."""
        circuit, store = self.state.task.circuit.name, self.acs.services.store
        try:
            found = await self.acs.offload(reached_in_sessions, circuit, store)
        except AcsError as error:
            self.acs.fail(error)
            return
        self.query_one(SpecEditor).know(found)

    def on_descendant_focus(self) -> None:
        self._say()

    def on_spec_editor_changed(self) -> None:
        self._say()

    def _say(self) -> None:
        """The focused spec's note, where it does not fit beside the field."""
        self.query_one(".fault", Static).update(self.query_one(SpecEditor).overlong_note())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        specs = self.query_one(SpecEditor).specs()
        fault = self.query_one(".fault", Static)
        if specs is None:
            fault.update("✗ A field cannot be used yet.")
        elif not specs:
            fault.update("✗ A session needs at least one spec.")
        else:
            self.dismiss(specs)
