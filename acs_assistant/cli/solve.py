"""``acs-assistant solve``: a design run without a screen, saved like any session."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from acs_assistant.cli.output import json_option, print_json, progress, say, table
from acs_assistant.errors import InputError

if TYPE_CHECKING:
    from acs_assistant.cancel import CancelToken
    from acs_assistant.engine.session import Session
    from acs_assistant.events import Event


@click.command()
@click.argument("circuit", required=False)
@click.option(
    "--spec",
    "specs",
    multiple=True,
    metavar="SPEC",
    help="A spec such as 'gbw>=20meg' or 'offset==0+-1m'; may be repeated. "
    "Any --spec replaces all of the circuit's default specs.",
)
@click.option("--budget", type=click.IntRange(min=1), help="Simulations to spend at most.")
@click.option(
    "--proposer",
    metavar="NAME",
    help="Who proposes: model, or an optimizer: tpe, cmaes, gp, turbo, scbo, random, sobol; "
    "or both, such as model+tpe.",
)
@click.option("--model", default="", metavar="NAME|FILE|URL", help="The language model.")
@click.option("--seed", type=click.IntRange(min=0), help="Makes the run repeatable.")
@click.option("--corner", "corners", multiple=True, metavar="CORNER",
              help="The specs must hold here; may be repeated.")  # fmt: skip
@click.option("--supply", metavar="V", help="Supply voltage instead of the circuit's.")
@click.option("--temp", metavar="C", help="Temperature instead of the circuit's.")
@click.option("--load", metavar="VALUE", help="Load instead of the circuit's.")
@click.option("--title", default="", help="Name of the session in the list.")
@click.option(
    "--optimize", is_flag=True, help="Once the specs are met go on for the circuit's objective."
)
@click.option("--resume", type=int, metavar="ID",
              help="Go on with session ID where it was left, in place of CIRCUIT.")  # fmt: skip
@json_option
def solve(
    circuit: str | None,
    specs: tuple[str, ...],
    budget: int | None,
    proposer: str | None,
    model: str,
    seed: int | None,
    corners: tuple[str, ...],
    supply: str | None,
    temp: str | None,
    load: str | None,
    title: str,
    optimize: bool,
    resume: int | None,
    as_json: bool,
) -> None:
    """Size CIRCUIT (a name or a folder) until its specs are met or the budget is spent."""
    from acs_assistant.cli.compose import build_services
    from acs_assistant.cli.tasks import make_task
    from acs_assistant.library import load_circuit

    if (circuit is None) == (resume is None):
        raise InputError(
            "solve needs either a circuit or --resume ID.",
            hint="See the circuits with: acs-assistant circuits list",
        )
    if circuit is None and (specs or corners or supply or temp or load or seed is not None):
        raise InputError(
            "--resume goes on with the session's own specs, conditions and seed.",
            hint="Leave those options out, or start a new session with a circuit.",
        )
    task = None
    if circuit is not None:
        task = make_task(load_circuit(circuit), specs, corners, supply, temp, load)
    services = build_services()
    try:
        if task is not None:
            # A model that cannot be opened must not leave an empty session behind.
            chosen = services.settings.session
            name = proposer or chosen.proposer
            services.proposer(name, budget=budget or chosen.budget, model=model)
            session = services.new_session(
                task, proposer=name, model=model, budget=budget, seed=seed, title=title
            )
        else:
            assert resume is not None
            session = services.open_session(resume)
        with session:
            if task is None:
                _change(session, budget, proposer, model)
            interrupted = _run(session, optimize, as_json)
        if interrupted:
            raise click.exceptions.Exit(130)
    finally:
        services.close()


def _change(session: Session, budget: int | None, proposer: str | None, model: str) -> None:
    """What may be changed of a session that goes on."""
    if budget is not None:
        session.set_budget(budget)
    if proposer is not None or model:
        session.set_proposer(proposer or session.record.proposer, model)


def _run(session: Session, optimize: bool, as_json: bool) -> bool:
    """Runs to the end and prints; whether the person stopped it."""
    from acs_assistant.cancel import CancelToken
    from acs_assistant.engine.document import Stopwatch, solve_document

    watch, cancel = Stopwatch(), CancelToken()
    with _interruptible(cancel):
        for event in watch.watch(session.run(cancel=cancel, stop_when_met=not optimize)):
            _report(event)
    if session.failure is not None:
        kept = f"The session is kept; go on with: acs-assistant solve --resume {session.id}"
        session.failure.hint = f"{session.failure.hint}\n  {kept}".strip()
        raise session.failure
    document = solve_document(session, watch.seconds)
    if as_json:
        print_json(document)
    else:
        _print(session, document)
    return cancel.cancelled


@contextmanager
def _interruptible(cancel: CancelToken) -> Iterator[None]:
    """Ctrl-C stops model and simulator; what was reached is still printed."""
    before = signal.signal(signal.SIGINT, lambda *_: cancel.cancel())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _report(event: Event) -> None:
    from acs_assistant.events import Decided, SimulationFinished, Stopped
    from acs_assistant.units import format_quantity

    match event:
        case Decided(decision=decision) if decision.kind == "invalid":
            progress(f"  no usable proposal: {decision.reason}")
        case SimulationFinished(evaluation=evaluation) if evaluation.status == "failed":
            progress(f"  simulation failed: {evaluation.error}")
        case SimulationFinished(evaluation=evaluation):
            missed = [
                f"{r.spec.metric} {'-' if r.value is None else format_quantity(r.value)}"
                f" ({r.spec.relation} {format_quantity(r.spec.target)})"
                for r in evaluation.score.specs
                if not r.met
            ]
            words = "every spec is met" if not missed else "not met: " + ", ".join(missed)
            progress(f"  score {evaluation.score.value:.4f}, {words}")
        case Stopped(reason=reason, message=message):
            progress(f"Stopped: {message or reason}")
        case _:
            pass


def _print(session: Session, document: dict[str, Any]) -> None:
    from acs_assistant.cli.tasks import sizing_rows, spec_rows

    best = session.best()
    spent = f"{document['simulations']} of {document['budget']} simulations"
    verdict = "Every spec is met" if document["met"] else "Not every spec is met"
    say(f"{verdict} after {spent} (session {session.id}).")
    if best is None or best.evaluation is None or best.decision is None:
        return
    say(f"\nBest: turn {best.index}, score {best.evaluation.score.value:.4f}\n")
    say(table(sizing_rows(session.task.circuit, best.decision.sizing)))
    say("")
    say(
        table(
            spec_rows(session.task.circuit, best.evaluation.score.specs),
            ("metric", "spec", "value", "margin", ""),
        )
    )
    say(f"\nExport it: acs-assistant sessions export {session.id} --format spice --out FILE")
