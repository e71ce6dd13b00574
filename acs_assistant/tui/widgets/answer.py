"""A question about a turn and the model's answer, below the reasoning that it is about."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static
from textual.widgets.markdown import MarkdownStream

from acs_assistant.domain import Circuit, Sizing
from acs_assistant.storage.records import Exchange
from acs_assistant.tui.text import plain
from acs_assistant.tui.widgets.words import Thoughts


class Answer(Vertical):
    """Streams, or shows a stored one at once. The last line says what kind of answer it was."""

    def __init__(self, question: str, exchange: Exchange | None = None, note: str = "") -> None:
        super().__init__(classes="entry-answer")
        self.question = question
        self._exchange = exchange
        self._last = note
        self._stream: MarkdownStream | None = None
        self.text = ""

    def compose(self) -> ComposeResult:
        yield Static(
            Content.assemble(("? ", "bold $text-accent"), (plain(self.question), "italic")),
            markup=False,
        )
        yield Thoughts(plain(self._exchange.answer) if self._exchange is not None else "")
        yield Static(markup=False, classes="answer-note")

    def on_mount(self) -> None:
        self.note(self._last or ("" if self._exchange is not None else "… the model answers"))

    async def write(self, piece: str) -> None:
        """Appends streamed text."""
        if not self.is_mounted:
            return
        self.text += piece
        if self._stream is None:
            self._stream = Thoughts.get_stream(self.query_one(Thoughts))
            self.note("")
        await self._stream.write(plain(piece))

    async def finish(self, note: str) -> None:
        """The answer is complete, or was stopped."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await stream.stop()
        self.note(note)

    def note(self, text: str) -> None:
        if self.is_mounted:
            line = self.query_one(".answer-note", Static)
            line.update(Content.styled(text, "$text-warning"))
            line.display = bool(text)


def answer_note(circuit: Circuit, words: str, sizing: Sizing, proposed: Sizing) -> str:
    """Says plainly when the model gave sizes instead of an answer; empty when it answered."""
    if not sizing:
        return "" if words else "The model gave no words."
    changes = [
        f"{p.name} {p.format(proposed[p.name])} → {p.format(sizing[p.name])}"
        for p in circuit.parameters
        if p.name in sizing and p.name in proposed and sizing[p.name] != proposed[p.name]
    ]
    told = ", ".join(changes) if changes else "the same sizes again"
    return (
        "The model answered with another proposal, as small models do: the words above belong to "
        f"that one, not to this turn. It changes nothing here. Its sizes: {told}."
    )
