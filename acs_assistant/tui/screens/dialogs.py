"""Small questions: why rejected, how many, which one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.app import ComposeResult
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from acs_assistant.tui.screens.page import Dialog
from acs_assistant.tui.text import plain

REASONS = (
    "Change fewer sizes at a time.",
    "Stay closer to the best sizing so far.",
    "Keep the power lower.",
    "Mind the phase margin.",
    "This was tried before.",
)


class RejectDialog(Dialog[str]):
    """A reason, typed or chosen. The model is told."""

    BOX_TITLE = "Reject"

    def body(self) -> ComposeResult:
        yield Static("Why? The model reads it before its next proposal.", classes="field-label")
        yield Input(placeholder="a reason, or empty", id="reason", compact=True)
        yield Static("or one of these (Tab, arrows)", classes="field-label hint")
        yield OptionList(*REASONS, id="reasons", compact=True, markup=False)

    def subtitle(self) -> str:
        return "Enter rejects · Esc keeps the proposal"

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(REASONS[event.option_index])


class QuestionDialog(Dialog[str]):
    """A question to the model about one turn."""

    BOX_TITLE = "Ask why"

    def __init__(self, turn: int, question: str) -> None:
        super().__init__()
        self._turn = turn
        self._question = question

    def body(self) -> ComposeResult:
        yield Static(f"What do you want to know about turn {self._turn}?", classes="field-label")
        yield Input(placeholder=self._question, id="question", compact=True)
        yield Static("The answer is kept with the turn. It changes nothing in the session.",
                     classes="hint", markup=False)  # fmt: skip

    def subtitle(self) -> str:
        return "Enter asks; empty asks why · Esc closes"

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip() or self._question)


class NumberDialog(Dialog[int]):
    """One whole number above zero."""

    def __init__(self, title: str, text: str, value: int) -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._value = value

    def body(self) -> ComposeResult:
        yield Static(self._text, markup=False)
        yield Input(str(self._value), type="integer", id="number", compact=True)
        yield Static("", classes="fault", markup=False)

    def on_mount(self) -> None:
        self.query_one(".box").border_title = self._title
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        try:
            number = int(event.value)
        except ValueError:
            number = 0
        if number < 1:
            self.query_one(".fault", Static).update("✗ Give a whole number above zero.")
            return
        self.dismiss(number)


class ChoiceDialog(Dialog[str]):
    """One of a few names."""

    def __init__(
        self,
        title: str,
        text: str,
        names: Sequence[str],
        current: str,
        label: Callable[[str], str] = plain,
    ) -> None:
        """``label`` says what a name stands for."""
        super().__init__()
        self._title = title
        self._text = text
        self._names = tuple(names)
        self._current = current
        self._label = label

    def body(self) -> ComposeResult:
        yield Static(self._text, markup=False)
        options = [
            Option(
                self._label(name) + ("  (now)" if name == self._current else ""), id=f"choice-{n}"
            )
            for n, name in enumerate(self._names)
        ]
        yield OptionList(*options, compact=True, markup=False, classes="hint")

    def on_mount(self) -> None:
        self.query_one(".box").border_title = self._title
        choices = self.query_one(OptionList)
        choices.focus()
        if self._current in self._names:
            choices.highlighted = self._names.index(self._current)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._names[event.option_index])
