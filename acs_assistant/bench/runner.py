"""Runs tasks x proposers x seeds through the design loop and writes one line per run.

``results.jsonl`` holds the ``solve`` document of each run and its task's id. A run that is there
already is not made again, so a stopped benchmark goes on where it was. Runs are spread over
processes; each has a simulator, a model and a session store in memory of its own, and one thread.
"""

from __future__ import annotations

import json
import math
import os
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from acs_assistant.atomic import write_text
from acs_assistant.bench.hybrids import hybrid_names
from acs_assistant.bench.taskfile import BenchTask
from acs_assistant.config import Settings
from acs_assistant.engine.document import Stopwatch, solve_document
from acs_assistant.engine.services import Services
from acs_assistant.engine.session import Session
from acs_assistant.errors import InputError, InternalError, nearest
from acs_assistant.storage.store import Store

RESULTS = "results.jsonl"
RUN = "run.json"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

MakeServices = Callable[[Settings], Services]
Progress = Callable[[int, int], None]
Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bench:
    """What to run.

    Attributes:
        proposers: Names that ``Services.proposer`` takes; ``name:MODEL`` names the
            language model of that one, so that several can be compared in one run.
        seeds: Runs per task and proposer, seeds 0, 1, ...
        budget: Simulations per run.
        optimize: Go on for the objective once the specs are met.
        workers: Processes; 0 for one a core.
    """

    tasks: Sequence[BenchTask]
    proposers: Sequence[str]
    budget: int = 50
    seeds: int = 1
    optimize: bool = False
    workers: int = 0
    settings: Settings = field(default_factory=Settings)

    def jobs(self) -> list[Job]:
        """Every run, in turns over the circuits: those that a stopped run made are a fair part."""
        return [
            Job(task, proposer, seed, self.budget, self.optimize)
            for seed in range(self.seeds)
            for task in _in_turns(self.tasks)
            for proposer in self.proposers
        ]


@dataclass(frozen=True, slots=True)
class Job:
    """One run."""

    task: BenchTask
    proposer: str
    seed: int
    budget: int
    optimize: bool = False

    @property
    def key(self) -> tuple[str, str, int]:
        return self.task.id, self.proposer, self.seed

    @property
    def session_seed(self) -> int:
        """Differs between tasks, or every task would get the same random first points."""
        task = zlib.crc32(self.task.id.encode()) + (self.task.seed or 0)
        return (task + 7_368_787 * self.seed) & 0x7FFFFFFF


def run_bench(
    bench: Bench, out: Path, make_services: MakeServices, progress: Progress | None = None
) -> list[Result]:
    """Makes every run that ``out`` does not hold yet; returns all of them in the order of jobs.

    Args:
        make_services: A function of a module (it crosses to other processes) that builds the parts.
        progress: Called with (runs done, runs in all) after every run.

    Raises:
        InputError: Bad names, or ``out`` holds the results of another benchmark.
        SimulatorError, PdkError, ModelError: What the runs need is not there.
    """
    jobs = bench.jobs()
    _claim(out, bench)
    done = read_results(out / RESULTS)
    todo = [job for job in jobs if job.key not in done]
    _check(bench, make_services)
    if progress is not None:
        progress(len(jobs) - len(todo), len(jobs))
    with (out / RESULTS).open("a", encoding="utf-8") as stream:
        for result in _run_all(todo, bench, make_services):
            done[_key(result)] = result
            stream.write(_line(result))
            stream.flush()
            if progress is not None:
                progress(sum(job.key in done for job in jobs), len(jobs))
    wanted = {job.key for job in jobs}
    results = [done[job.key] for job in jobs]
    others = [result for key, result in done.items() if key not in wanted]
    # Processes end in any order; the file that stays does not depend on it.
    write_text(out / RESULTS, "".join(map(_line, results + others)))
    return results


def run_job(job: Job, services: Services) -> Result:
    """Makes one run, in a session that is kept in memory only."""
    task = job.task.task(services.load_circuit(job.task.circuit))
    services.forget()
    store = Store.memory()
    try:
        name, _, model = job.proposer.partition(":")
        record = store.create_session(
            task,
            title=job.task.id,
            proposer=name,
            model=model,
            budget=job.budget,
            seed=job.session_seed,
        )
        with Session(
            store,
            record.id,
            simulator=services.simulator,
            make_proposer=lambda _: services.proposer(name, budget=job.budget, model=model),
            max_failures=job.budget,
            keep_waveforms=False,
        ) as session:
            watch = Stopwatch()
            for _ in watch.watch(session.run(stop_when_met=not job.optimize)):
                pass
            if session.failure is not None:
                raise session.failure
            document = solve_document(session, watch.seconds)
    finally:
        store.close()
    named = {"session": None, "proposer": job.proposer, "seed": job.seed}
    result: Result = _rounded({"task": job.task.id, "level": job.task.level, **document, **named})
    return result


def read_results(path: Path) -> dict[tuple[str, str, int], Result]:
    """The runs of a results file by (task, proposer, seed); a line cut off by a kill is left out.

    Raises:
        InputError: The file is not one of ours.
    """
    results: dict[tuple[str, str, int], Result] = {}
    if not path.exists():
        return results
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            result = json.loads(line)
            results[_key(result)] = result
        except (ValueError, KeyError, TypeError):
            if number < len(lines):
                raise InputError(
                    "not a line of benchmark results.",
                    hint="Choose another output folder, or delete the file.",
                    file=path,
                    line=number,
                ) from None
            write_text(path, "".join(map(_line, results.values())))
    return results


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """A bar on stderr with the time that is left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        row = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(row, completed=done, total=total)


def sample_tasks(tasks: Sequence[BenchTask], count: int) -> list[BenchTask]:
    """``count`` tasks of each circuit and level, always the same ones, in the order they came in.

    What is drawn of one circuit and level does not depend on what else there is.
    """
    groups: dict[str, list[BenchTask]] = {}
    for task in tasks:
        groups.setdefault(f"{task.circuit} {task.level}", []).append(task)
    kept: set[str] = set()
    for name, group in groups.items():
        generator = random.Random(zlib.crc32(name.encode()))
        kept |= {task.id for task in generator.sample(group, min(count, len(group)))}
    return [task for task in tasks if task.id in kept]


def _in_turns(tasks: Sequence[BenchTask]) -> Iterator[BenchTask]:
    """One task of each circuit, then the next of each; levels in turns within a circuit."""
    circuits: dict[str, dict[str, list[BenchTask]]] = {}
    for task in tasks:
        circuits.setdefault(task.circuit, {}).setdefault(task.level, []).append(task)
    columns = [
        [task for row in zip_longest(*levels.values()) for task in row if task is not None]
        for levels in circuits.values()
    ]
    for row in zip_longest(*columns):
        yield from (task for task in row if task is not None)


def _claim(out: Path, bench: Bench) -> None:
    """Keeps two benchmarks that cannot be compared out of one folder."""
    mine = {"budget": bench.budget, "optimize": bench.optimize}
    out.mkdir(parents=True, exist_ok=True)
    path = out / RUN
    if path.exists():
        try:
            theirs = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            theirs = None
        if theirs != mine:
            raise InputError(
                f"the folder holds results of another benchmark: {theirs}, now {mine}.",
                hint="Choose another output folder.",
                file=path,
            )
    write_text(path, json.dumps(mine) + "\n")


def _check(bench: Bench, make_services: MakeServices) -> None:
    """Finds unknown names and broken circuits before the first simulation."""
    if not bench.proposers:
        raise InputError("no proposer was named.", hint="--proposers model,tpe")
    services = make_services(bench.settings)
    try:
        known = (*services.proposers(), *hybrid_names(services.optimizers))
        for proposer in bench.proposers:
            name = proposer.partition(":")[0]
            if name not in known:
                raise InputError(f"unknown proposer '{name}'.", hint=nearest(name, known))
        for task in bench.tasks:
            task.task(services.load_circuit(task.circuit))
    finally:
        services.close()


def _run_all(todo: list[Job], bench: Bench, make_services: MakeServices) -> Iterator[Result]:
    workers = min(bench.workers or os.cpu_count() or 1, len(todo))
    if workers <= 1:
        services = make_services(bench.settings)
        try:
            for job in todo:
                yield run_job(job, services)
        finally:
            services.close()
        return
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))  # read when the children import numpy
    try:
        with ProcessPoolExecutor(
            workers, get_context("spawn"), _start_worker, (make_services, bench.settings)
        ) as pool:
            futures: list[Future[Result]] = [pool.submit(_work, job) for job in todo]
            try:
                for future in as_completed(futures):
                    yield future.result()
            except BrokenProcessPool:
                raise InternalError(
                    "a worker process of the benchmark was killed, perhaps for want of memory.",
                    hint="Start it again with fewer --workers: finished runs are kept.",
                ) from None
            finally:
                for future in futures:
                    future.cancel()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_services: Services | None = None


def _start_worker(make_services: MakeServices, settings: Settings) -> None:
    from multiprocessing.util import Finalize

    from acs_assistant.llm import open_model

    global _services
    settings = settings.model_copy(
        update={"simulator": settings.simulator.model_copy(update={"workers": 1})}
    )
    _services = make_services(settings)
    _services.open_model = lambda name: open_model(name, threads=1)
    Finalize(None, _services.close, exitpriority=10)  # a pool's processes never run atexit


def _work(job: Job) -> Result:
    if _services is None:
        raise InternalError("a worker process has no parts to work with.")
    return run_job(job, _services)


def _key(result: Result) -> tuple[str, str, int]:
    return str(result["task"]), str(result["proposer"]), int(result["seed"])


def _line(result: Result) -> str:
    return json.dumps(result, ensure_ascii=False, allow_nan=False) + "\n"


def _rounded(value: Any) -> Any:
    """Nine digits of every number: beyond a simulator's accuracy, and half the file."""
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value
