"""Turns as CSV: one row a turn, SI numbers, every size and every metric a column."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

from acs_assistant import atomic
from acs_assistant.domain import Turn
from acs_assistant.report.record import SessionRecord, evaluation_of, sizing_of

_LEADING = (
    "turn", "id", "parent", "simulation", "proposer", "decision", "by", "reason", "status",
    "error", "score", "met",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where each size and each metric goes; a name that is already taken gets a prefix."""

    sizes: dict[str, str]
    metrics: dict[tuple[str, str], str]

    @property
    def header(self) -> list[str]:
        return [*_LEADING, *self.sizes.values(), *self.metrics.values()]


def _layout(record: SessionRecord) -> _Layout:
    taken = set(_LEADING)

    def column(name: str, kind: str) -> str:
        free = f"{kind}:{name}" if name in taken else name
        taken.add(free)
        return free

    circuit = record.task.circuit
    corners: dict[str, None] = dict.fromkeys(record.task.corners)
    for turn in record.simulated:
        corners |= dict.fromkeys(m.conditions.corner for m in evaluation_of(turn).measurements)
    sizes = {p.name: column(p.name, "size") for p in circuit.parameters}
    metrics = {
        (m.name, corner): column(m.name if len(corners) == 1 else f"{m.name}@{corner}", "metric")
        for m in circuit.metrics
        for corner in corners
    }
    return _Layout(sizes, metrics)


def csv_text(record: SessionRecord) -> str:
    """RFC 4180 with a header line; numbers read back to the same float, missing is empty.

    Sizes and metrics have columns of their own names, in the circuit's order; when more than one
    corner was simulated a metric has a column for each (``gbw@ss``). Text that a spreadsheet would
    run as a formula gets a leading apostrophe.
    """
    layout = _layout(record)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=layout.header, lineterminator="\r\n")
    writer.writeheader()
    simulation = 0
    for turn in record.turns:
        simulation += turn.evaluation is not None
        writer.writerow(_row(layout, turn, simulation))
    return stream.getvalue()


def write_csv(record: SessionRecord, path: Path) -> None:
    """Writes ``csv_text`` atomically."""
    atomic.write_text(path, csv_text(record))


def _row(layout: _Layout, turn: Turn, simulation: int) -> dict[str, str]:
    evaluation, decision = turn.evaluation, turn.decision
    row = {
        "turn": str(turn.index),
        "id": str(turn.id),
        "parent": "" if turn.parent is None else str(turn.parent),
        "simulation": str(simulation) if evaluation else "",
        "proposer": _text(turn.proposal.proposer),
        "decision": decision.kind if decision else "",
        "by": decision.by if decision else "",
        "reason": _text(decision.reason if decision else turn.proposal.error),
        "status": evaluation.status if evaluation else "",
        "error": _text(evaluation.error if evaluation else turn.proposal.error),
        "score": _number(evaluation.score.value) if evaluation else "",
        "met": str(evaluation.score.met).lower() if evaluation else "",
    }
    for name, value in sizing_of(turn).items():
        row[layout.sizes[name]] = _number(value)
    for measurement in evaluation.measurements if evaluation else ():
        for (metric, corner), column in layout.metrics.items():
            if corner == measurement.conditions.corner and metric in measurement.metrics:
                row[column] = _number(measurement.metrics[metric])
    return row


def _number(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else ""


def _text(value: str) -> str:
    return f"'{value}" if value.startswith(_FORMULA) else value
