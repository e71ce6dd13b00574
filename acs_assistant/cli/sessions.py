"""``acs-assistant sessions``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acs_assistant.cli.output import json_option, print_json, say, table

if TYPE_CHECKING:
    from acs_assistant.storage.store import Store


@click.group()
def sessions() -> None:
    """Saved sessions."""


@sessions.command("list")
@click.option("--search", default="", metavar="WORDS", help="Only those that contain every word.")
@click.option("--archived", is_flag=True, help="The archived ones instead.")
@json_option
def list_(search: str, archived: bool, as_json: bool) -> None:
    """List sessions, the last used first."""
    with _store() as store:
        found = store.sessions(search, archived=archived)
    if as_json:
        print_json([asdict(summary) for summary in found])
        return
    if not found:
        say("No sessions.")
        return
    rows = [
        [
            str(s.id),
            s.title,
            s.circuit,
            s.proposer,
            f"{s.simulations}/{s.budget}",
            "" if s.best is None else f"{s.best:.4f}",
            "met" if s.met else "",
            "running" if s.running else s.updated[:16].replace("T", " "),
        ]
        for s in found
    ]
    say(table(rows, ("id", "title", "circuit", "proposer", "spent", "best", "", "last used (UTC)")))


@sessions.command()
@click.argument("session", type=int, metavar="ID")
@json_option
def show(session: int, as_json: bool) -> None:
    """Show every turn of session ID."""
    from acs_assistant.cli.tasks import sizing_rows, spec_rows
    from acs_assistant.engine.document import session_document, turn_status
    from acs_assistant.engine.evaluate import best_turn

    with _store() as store:
        record, turns = store.session(session), store.turns(session)
    if as_json:
        print_json(session_document(record, turns))
        return
    circuit = record.task.circuit
    say(f"Session {record.id}: {record.title} ({circuit.name}), proposer {record.proposer}")
    rows = [
        [
            "*" if turn.id == record.head else "",
            str(turn.index),
            turn.proposal.proposer,
            turn.decision.kind if turn.decision else "proposed",
            turn_status(turn) if turn.evaluation else "",
            f"{turn.evaluation.score.value:.4f}" if turn.evaluation else "",
            "met" if turn.evaluation and turn.evaluation.score.met else "",
        ]
        for turn in turns
    ]
    say("\n" + table(rows, ("", "turn", "by", "decision", "simulation", "score", "")))
    best = best_turn(turns, record.task)
    if best is not None and best.evaluation is not None and best.decision is not None:
        say(f"\nBest: turn {best.index}\n")
        say(table(sizing_rows(circuit, best.decision.sizing)))
        header = ("metric", "spec", "value", "margin", "")
        say("\n" + table(spec_rows(circuit, best.evaluation.score.specs), header))


@sessions.command()
@click.argument("session", type=int, metavar="ID")
@click.option(
    "--format",
    "format_",
    required=True,
    type=click.Choice(["spice", "jsonl", "report", "csv"]),
    help="spice: a netlist for ngspice -b; jsonl: chat for training; report: one HTML page.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="F",
              help="File to write; without it the text goes to stdout.")  # fmt: skip
@json_option
def export(session: int, format_: str, out: Path | None, as_json: bool) -> None:
    """Write the best sizing or the whole conversation of session ID."""
    from acs_assistant.engine.export import export_text, write_export

    with _store() as store:
        if out is None:
            text = export_text(store, session, format_)
            if as_json:
                print_json({"session": session, "format": format_, "text": text})
            else:
                click.echo(text, nl=False)
            return
        write_export(store, session, format_, out)
    if as_json:
        print_json({"session": session, "format": format_, "out": str(out.absolute())})
    else:
        say(f"Written: {out}")


@sessions.command()
@click.argument("session", type=int, metavar="ID")
@click.argument("title")
def rename(session: int, title: str) -> None:
    """Give session ID another TITLE."""
    with _store() as store:
        store.rename(session, title)


@sessions.command()
@click.argument("session", type=int, metavar="ID")
@click.option("--undo", is_flag=True, help="Bring it back into the list.")
def archive(session: int, undo: bool) -> None:
    """Hide session ID from the list; nothing is deleted."""
    with _store() as store:
        store.archive(session, not undo)


@sessions.command()
@click.argument("session", type=int, metavar="ID")
@click.option("--title", default="", help="Name of the copy.")
def duplicate(session: int, title: str) -> None:
    """Copy session ID with all its turns."""
    with _store() as store:
        say(f"Session {store.duplicate(session, title).id}")


@contextmanager
def _store() -> Iterator[Store]:
    from acs_assistant import paths
    from acs_assistant.storage.store import Store

    store = Store(paths.database())
    try:
        yield store
    finally:
        store.close()
