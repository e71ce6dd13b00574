"""``acs-assistant bench``: proposers against each other, and the tasks for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acs_assistant.cli.output import json_option, print_json, say
from acs_assistant.errors import InputError, nearest

if TYPE_CHECKING:
    from acs_assistant.bench.runner import Progress
    from acs_assistant.bench.summary import Run
    from acs_assistant.sim.port import Simulator

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
@click.option("--level", "levels", multiple=True, type=click.Choice(["easy", "medium", "hard"]),
              help="Only these tasks; may be repeated.")  # fmt: skip
@click.option("--sample", type=click.IntRange(min=1), metavar="N",
              help="Only N tasks of each circuit and level, always the same ones.")  # fmt: skip
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
    levels: tuple[str, ...],
    sample: int | None,
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
    from acs_assistant.bench.runner import Bench, run_bench, sample_tasks
    from acs_assistant.bench.taskfile import read_tasks
    from acs_assistant.cli.compose import benchmark_services
    from acs_assistant.config import load_settings

    names = list(dict.fromkeys(name.strip() for name in proposers.split(",") if name.strip()))
    if not names:
        raise InputError("--proposers names none.", hint="--proposers model,tpe")
    chosen = [task for task in read_tasks(tasks_file) if not levels or task.level in levels]
    if not chosen:
        raise InputError(f"no task is {' or '.join(levels)}.", file=tasks_file)
    if sample is not None:
        chosen = sample_tasks(chosen, sample)
    plan = Bench(chosen, names, budget, seeds, optimize, workers, load_settings())
    with _progress("runs") as progress:
        results = run_bench(plan, out, benchmark_services, progress)
    _report(results, out, as_json)


@bench.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--proposers", metavar="A,B,C",
              help="Compare these, on the tasks that each has run; all by default.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True,
              metavar="DIR", help="Where summary.json, summary.md and the figures go.")  # fmt: skip
@json_option
def summary(folder: Path, proposers: str | None, out: Path, as_json: bool) -> None:
    """Summarize the runs that FOLDER holds, also of a benchmark that was stopped."""
    from acs_assistant.bench.runner import RESULTS, read_results
    from acs_assistant.bench.summary import shared_tasks

    runs = list(read_results(folder / RESULTS).values())
    known = list(dict.fromkeys(run["proposer"] for run in runs))
    names = [name.strip() for name in (proposers or "").split(",") if name.strip()] or known
    for name in names:
        if name not in known:
            raise InputError(
                f"no run of '{name}' is there.", hint=nearest(name, known), file=folder / RESULTS
            )
    shared = shared_tasks(runs, names)
    if not shared:
        raise InputError("no task has a run of each of them.", file=folder / RESULTS)
    _report(shared, out, as_json)


def _report(results: Sequence[Run], out: Path, as_json: bool) -> None:
    """Writes the summary and the figures, and prints the tables."""
    from acs_assistant.bench.figures import write_figures
    from acs_assistant.bench.summary import markdown, summarize, write_summary
    from acs_assistant.library import load_circuit

    names = {result["circuit"] for result in results}
    found = summarize(results, {name: load_circuit(name).objective for name in names})
    out.mkdir(parents=True, exist_ok=True)
    write_summary(found, out)
    write_figures(results, out)
    if as_json:
        print_json(asdict(found))
    else:
        say(markdown(found))


@bench.command()
@click.argument("circuits", nargs=-1, required=True, metavar="CIRCUIT...")
@click.option("--count", type=click.IntRange(min=1), default=25, show_default=True,
              help="Tasks per level and circuit.")  # fmt: skip
@click.option("--level", "levels", multiple=True, type=click.Choice(["easy", "medium", "hard"]),
              help="May be repeated; all levels by default.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--vary-conditions", is_flag=True,
              help="Draw supply, temperature and load, too.")  # fmt: skip
@click.option("--corners", is_flag=True,
              help="Also write FILE_corners.json: the same witnesses held against all five "
              "corners.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=0), default=0,
              help="Simulations at a time; one a core by default.")  # fmt: skip
@click.option("--out", type=_FILE, required=True, metavar="FILE.json",
              help="The task file; its witnesses go into witnesses/ beside it.")  # fmt: skip
def tasks(
    circuits: tuple[str, ...],
    count: int,
    levels: tuple[str, ...],
    seed: int,
    vary_conditions: bool,
    corners: bool,
    workers: int,
    out: Path,
) -> None:
    """Draw tasks of one or more circuits that are proven feasible.

    What FILE.json holds already is kept, so a stopped drawing goes on with the same command, and
    levels may be drawn one after the other.
    """
    from acs_assistant.bench.draw import Plan
    from acs_assistant.bench.sets import TaskSet, draw_corners, draw_set
    from acs_assistant.bench.taskfile import LEVELS
    from acs_assistant.library import load_circuit

    chosen = tuple(level for level in LEVELS if not levels or level in levels)
    plan = Plan(count, chosen, seed, vary_conditions)
    loaded = [load_circuit(name) for name in dict.fromkeys(circuits)]
    target = TaskSet(out)
    with _simulator(workers) as (simulator, side_by_side):
        with _progress("levels") as progress:
            pairs = draw_set(target, loaded, simulator, plan, side_by_side, progress)
        say(f"{out}: {len(pairs)} tasks")
        if not corners:
            return
        with _progress("corners") as progress:
            without = draw_corners(target, load_circuit, simulator, progress)
    say(f"{target.corners.path}: {len(pairs) - len(without)} tasks")
    for name in without:
        say(f"  none for {name}: its witness does not simulate at every corner")


@bench.command()
@click.argument("tasks_file", type=_FILE, metavar="FILE.json")
@click.option("--workers", type=click.IntRange(min=0), default=0,
              help="Simulations at a time; one a core by default.")  # fmt: skip
def check(tasks_file: Path, workers: int) -> None:
    """Simulate every witness of a task file again: does it meet its task?"""
    from acs_assistant.bench.sets import TaskSet, infeasible
    from acs_assistant.library import load_circuit

    made = _simulator(workers, store=False)
    with made as (simulator, _), _progress("witnesses") as progress:
        failed = infeasible(TaskSet(tasks_file), load_circuit, simulator, progress)
    if failed:
        raise InputError(
            f"{len(failed)} tasks are not met by their witness: {', '.join(failed)}.",
            hint="Delete them and draw them again: acs-assistant bench tasks",
            file=tasks_file,
        )
    say(f"{tasks_file}: every task is met by its witness")


@contextmanager
def _simulator(workers: int, store: bool = True) -> Iterator[tuple[Simulator, int]]:
    """The simulator, and how many simulations it makes at a time.

    Args:
        store: Answer what was simulated before from the cache folder.
    """
    from acs_assistant.config import load_settings
    from acs_assistant.sim import make_simulator

    chosen = load_settings().simulator
    count = workers or chosen.workers or os.cpu_count() or 1
    simulator = make_simulator(count, timeout=chosen.timeout, store=store)
    try:
        yield simulator, count
    finally:
        simulator.close()


@contextmanager
def _progress(title: str) -> Iterator[Progress | None]:
    """A bar with the time that is left, where a person can see it."""
    from acs_assistant.bench.runner import progress_bar

    if not sys.stderr.isatty():
        yield None
        return
    with progress_bar(title) as progress:
        yield progress
