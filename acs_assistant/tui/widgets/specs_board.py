"""Specs held against the newest measurement: value, target, margin, met or not, trend."""

from __future__ import annotations

from textual.content import Content

from acs_assistant.tui.state import SessionState, is_right, value_of
from acs_assistant.tui.text import margin_bar, metric_unit, quantity, tolerance_text, trend
from acs_assistant.tui.widgets.board import Board
from acs_assistant.tui.widgets.columns import Cell, Column, columns

_RELATION = {">=": "≥", "<=": "≤", "==": "="}


class SpecsBoard(Board):
    """One row per spec; then the metrics that no spec names, when there is room."""

    def __init__(self, state: SessionState) -> None:
        super().__init__("Specs", id="specs")
        self.state = state

    def draw(self, width: int) -> Content:
        state, circuit = self.state, self.state.task.circuit
        corners = len(state.task.corners) > 1
        turn, best = state.viewed, state.best
        source = state.proposal or (turn.proposal if turn is not None else None)
        predicted = dict(source.predictions) if source is not None else {}
        measured = state.proposal is None
        rows: list[list[Cell]] = []
        results = state.results()
        for spec, result in results:
            unit = metric_unit(circuit, spec.metric)
            target = f"{_RELATION[spec.relation]} {quantity(spec.target, unit)}"
            target += tolerance_text(spec)
            value = result.value if result else None
            style, word = "$foreground-muted", "· open"
            if result is not None:
                style = "$text-success" if result.met else "$text-error"
                word = "✓ met" if result.met else "✗ fails"
            margin = "" if result is None or result.margin is None else _signed(result.margin, unit)
            scale = spec.tolerance if spec.relation == "==" else spec.target
            bar = margin_bar(result.margin if result else None, scale)
            expected = predicted.get(spec.metric)
            of_best = value_of(best.evaluation, spec.metric) if best is not None else None
            row: list[Cell] = [
                (word, style),
                spec.metric,
                (target, "$foreground"),
                (quantity(value, unit), style if result else "$foreground-muted"),
                (unit, "$foreground-muted"),
                (margin, style),
                (bar, style),
                (trend(state.values(spec.metric), 12), "$foreground-muted"),
                _expected(expected, value if measured else None, unit),
                (quantity(of_best, unit) if of_best is not None else "", "$foreground-muted"),
            ]
            if corners:
                row.append((result.corner if result else "", "$foreground-muted"))
            rows.append(row)
        table = [
            Column(""),
            Column("spec", shrink=8),
            Column("target"),
            Column("value", "right"),
            Column("unit", rank=5),
            Column("margin", "right", rank=1),
            Column("  −   0   +", "middle", rank=2),
            Column("trend", rank=3),
            Column("expected", "right", rank=4),
            Column("best", "right", rank=6),
        ]
        if corners:
            table.append(Column("worst", rank=1))
        if not rows:
            return Content.styled("No specs. Press p to add one.", "$foreground-muted")
        met = sum(1 for _, r in results if r is not None and r.met)
        where = "" if turn is None else f" · turn {turn.index}"
        if turn is not None and turn.evaluation is not None and turn.evaluation.status == "failed":
            where += " failed"
        self.entitle(f"Specs {met}/{len(results)} met{where}")
        body = columns(table, rows, width)
        others = self._others()
        return body if others is None else Content("\n").join([body, others])

    def _others(self) -> Content | None:
        """Measured metrics without a spec, on one line."""
        turn = self.state.viewed
        if turn is None or turn.evaluation is None or not turn.evaluation.measurements:
            return None
        named = {spec.metric for spec in self.state.task.specs}
        circuit = self.state.task.circuit
        parts: list[str | tuple[str, str]] = [("also  ", "$foreground-muted")]
        for name, value in turn.evaluation.nominal.metrics.items():
            if name not in named:
                unit = metric_unit(circuit, name)
                parts += [
                    (f"{name} ", "$foreground-muted"),
                    f"{quantity(value, unit)} {unit}",
                    "   ",
                ]
        return Content.assemble(*parts) if len(parts) > 1 else None


def _expected(expected: float | None, value: float | None, unit: str) -> Cell:
    """What the reasoning expected; once it is measured, whether it was right."""
    if expected is None:
        return ""
    text = quantity(expected, unit)
    if value is None:
        return (text, "$foreground-muted")
    if is_right(expected, value):
        return (f"{text} ✓", "$text-success")
    return (f"{text} ✗", "$text-warning")


def _signed(value: float, unit: str) -> str:
    text = quantity(abs(value), unit, digits=3)
    return ("+" if value >= 0 else "−") + text
