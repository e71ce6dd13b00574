"""Several candidates for one turn side by side: take one, or mix one from several by hand."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.content import Content
from textual.screen import Screen
from textual.widgets import DataTable, Static

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.domain import Proposal, Sizing, Spec
from acs_assistant.engine.session import Session
from acs_assistant.errors import AcsError
from acs_assistant.events import CandidateDrawn
from acs_assistant.scoring import signed_margin
from acs_assistant.tui.keys import bindings
from acs_assistant.tui.screens.page import Bindings
from acs_assistant.tui.state import SessionState, sizing_of, value_of
from acs_assistant.tui.text import MISSING, metric_unit, plain, quantity
from acs_assistant.tui.widgets.key_bar import KeyBar
from acs_assistant.tui.widgets.themed import themed

COUNT = 4
"""How many are drawn at a time."""

_NOW, _MIX = "now", "mix"
_APART = 0.1
"""Share by which a size differs from the middle one of its row before it is highlighted."""


class CandidatesScreen(Screen[Proposal | None]):
    """Answers with the proposal that was taken.

    The first column of candidates is the proposal that waits, if one does. While they are drawn the
    table can be read already, and Escape stops the drawing.

    Attributes:
        candidates: In the order of the columns.
        mixed: Number of the candidate that each size of the mix is taken from, by parameter; empty
            while there is no mix.
    """

    CSS_PATH = "candidates.tcss"
    KEY_SCOPES: ClassVar[tuple[str, ...]] = ("candidates",)
    BINDINGS: ClassVar[Bindings] = bindings("candidates")

    def __init__(self, session: Session, state: SessionState) -> None:
        super().__init__()
        self.session = session
        self.circuit = state.task.circuit
        self.specs: Sequence[Spec] = state.task.specs
        self.waiting = state.proposal
        before = state.measured()
        self.old: Sizing = sizing_of(before[-1]) if before else {}
        self.measured = {
            metric.name: value
            for metric in self.circuit.metrics
            if before and (value := value_of(before[-1].evaluation, metric.name)) is not None
        }
        self.candidates: list[Proposal] = []
        self.mixed: dict[str, int] = {}
        self._cancel: CancelToken | None = None
        self._fault = ""
        self._rows: list[str] = []

    def compose(self) -> ComposeResult:
        table: DataTable[Text] = DataTable(
            cursor_type="cell", zebra_stripes=False, fixed_columns=1, id="candidates"
        )
        yield Static("Candidates", classes="page-title", markup=False)
        yield table
        yield Static(markup=False, id="candidate-note")
        yield KeyBar()

    def on_mount(self) -> None:
        waiting = self.waiting
        if waiting is not None and waiting.sizing:
            self.candidates.append(waiting)
        known = [dict(proposal.sizing) for proposal in self.candidates]
        kept = [p for p in self.session.candidates if dict(p.sizing) not in known]
        self.candidates += kept
        self.query_one(DataTable).focus()
        self._redraw()
        if not kept:
            self.action_more()

    def on_unmount(self) -> None:
        if self._cancel is not None:
            self._cancel.cancel()

    @property
    def drawing(self) -> bool:
        """Candidates are on their way."""
        return self._cancel is not None

    @work(exclusive=True, group="draw")
    async def action_more(self) -> None:
        """Draws as many again."""
        if self.drawing:
            return
        cancel = self._cancel = CancelToken()
        self._fault = ""
        self._redraw()
        before = len(self.candidates)
        try:
            events: Iterator[CandidateDrawn] = self.session.draw(COUNT, cancel)
            while (event := await asyncio.to_thread(next, events, None)) is not None:
                if not cancel.cancelled:
                    self.candidates.append(event.proposal)
                    self._redraw()
            if len(self.candidates) == before:
                self._fault = "Nothing new came: every draw repeated a known sizing."
        except CancelledError:
            self._fault = "Stopped."
        except AcsError as error:
            self._fault = f"✗ {plain(error.message)} {plain(error.hint)}".strip()
        if self._cancel is cancel:
            self._cancel = None
        if self.is_mounted:
            self._redraw()

    # -- keys -------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("take", "mix", "base"):
            return bool(self.candidates)
        if action == "more":
            return not self.drawing
        return True

    def action_cancel(self) -> None:
        if self._cancel is None:
            self.dismiss(None)
            return
        cancel, self._cancel = self._cancel, None
        self._fault = "Stopped."
        self.run_worker(asyncio.to_thread(cancel.cancel), group="stop")
        self._redraw()

    def _column(self) -> str:
        """What the cursor is on: "now", "mix", or the index of a candidate."""
        names = [*self._before(), *map(str, range(len(self.candidates))), _MIX]
        at = self.query_one(DataTable).cursor_column - 1
        return names[min(max(at, 0), len(names) - 1)]

    def action_take(self) -> None:
        column = self._column()
        if column == _NOW:
            self.notify("Choose a candidate with the arrow keys first.")
        elif column == _MIX:
            self._take_mix()
        else:
            self.dismiss(self.candidates[int(column)])

    def _take_mix(self) -> None:
        if not self.mixed:
            self.notify("The mix is empty. Space takes the size under the cursor into it.")
            return
        sizing = self._mix()
        same = next((c for c in self.candidates if dict(c.sizing) == sizing), None)
        if same is not None:
            self.dismiss(same)
            return
        words = [
            f"{', '.join(name for name, n in self.mixed.items() if n == number)} "
            f"from candidate {number + 1}"
            for number in sorted(set(self.mixed.values()))
        ]
        self.dismiss(Proposal(sizing, "engineer", f"Mixed by hand: {'; '.join(words)}."))

    def action_mix(self) -> None:
        """Takes the size under the cursor; a first one begins the mix with that candidate."""
        column, row = self._column(), self.query_one(DataTable).cursor_row
        if column in (_NOW, _MIX) or not 0 <= row < len(self._rows):
            self.notify("Put the cursor on a size of a candidate.")
            return
        name, number = self._rows[row], int(column)
        if name not in {p.name for p in self.circuit.parameters}:
            return
        if not self.mixed:
            self.mixed = dict.fromkeys((p.name for p in self.circuit.parameters), 0)
        self.mixed[name] = number
        self._redraw()
        self.query_one(DataTable).action_cursor_down()

    def action_base(self) -> None:
        """Begins the mix with every size of the candidate under the cursor."""
        column = self._column()
        if column not in (_NOW, _MIX):
            names = (p.name for p in self.circuit.parameters)
            self.mixed = dict.fromkeys(names, int(column))
            self._redraw()

    def _mix(self) -> dict[str, float]:
        return {name: self.candidates[n].sizing[name] for name, n in self.mixed.items()}

    # -- drawing ----------------------------------------------------------------------------

    def on_data_table_cell_highlighted(self) -> None:
        self._note()

    def _redraw(self) -> None:
        table = self.query_one(DataTable)
        row, column = table.cursor_coordinate
        first = not table.columns
        table.clear(columns=True)
        heads = [str(n) for n in range(1, len(self.candidates) + 1)]
        if self.waiting is not None and heads:
            heads[0] = "1 waits"
        for head in ("size", *self._before(), *heads, _MIX):
            table.add_column(Text(head))
        self._rows = []
        for parameter in self.circuit.parameters:
            self._rows.append(parameter.name)
            table.add_row(*self._sizes(parameter.name))
        named = [spec.metric for spec in self.specs]
        foretold = {metric for candidate in self.candidates for metric in candidate.predictions}
        named += [m.name for m in self.circuit.metrics if m.name in foretold]
        for metric in dict.fromkeys(named):
            self._rows.append(metric)
            table.add_row(*self._effects(metric))
        self._rows.append("")
        table.add_row(*self._totals())
        before = len(self._before())
        if first or column == 0:
            column = 1 + before
        table.move_cursor(row=row, column=min(column, before + len(heads) + 1))
        title = "Drawing candidates…  Esc stops" if self.drawing else "Candidates"
        many = len(self.candidates)
        self.query_one(".page-title", Static).update(
            f"{title} · {many} side by side" if many else title
        )
        self.refresh_bindings()
        self._note()

    def _before(self) -> list[str]:
        """The column of the turn before, when there is one."""
        return [_NOW] if self.old else []

    def _sizes(self, name: str) -> list[Text]:
        """A row: the size now, in every candidate (what stands apart highlighted), in the mix."""
        parameter = self.circuit.parameter(name)
        values = [candidate.sizing[name] for candidate in self.candidates]
        middle = statistics.median_low(values) if values else 0.0
        old = self.old.get(name)
        cells = [themed(self.app, (name, "bold"))]
        if self.old:
            now = MISSING if old is None else parameter.format(old)
            cells.append(themed(self.app, (now, "$text-muted")))
        for value in values:
            sign = "" if old is None or value == old else (" ▲" if value > old else " ▼")
            style = "$text-muted" if len(set(values)) == 1 else "$foreground"
            if abs(value - middle) > _APART * abs(middle):
                style = "bold $text-accent"
            cells.append(themed(self.app, (f"{parameter.format(value)}{sign}", style)))
        if name in self.mixed:
            number = self.mixed[name]
            mixed = f"{parameter.format(values[number])} ({number + 1})"
            cells.append(themed(self.app, (mixed, "bold $text-success" if number else "")))
        else:
            cells.append(themed(self.app, (MISSING, "$text-muted")))
        return cells

    def _effects(self, metric: str) -> list[Text]:
        unit = metric_unit(self.circuit, metric)
        spec = next((spec for spec in self.specs if spec.metric == metric), None)
        expected = [candidate.predictions.get(metric) for candidate in self.candidates]
        differs = len(set(expected)) > 1
        target = ""
        if spec is not None:
            relation = {">=": "≥", "<=": "≤", "==": "="}[spec.relation]
            target = f" {relation} {quantity(spec.target, unit)}"
        cells = [themed(self.app, (f"{metric}{target}", "italic"))]
        if self.old:
            cells.append(self._effect(self.measured.get(metric), unit, spec, differs=False))
        cells += [self._effect(value, unit, spec, differs=differs) for value in expected]
        return [*cells, themed(self.app, (MISSING, "$text-muted"))]

    def _effect(self, value: float | None, unit: str, spec: Spec | None, *, differs: bool) -> Text:
        if value is None:
            return themed(self.app, (MISSING, "$text-muted"))
        weight = "bold " if differs else ""
        if spec is None:
            return themed(self.app, (quantity(value, unit), f"{weight}$foreground"))
        good = signed_margin(spec, value) >= 0
        sign, style = ("✓", "$text-success") if good else ("✗", "$text-error")
        return themed(self.app, (f"{quantity(value, unit)} {sign}", weight + style))

    def _totals(self) -> list[Text]:
        """How many specs each one would meet, if what it expects came true."""
        cells = [themed(self.app, ("specs met", "italic"))]
        if self.old:
            cells.append(self._total(self.measured))
        cells += [self._total(candidate.predictions) for candidate in self.candidates]
        return [*cells, themed(self.app, (MISSING, "$text-muted"))]

    def _total(self, known: Mapping[str, float]) -> Text:
        named = [spec for spec in self.specs if spec.metric in known]
        if not named:
            return themed(self.app, (MISSING, "$text-muted"))
        good = sum(signed_margin(spec, known[spec.metric]) >= 0 for spec in named)
        return themed(self.app, (f"{good} of {len(named)}", "$foreground"))

    def _note(self) -> None:
        """What the candidate under the cursor says, or what is wrong."""
        note = self.query_one("#candidate-note", Static)
        if not self.candidates:
            words = self._fault or ("The model is drawing." if self.drawing else "No candidates.")
            note.update(Content.styled(words, "$text-error" if self._fault else "$text-muted"))
            return
        parts: list[str | tuple[str, str]] = []
        if self._fault:
            parts.append((f"{self._fault}  ", "$text-warning"))
        column = self._column()
        if column == _NOW:
            parts.append(("Sizes and measurements of the turn before.", "$text-muted"))
        elif column == _MIX:
            text = "The mix: sizes taken by hand, with the candidate that each one comes from."
            parts.append((text if self.mixed else "The mix is empty: Space takes the size under "
                          "the cursor, b all sizes of its candidate.", "$text-muted"))  # fmt: skip
        else:
            proposal = self.candidates[int(column)]
            words = " ".join(plain(proposal.reasoning).split())
            parts += [
                (f"{int(column) + 1}  ", "bold"),
                words or f"Sizes of {plain(proposal.proposer)}, without reasons.",
            ]
        note.update(Content.assemble(*parts))
