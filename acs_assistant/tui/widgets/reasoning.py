"""What the model thought, turn by turn: streaming Markdown, folded to a line once it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widgets import Static
from textual.widgets.markdown import MarkdownStream

from acs_assistant.domain import Circuit, Turn
from acs_assistant.storage.records import Exchange
from acs_assistant.tui.state import Prediction, SessionState, cut_off, verdict
from acs_assistant.tui.text import first_line, metric_unit, plain, quantity
from acs_assistant.tui.widgets.answer import Answer, answer_note
from acs_assistant.tui.widgets.columns import Cell, Column, columns
from acs_assistant.tui.widgets.words import Thoughts

KEPT = 24
"""Turns whose entries stay mounted; older ones are reached through the history."""

_WORD = {True: ("✓ right", "$text-success"), False: ("✗ wrong", "$text-error"),
         None: ("· open", "$foreground-muted")}  # fmt: skip


class Entry(Vertical):
    """One turn: a title line, the reasoning, and what became of its predictions."""

    class Toggled(Message):
        """The title was clicked."""

    def __init__(self, index: int, *, turn: int | None = None) -> None:
        super().__init__(classes="entry")
        self.index = index
        self.turn = turn
        self.text = ""
        self.folded = False
        self.chosen = False
        self._drawn = 0
        self._stream: MarkdownStream | None = None
        self._title = Content("")

    def compose(self) -> ComposeResult:
        yield Static(self._title, markup=False, classes="entry-title")

    async def write(self, piece: str) -> None:
        """Appends streamed text; while the panel is out of sight it is only kept."""
        self.text += piece
        await self.catch_up()

    async def catch_up(self) -> None:
        """Draws what was kept."""
        piece = self.text[self._drawn :]
        if self.folded or not piece or not all(node.display for node in self.ancestors_with_self):
            return
        self._drawn = len(self.text)
        if self._stream is None:
            self._stream = Thoughts.get_stream(await self._body())
        await self._stream.write(piece)

    def keep(self, text: str) -> None:
        """Takes finished text, folded."""
        self.text = text
        self.folded = True

    async def finish(self) -> None:
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await stream.stop()

    async def fold(self, folded: bool, *, by_hand: bool) -> None:
        """Folds to the first line or opens; a choice by hand is not undone by the setting."""
        if not by_hand and self.chosen:
            return
        self.chosen = self.chosen or by_hand
        self.folded = folded
        if folded:
            await self.finish()
            await self._drop(".entry-body")
            self._drawn = 0
        elif self.text and not self._drawn:
            self._drawn = len(self.text)
            await (await self._body()).update(self.text)

    def title(self, content: Content) -> None:
        self._title = content
        if self.is_mounted:
            self.query_one(".entry-title", Static).update(content, layout=False)

    async def outcome(self, rows: list[Prediction], circuit: Circuit) -> None:
        """Predicted, measured, right or wrong: one row each."""
        await self.drop_outcome()
        if not rows:
            return
        cells: list[list[Cell]] = [
            [
                (row.metric, "$foreground-muted"),
                quantity(row.predicted, metric_unit(circuit, row.metric)),
                quantity(row.measured, metric_unit(circuit, row.metric)),
                (metric_unit(circuit, row.metric), "$foreground-muted"),
                _WORD[row.right],
            ]
            for row in rows
        ]
        table = (Column("metric"), Column("expected", "right"), Column("measured", "right"),
                 Column(""), Column(""))  # fmt: skip
        content = columns(table, cells, max(self.size.width, 40))
        table_ = Static(content, markup=False, classes="entry-predictions")
        answers = self.query(Answer)
        await self.mount(table_, before=answers.first() if answers else None)

    async def show_answers(self, circuit: Circuit, turn: Turn, asked: Sequence[Exchange]) -> None:
        """What the model was asked about this turn; hidden while the entry is folded."""
        if not self.folded:
            for exchange in asked[len(self.query(Answer)) :]:
                note = answer_note(circuit, exchange.answer, exchange.sizing, turn.proposal.sizing)
                await self.mount(Answer(exchange.question, exchange, note))
        for answer in self.query(Answer):
            answer.display = not self.folded

    async def drop_outcome(self) -> None:
        await self._drop(".entry-predictions")

    async def _body(self) -> Thoughts:
        """The one that is there, else a new one."""
        found = self.query(Thoughts).filter(".entry-body")
        if found:
            return found.first()
        body = Thoughts(classes="entry-body")
        await self.mount(body, after=self.query_one(".entry-title"))
        return body

    async def _drop(self, selector: str) -> None:
        found = self.query(selector)
        if found:  # to remove nothing lays the screen out all the same
            await found.remove()

    @on(Click, ".entry-title")
    def _clicked(self) -> None:
        self.post_message(self.Toggled())


class Reasoning(VerticalScroll):
    """The entries. The newest streams; the setting says whether it folds when its turn ends."""

    def __init__(self, state: SessionState, *, fold: bool) -> None:
        super().__init__(id="reasoning", classes="panel")
        self.state = state
        self.fold_after = fold
        self.border_title = "Reasoning"
        self._live: Entry | None = None

    def _follow(self) -> None:
        """Stays at the newest text, unless the engineer scrolled up to read."""
        if self.max_scroll_y - self.scroll_y <= 3:
            self.scroll_end(animate=False)

    async def load(self) -> None:
        """Draws the path of a stored session, folded."""
        self._live = None
        await self.remove_children()
        for turn in self.state.path()[-KEPT:]:
            entry = Entry(turn.index, turn=turn.id)
            await self.mount(entry)
            if turn.decision is None:
                await entry.write(_thoughts(turn))
            else:
                entry.keep(_thoughts(turn))
            await self._close(entry, turn)
        self.scroll_end(animate=False)

    async def start(self, index: int) -> None:
        """A turn begins, or begins anew because another draw was chosen."""
        if self._live is not None:
            await self._live.finish()
            dropped = not self._live.text or self._live.index == index
            if self._live.turn is None and dropped:
                await self._live.remove()
        self._live = Entry(index)
        self._live.title(
            Content.assemble((f"▾ turn {index}  ", "bold"), ("thinking", "$text-primary"))
        )
        await self.mount(self._live)
        entries = list(self.query(Entry))
        for old in entries[:-KEPT]:
            await old.finish()
            await old.remove()
        self.scroll_end(animate=False)

    async def write(self, piece: str) -> None:
        if self._live is not None:
            await self._live.write(plain(piece))
            self._follow()

    async def on_show(self) -> None:
        """In sight again: what came meanwhile is drawn."""
        for entry in self.query(Entry):
            await entry.catch_up()
            if entry is not self._live:
                await entry.finish()
        self._follow()

    async def store(self, turn: Turn) -> None:
        """A stage of a turn was stored: titles, predictions and folding follow."""
        entry = self._entry(turn.id)
        if entry is None:
            if verdict(turn) == "regenerated" and not cut_off(turn):
                return  # a candidate that was not taken: the history holds it
            if self._live is None or self._live.turn is not None or self._live.index != turn.index:
                await self.start(turn.index)
            entry = self._live
            assert entry is not None, "start makes one"
            entry.turn = turn.id
        if not entry.text:
            if self.fold_after and turn.decision is not None:
                entry.keep(_thoughts(turn))
            else:
                await entry.write(_thoughts(turn))
        await self._close(entry, turn)
        if turn.decision is not None:
            await entry.finish()
            if turn.evaluation is not None or turn.decision.kind not in ("accepted", "edited"):
                await entry.fold(self.fold_after, by_hand=False)
                await self._close(entry, turn)

    async def stop(self) -> None:
        """The run is over: of a turn that came to nothing there is nothing to show."""
        live, self._live = self._live, None
        if live is not None:
            await live.finish()
            if live.turn is None:
                await live.remove()

    async def ask(self, turn: Turn, question: str) -> Answer:
        """Opens the turn's entry and puts a question below it, to be answered."""
        await self.open_turn(turn)
        entry = self._entry(turn.id)
        assert entry is not None, "open_turn makes one"
        answer = Answer(question)
        await entry.mount(answer)
        self.scroll_to_widget(answer, animate=False)
        return answer

    def follow(self, answer: Answer) -> None:
        """Keeps the end of an answer in view while it comes."""
        if not answer.is_mounted:
            return
        if self.children and answer.parent is self.children[-1]:
            self.scroll_end(animate=False)
        else:
            self.call_after_refresh(self.scroll_to_widget, answer, animate=False)

    async def toggle_all(self) -> None:
        """Opens every entry when any is folded; else folds them all."""
        entries = list(self.query(Entry))
        fold = not any(entry.folded for entry in entries)
        for entry in reversed(entries):
            await self._toggle(entry, fold)
            await asyncio.sleep(0)  # keys that wait come in between

    async def open_turn(self, turn: Turn | None) -> None:
        """Opens one turn's entry, made anew when it is not there, and brings it into view."""
        if turn is None:
            return
        entry = self._entry(turn.id)
        if entry is None:
            entry = Entry(turn.index, turn=turn.id)
            entry.keep(_thoughts(turn))
            await self.mount(entry)
        await self._toggle(entry, fold=False)
        self.scroll_to_widget(entry, animate=False, top=True)

    @on(Entry.Toggled)
    async def _on_toggled(self, event: Entry.Toggled) -> None:
        event.stop()
        entry = event._sender
        if isinstance(entry, Entry):
            await self._toggle(entry, not entry.folded)

    async def _toggle(self, entry: Entry, fold: bool) -> None:
        await entry.fold(fold, by_hand=True)
        turn = self.state.turns.get(entry.turn) if entry.turn is not None else None
        if turn is not None:
            await self._close(entry, turn)

    def _entry(self, turn: int) -> Entry | None:
        return next((entry for entry in self.query(Entry) if entry.turn == turn), None)

    async def _close(self, entry: Entry, turn: Turn) -> None:
        right = [row.right for row in self.state.predictions(turn) if row.right is not None]
        entry.title(_title(turn, entry.folded, right))
        if turn.evaluation is not None and not entry.folded:
            await entry.outcome(self.state.predictions(turn), self.state.task.circuit)
        else:
            await entry.drop_outcome()
        asked = self.state.exchanges.get(turn.id, ())
        await entry.show_answers(self.state.task.circuit, turn, asked)


def _thoughts(turn: Turn) -> str:
    """Reasoning as stored; an optimizer and the engineer give none."""
    text = plain(turn.proposal.reasoning).strip()
    return text or f"Sizes of {turn.proposal.proposer}, without reasons."


def _title(turn: Turn, folded: bool, right: Sequence[bool] = ()) -> Content:
    """``right`` says of each predicted effect that was measured whether it came true."""
    word = "stopped" if cut_off(turn) else verdict(turn)
    style = {"met": "$text-success", "failed": "$text-error", "invalid": "$text-error",
             "waiting": "$text-warning"}.get(word, "$foreground-muted")  # fmt: skip
    parts: list[str | tuple[str, str]] = [
        (f"{'▸' if folded else '▾'} turn {turn.index}  ", "bold"),
        (word, style),
    ]
    if turn.evaluation is not None:
        parts.append((f"  score {turn.evaluation.score.value:.3f}", "$foreground"))
        if turn.evaluation.status == "failed":
            parts.append((f"  {first_line(turn.evaluation.error)}", "$text-error"))
    if right:
        parts.append((f"  predicted {sum(right)}/{len(right)} right", "$foreground-muted"))
    if turn.decision is not None and turn.decision.kind == "rejected" and turn.decision.reason:
        parts.append((f"  “{first_line(turn.decision.reason)}”", "$text-warning"))
    if folded:
        words = _thoughts(turn) if turn.proposal.reasoning else f"by {turn.proposal.proposer}"
        parts.append((f"  {first_line(words)}", "$foreground-muted"))
    return Content.assemble(*parts)
