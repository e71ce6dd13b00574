"""A stored session as a file: netlist, conversation, table or report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from acs_assistant.domain import Task, Turn
from acs_assistant.engine.evaluate import best_turn, rescored
from acs_assistant.errors import InputError, nearest
from acs_assistant.report.record import Provenance as Made
from acs_assistant.report.record import SessionRecord as Report
from acs_assistant.storage.store import Store

if TYPE_CHECKING:
    from acs_assistant.engine.services import Services

Format = Literal["spice", "jsonl", "report", "csv"]
FORMATS: tuple[Format, ...] = ("spice", "jsonl", "report", "csv")


def export_session(services: Services, session: int, format_: str, path: Path) -> None:
    """Writes one file atomically; see ``export_text``."""
    write_export(services.store, session, format_, path)


def write_export(store: Store, session: int, format_: str, path: Path) -> None:
    """Writes ``export_text`` atomically.

    Raises:
        InputError: As ``export_text``, or the path cannot be a file.
        StorageError: The disk is full, or the folder cannot be written.
    """
    from acs_assistant.atomic import write_text

    write_text(path, export_text(store, session, format_))


def export_text(store: Store, session: int, format_: str) -> str:
    """The file's text.

    Args:
        format_: One of ``FORMATS``.

    Raises:
        InputError: Unknown format or session, or nothing was simulated yet.
        PdkError: The netlist needs device models that are not installed.
    """
    if format_ not in FORMATS:
        raise InputError(f"unknown format '{format_}'.", hint=nearest(format_, FORMATS))
    report = session_report(store, session)
    match format_:
        case "spice":
            return _spice(report)
        case "jsonl":
            from acs_assistant.report.jsonl import jsonl_text

            return jsonl_text([report])
        case "report":
            from acs_assistant.report.html import report_html

            return report_html(report)
        case "csv":
            from acs_assistant.report.table import csv_text

            return csv_text(report)


def session_report(store: Store, session: int) -> Report:
    """The session as the exporters want it; scores are those under the specs in force.

    Raises:
        InputError: No such session.
    """
    from acs_assistant.prompting import render

    record = store.session(session)
    turns = store.turns(session)
    best = best_turn(turns, record.task)
    shown = best or (turns[-1] if turns else None)
    return Report(
        id=str(record.id),
        created=record.created,
        task=record.task,
        budget=record.budget,
        turns=tuple(rescored(turns, record.task)),
        provenance=_made(store, record.task, record.proposer, record.seed, shown),
        head=record.head,
        best=best.id if best else None,
        messages=tuple(render.messages(record.task, _path(turns, record.head))),
        tools=tuple(render.tools(record.task.circuit)),
        waveforms=store.waveforms(best.id) if best else (),
    )


def _made(store: Store, task: Task, proposer: str, seed: int, turn: Turn | None) -> Made:
    if turn is None:
        return Made(proposer=proposer, pdk=task.circuit.pdk, seed=seed)
    made = store.provenance(turn.id)
    return Made(
        app_version=made.app,
        proposer=proposer,
        model=made.model,
        model_sha256=made.model_sha256,
        prompt_version=made.prompt,
        ngspice_version=made.simulator,
        pdk=made.pdk,
        seed=seed,
    )


def _spice(report: Report) -> str:
    from acs_assistant.report.spice import session_deck
    from acs_assistant.sim.deck import gather
    from acs_assistant.sim.exporting import measure_script
    from acs_assistant.sim.pdk import find_pdk

    best, circuit = report.best_turn, report.task.circuit
    if best is None or best.evaluation is None or best.decision is None:
        raise InputError(
            f"session {report.id} has no simulated turn to export.",
            hint=f"Go on with it: acs-assistant solve --resume {report.id}",
        )
    script = measure_script(circuit, best.decision.sizing, best.evaluation.nominal.conditions)
    needed = any(bench.library for bench in gather(circuit))
    return session_deck(report, find_pdk(circuit.pdk).library if needed else None, script)


def _path(turns: list[Turn], head: int | None) -> list[Turn]:
    by_id = {turn.id: turn for turn in turns}
    path: list[Turn] = []
    while head is not None:
        path.append(by_id[head])
        head = path[-1].parent
    return path[::-1]
