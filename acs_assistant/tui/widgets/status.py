"""The one line that is always there: circuit, who proposes, what happens now, the budget."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from acs_assistant.tui.state import Phase
from acs_assistant.tui.text import budget_bar
from acs_assistant.tui.widgets.columns import fit

_STYLE = {
    Phase.IDLE: "$foreground-muted",
    Phase.OPENING: "$text-primary",
    Phase.THINKING: "$text-primary",
    Phase.ASKING: "bold $text-warning",
    Phase.SIMULATING: "$text-primary",
    Phase.STOPPING: "$text-warning",
}
_SIGN = {
    Phase.IDLE: "■",
    Phase.OPENING: "…",
    Phase.THINKING: "▶",
    Phase.ASKING: "?",
    Phase.SIMULATING: "▶",
    Phase.STOPPING: "■",
}


@dataclass(frozen=True, slots=True)
class Status:
    """What the line says. ``auto`` counts the turns still accepted by themselves."""

    title: str
    proposer: str
    phase: Phase
    note: str
    seconds: int
    simulations: int
    budget: int
    best: float | None
    met: bool
    auto: int


class StatusLine(Widget):
    """Height 1. Set ``status``; it draws what fits."""

    status: reactive[Status | None] = reactive(None)

    def render(self) -> Content:
        status = self.status
        if status is None:
            return Content("")
        width = self.size.width
        phase = f"{_SIGN[status.phase]} {status.phase.value}"
        if status.note:
            phase = f"{_SIGN[status.phase]} {status.note}"
        elif status.phase in (Phase.THINKING, Phase.SIMULATING, Phase.OPENING) and status.seconds:
            phase += f" {status.seconds} s"
        doing = Content.assemble((f" {phase} ", _STYLE[status.phase]))
        mode = f"AUTO {status.auto}" if status.auto else "ASK"
        used = f"{status.simulations}/{status.budget}"
        best = "" if status.best is None else f"best {status.best:.3f} "
        met = "" if status.best is None else ("✓ met  " if status.met else "✗ not met  ")
        if width < 100:
            best, met = ("", "") if status.best is None else (f"best {status.best:.3f}  ", "")
        right = Content.assemble(
            (mode, "bold $text-accent" if status.auto else "bold $foreground-muted"),
            "  ",
            (best, "$foreground"),
            (met, "$text-success" if status.met else "$text-warning"),
            ("sims ", "$foreground-muted"),
            (budget_bar(status.simulations, status.budget, 10 if width >= 100 else 5), "$primary"),
            (f" {used} ", "bold $foreground"),
        )
        title = Content.assemble((f" {status.title} ", "bold $foreground"))
        who = Content.assemble((f"  {status.proposer}", "$foreground-muted"))
        room = max(width - right.cell_length - doing.cell_length - 1, 0)
        if title.cell_length > room:
            title = title.truncate(room, ellipsis=True)
        left = title + doing
        if left.cell_length + who.cell_length <= width - right.cell_length - 1:
            left += who
        return fit(left, right, width)
