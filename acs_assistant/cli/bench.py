"""``acs-assistant bench``: proposers against each other, and the tasks for it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acs_assistant.cli.output import json_option, print_json, say
from acs_assistant.errors import InputError

if TYPE_CHECKING:
    from acs_assistant.bench.runner import Bench, Result
    from acs_assistant.bench.summary import Summary

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(invoke_without_command=True)
@click.option("--tasks", "tasks_file", type=_FILE, metavar="FILE.json", help="The task file.")
@click.option(
    "--proposers",
    metavar="A,B,C",
    help="model, tpe, cmaes, gp, turbo, scbo, random, sobol, or hybrids such as model+tpe; "
    "model:FILE.gguf names a model.",
)
@click.option("--budget", type=click.IntRange(min=1), default=50, show_default=True,
              help="Simulations per run.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True,
              help="Runs per task and proposer.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=0), default=0,
              help="Processes; one a core by default.")  # fmt: skip
@click.option("--optimize", is_flag=True, help="Go on for the objective once the specs are met.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where results.jsonl, summary.json and the figures go.")  # fmt: skip
@json_option
@click.pass_context
def bench(
    ctx: click.Context,
    tasks_file: Path | None,
    proposers: str | None,
    budget: int,
    seeds: int,
    workers: int,
    optimize: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run every proposer on every task with the same number of simulations.

    A run that was stopped goes on when it is started again with the same options.
    """
    if ctx.invoked_subcommand is not None:
        return
    if tasks_file is None or proposers is None or out is None:
        raise InputError(
            "a benchmark needs tasks, proposers and an output folder.",
            hint="acs-assistant bench --tasks FILE.json --proposers model,tpe --out DIR",
        )
    from acs_assistant.bench.figures import write_figures
    from acs_assistant.bench.runner import Bench, progress_bar, run_bench
    from acs_assistant.bench.summary import markdown, write_summary
    from acs_assistant.bench.taskfile import read_tasks
    from acs_assistant.cli.compose import benchmark_services
    from acs_assistant.config import load_settings

    names = list(dict.fromkeys(name.strip() for name in proposers.split(",") if name.strip()))
    if not names:
        raise InputError("--proposers names none.", hint="--proposers model,tpe")
    plan = Bench(read_tasks(tasks_file), names, budget, seeds, optimize, workers, load_settings())
    if sys.stderr.isatty():
        with progress_bar("runs") as progress:
            results = run_bench(plan, out, benchmark_services, progress)
    else:
        results = run_bench(plan, out, benchmark_services)
    summary = _summary(plan, results)
    write_summary(summary, out)
    write_figures(results, out)
    if as_json:
        print_json(asdict(summary))
    else:
        say(markdown(summary))


def _summary(plan: Bench, results: list[Result]) -> Summary:
    from acs_assistant.bench.summary import summarize
    from acs_assistant.library import load_circuit

    names = {task.circuit for task in plan.tasks}
    return summarize(results, {name: load_circuit(name).objective for name in names})


@bench.command()
@click.argument("circuit")
@click.option("--count", type=click.IntRange(min=1), default=25, show_default=True,
              help="Tasks per level.")  # fmt: skip
@click.option("--level", "levels", multiple=True, type=click.Choice(["easy", "medium", "hard"]),
              help="May be repeated; all levels by default.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--vary-conditions", is_flag=True,
              help="Draw supply, temperature and load, too.")  # fmt: skip
@click.option("--corners", is_flag=True, help="The specs must hold at all five corners.")
@click.option("--out", type=_FILE, required=True, metavar="FILE.json",
              help="The task file; its witnesses go into witnesses/ beside it.")  # fmt: skip
def tasks(
    circuit: str,
    count: int,
    levels: tuple[str, ...],
    seed: int,
    vary_conditions: bool,
    corners: bool,
    out: Path,
) -> None:
    """Draw tasks of CIRCUIT that are proven feasible."""
    from acs_assistant.bench.draw import Plan, draw_tasks
    from acs_assistant.bench.taskfile import (
        LEVELS,
        witness_file,
        write_tasks,
        write_witnesses,
    )
    from acs_assistant.cli.compose import make_simulator
    from acs_assistant.cli.output import progress
    from acs_assistant.domain import CORNERS
    from acs_assistant.library import load_circuit

    plan = Plan(
        count,
        tuple(level for level in LEVELS if not levels or level in levels),
        seed,
        vary_conditions,
        CORNERS if corners else (),
    )
    loaded = load_circuit(circuit)
    simulator = make_simulator()
    try:
        drawn = draw_tasks(loaded, simulator, plan, lambda done: progress(f"  {done} tasks drawn"))
    finally:
        simulator.close()
    write_tasks(out, [task for task, _ in drawn])
    write_witnesses(witness_file(out), [witness for _, witness in drawn])
    say(f"Written: {out} ({len(drawn)} tasks), {witness_file(out)}")
