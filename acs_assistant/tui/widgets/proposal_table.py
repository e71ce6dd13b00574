"""The proposal: every parameter with its role, old and new value and the change."""

from __future__ import annotations

from textual.content import Content
from textual.markup import escape

from acs_assistant.domain import Circuit, Sizing, Turn
from acs_assistant.tui.state import Phase, SessionState, sizing_of, verdict
from acs_assistant.tui.text import (
    MISSING,
    bound_note,
    change_percent,
    change_text,
    first_line,
    log_bar,
    plain,
)
from acs_assistant.tui.widgets.board import Board
from acs_assistant.tui.widgets.columns import Cell, Column, columns


def sizing_rows(circuit: Circuit, old: Sizing, new: Sizing) -> list[list[Cell]]:
    """One row per parameter: name, devices, old, new, change, bar, note, role."""
    rows: list[list[Cell]] = []
    for parameter in circuit.parameters:
        before, after = old.get(parameter.name), new.get(parameter.name)
        if after is None:
            continue
        percent = change_percent(before, after)
        word = change_text(percent)
        moved = word not in ("=", "new")
        style = "$foreground" if moved else "$foreground-muted"
        sign = "" if not moved or percent is None else ("▲ " if percent > 0 else "▼ ")
        rows.append(
            [
                (parameter.name, "bold $foreground" if moved else "$foreground"),
                (" ".join(parameter.devices), "$foreground-muted"),
                (parameter.format(before) if before is not None else MISSING, "$foreground-muted"),
                (parameter.format(after), "bold $text-accent" if moved else style),
                (parameter.unit, "$foreground-muted"),
                (sign + word, "$text-accent" if moved else "$foreground-muted"),
                (log_bar(before, after), "$text-accent" if moved else "$foreground-muted"),
                (bound_note(parameter, after), "$text-warning"),
                (parameter.role, "$foreground-muted"),
            ]
        )
    return rows


SIZING_COLUMNS = (
    Column("size"),
    Column("devices", rank=3, shrink=6),
    Column("old", "right"),
    Column("new", "right"),
    Column("", rank=2),
    Column("change", "right"),
    Column("÷4   ×4", "middle", rank=4),
    Column("", rank=1),
    Column("role", rank=5, shrink=12),
)


class ProposalTable(Board):
    """The proposal that waits, or the turn that is looked at."""

    def __init__(self, state: SessionState) -> None:
        super().__init__("Proposal", id="proposal")
        self.state = state

    def draw(self, width: int) -> Content:
        state = self.state
        circuit = state.task.circuit
        if state.proposal is not None and state.shown is None:
            who = state.proposal.proposer
            by = "" if who.startswith("model") else f" by {escape(who)}"
            before = state.waiting_start
            self.entitle(f"Proposal{by} · waits for you{self._since(before)}")
            if state.proposal.error or not state.proposal.sizing:
                return self._invalid(state.proposal.error)
            old = {} if before is None else sizing_of(before)
            rows = sizing_rows(circuit, old, state.proposal.sizing)
            return columns(SIZING_COLUMNS, rows, width)
        turn = state.viewed
        if state.shown is None and state.head is not None and turn is None:
            turn = state.turns.get(state.head)
        if turn is None:
            self.entitle("Proposal")
            if state.phase is Phase.THINKING:
                return Content.styled("The first proposal is on its way.", "$foreground-muted")
            return self._start(width)
        before = state.start_of(turn)
        title = f"Sizes of turn {turn.index} · {verdict(turn)}"
        if turn.evaluation is not None and turn.evaluation.status == "failed":
            title += f": {escape(first_line(turn.evaluation.error, 60))}"
        self.entitle(title + self._since(before))
        if not sizing_of(turn):
            return self._invalid(turn.proposal.error)
        rows = sizing_rows(circuit, {} if before is None else sizing_of(before), sizing_of(turn))
        return columns(SIZING_COLUMNS, rows, width)

    def _since(self, before: Turn | None) -> str:
        """Which sizes are the old ones, in words."""
        if before is None:
            return ""
        best = self.state.best
        word = ", the best" if best is not None and best.id == before.id else ""
        return f" · old is turn {before.index}{word}"

    def _invalid(self, error: str) -> Content:
        return Content.assemble(
            ("✗ This proposal cannot be simulated.\n", "$text-error"),
            plain(error) or "It holds no sizes.",
            ("\nPress g for another one.", "$foreground-muted"),
        )

    def _start(self, width: int) -> Content:
        circuit = self.state.task.circuit
        lines = [Content.styled("Press Space to let the first proposal come.", "$foreground-muted")]
        if circuit.reference:
            lines.append(
                Content.styled("The reference sizing, for comparison:", "$foreground-muted")
            )
            rows = sizing_rows(circuit, {}, circuit.reference)
            lines.append(columns(SIZING_COLUMNS, rows, width))
        return Content("\n").join(lines)
