"""The JSON documents of ``solve`` and ``sessions show`` (docs/design.md, Commands)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from acs_assistant.domain import SpecResult, Task, Turn
from acs_assistant.engine.evaluate import best_turn
from acs_assistant.engine.session import Session
from acs_assistant.events import (
    Event,
    ProposalReady,
    SimulationFinished,
    SimulationStarted,
    Stopped,
    TurnStarted,
)
from acs_assistant.storage.records import SessionRecord

_STARTS = {TurnStarted: "model", SimulationStarted: "simulate"}
_ENDS = {ProposalReady: "model", SimulationFinished: "simulate"}


class Stopwatch:
    """Passes a run's events on and adds up the wall time of its stages."""

    def __init__(self) -> None:
        self.seconds = {"model": 0.0, "simulate": 0.0, "total": 0.0}

    def watch(self, events: Iterable[Event]) -> Iterator[Event]:
        started = time.monotonic()
        since: dict[str, float] = {}
        for event in events:
            now = time.monotonic()
            if stage := _STARTS.get(type(event)):
                since[stage] = since.get(stage, now)
            elif (stage := _ENDS.get(type(event))) and stage in since:
                self.seconds[stage] += now - since.pop(stage)
            elif isinstance(event, Stopped):
                for stage, start in since.items():
                    self.seconds[stage] += now - start
            self.seconds["total"] = now - started
            yield event


def solve_document(session: Session, seconds: Mapping[str, float]) -> dict[str, Any]:
    """What ``solve --json`` prints; ``seconds`` has model, simulate and total."""
    return _run_document(session.record, session.path(), session.turns(), session.model) | {
        "seconds": {name: round(value, 6) for name, value in seconds.items()}
    }


def session_document(record: SessionRecord, turns: Sequence[Turn]) -> dict[str, Any]:
    """What ``sessions show --json`` prints: the whole tree, with every decision."""
    task = record.task
    head = _run_document(record, _path(turns, record.head), turns, record.model or None)
    head |= {
        "title": record.title,
        "created": record.created,
        "updated": record.updated,
        "archived": record.archived,
        "specs": [
            {"metric": s.metric, "relation": s.relation, "target": s.target, "weight": s.weight}
            for s in task.specs
        ],
        "conditions": conditions_document(task),
        "head": record.head,
        "turns": [
            _turn_document(turn)
            | {
                "id": turn.id,
                "parent": turn.parent,
                "proposer": turn.proposal.proposer,
                "decision": turn.decision.kind if turn.decision else None,
                "by": turn.decision.by if turn.decision else None,
                "reason": turn.decision.reason if turn.decision else "",
                "reasoning": turn.proposal.reasoning,
                "proposed": plain_numbers(turn.proposal.sizing),
                "predictions": plain_numbers(turn.proposal.predictions),
                "error": turn.evaluation.error if turn.evaluation else turn.proposal.error,
            }
            for turn in turns
        ],
        "seconds": {
            "model": round(sum(turn.proposal.seconds for turn in turns), 6),
            "simulate": round(
                sum(m.seconds for t in turns if t.evaluation for m in t.evaluation.measurements), 6
            ),
        },
    }
    return head


def conditions_document(task: Task) -> dict[str, Any]:
    conditions = task.conditions
    return {
        "supply": conditions.supply,
        "temperature": conditions.temperature,
        "load": conditions.load,
        "corners": list(task.corners),
    }


def spec_documents(results: Iterable[SpecResult]) -> list[dict[str, Any]]:
    """The ``specs`` list of ``simulate --json``."""
    return [
        {
            "metric": result.spec.metric,
            "relation": result.spec.relation,
            "target": result.spec.target,
            "value": plain_number(result.value),
            "margin": plain_number(result.margin),
            "met": result.met,
            "corner": result.corner,
        }
        for result in results
    ]


def plain_number(value: float | None) -> float | None:
    """JSON has no NaN and no infinity: they become null."""
    return value if value is not None and math.isfinite(value) else None


def plain_numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: plain_number(value) for name, value in values.items()}


def _run_document(
    record: SessionRecord, path: Sequence[Turn], turns: Sequence[Turn], model: str | None
) -> dict[str, Any]:
    simulated = [turn for turn in turns if turn.evaluation is not None]
    met = [i for i, t in enumerate(simulated, start=1) if t.evaluation and t.evaluation.score.met]
    best = best_turn(turns, record.task)
    return {
        "session": record.id,
        "circuit": record.task.circuit.name,
        "proposer": record.proposer,
        "model": model,
        "seed": record.seed,
        "budget": record.budget,
        "simulations": len(simulated),
        "met": bool(best and best.evaluation and best.evaluation.score.met),
        "first_met_at": met[0] if met else None,
        "best": None
        if best is None or best.evaluation is None or best.decision is None
        else {
            "turn": best.index,
            "score": best.evaluation.score.value,
            "sizing": plain_numbers(best.decision.sizing),
            "metrics": plain_numbers(best.evaluation.nominal.metrics),
        },
        "turns": [_turn_document(turn) for turn in path],
    }


def _turn_document(turn: Turn) -> dict[str, Any]:
    evaluation, decision = turn.evaluation, turn.decision
    sizing = decision.sizing if decision and decision.sizing else turn.proposal.sizing
    return {
        "turn": turn.index,
        "sizing": plain_numbers(sizing),
        "metrics": plain_numbers(evaluation.nominal.metrics) if evaluation else {},
        "score": evaluation.score.value if evaluation else None,
        "met": bool(evaluation and evaluation.score.met),
        "status": turn_status(turn),
    }


def turn_status(turn: Turn) -> str:
    """ "ok" or "failed" once simulated; before that what was decided, or "proposed"."""
    if turn.evaluation is not None:
        return turn.evaluation.status
    return turn.decision.kind if turn.decision is not None else "proposed"


def _path(turns: Sequence[Turn], head: int | None) -> list[Turn]:
    by_id = {turn.id: turn for turn in turns}
    path: list[Turn] = []
    while head is not None:
        path.append(by_id[head])
        head = path[-1].parent
    return path[::-1]
