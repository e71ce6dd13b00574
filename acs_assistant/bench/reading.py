"""Finds and reads the folders that ``bench`` wrote, also while one is still being written."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from acs_assistant.bench.runner import RESULTS
from acs_assistant.bench.summary import (
    SUMMARY,
    Estimate,
    Floats,
    Measures,
    Summary,
    success_curve,
    summarize,
)
from acs_assistant.cancel import CancelToken
from acs_assistant.errors import InputError

_DEPTH = 4
_FOLDERS = 4000
_SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages"})
_KEPT = ("task", "level", "circuit", "proposer", "seed", "budget", "first_met_at")


@dataclass(frozen=True, slots=True)
class Found:
    """A folder with results.

    Attributes:
        ended: Whether its summary is written, so that every run is there.
        changed: Local time of the last change, ISO 8601 to the minute.
    """

    folder: Path
    ended: bool
    changed: str


@dataclass(frozen=True, slots=True)
class Results:
    """What one folder holds.

    Attributes:
        runs: Every run without its turns: task, level, circuit, proposer, seed, budget,
            first_met_at.
        skipped: Lines that were cut off, as by a run that is being written.
    """

    folder: Path
    ended: bool
    summary: Summary
    runs: tuple[Mapping[str, Any], ...]
    skipped: int

    def scopes(self) -> dict[str, dict[str, Measures]]:
        """Measures by proposer, by what they are of: all tasks, a level, a circuit."""
        summary = self.summary
        named = {"all tasks": summary.overall}
        named |= {f"level {name}": group for name, group in summary.levels.items()}
        if len(summary.circuits) > 1:
            named |= summary.circuits
        return named

    def runs_of(self, scope: str) -> list[Mapping[str, Any]]:
        """The runs that a scope's measures are made of."""
        level = scope.removeprefix("level ")
        return [
            run
            for run in self.runs
            if scope == "all tasks" or run.get("level") == level or run["circuit"] == scope
        ]

    def curves(self, scope: str) -> dict[str, tuple[Floats, Floats, Floats]]:
        """Share met after 1..budget simulations with its interval, by proposer."""
        groups = _by_proposer(self.runs_of(scope))
        return {name: success_curve(runs, self.summary.budget) for name, runs in groups.items()}

    def firsts(self) -> dict[str, dict[str, tuple[float, ...]]]:
        """Simulations to the first success (infinite: never), by circuit and proposer."""
        found: dict[str, dict[str, tuple[float, ...]]] = {}
        for circuit in self.summary.circuits:
            mine = [run for run in self.runs if run["circuit"] == circuit]
            found[circuit] = {
                name: tuple(float(run["first_met_at"] or math.inf) for run in runs)
                for name, runs in _by_proposer(mine).items()
            }
        return found


def find_results(places: Sequence[Path]) -> list[Found]:
    """Folders with results in ``places`` and some levels below, the last changed first."""
    found: dict[Path, Found] = {}
    left = _FOLDERS
    for place in places:
        for folder, names, files in os.walk(place):
            left -= 1
            here = Path(folder)
            deep = len(here.relative_to(place).parts) >= _DEPTH
            kept = [n for n in names if not n.startswith(".") and n not in _SKIPPED]
            names[:] = [] if deep or left <= 0 else sorted(kept)
            if RESULTS in files:
                found[here.resolve()] = _found(here)
    return sorted(found.values(), key=lambda one: one.changed, reverse=True)


def _found(folder: Path) -> Found:
    changed = datetime.fromtimestamp((folder / RESULTS).stat().st_mtime)
    ended = (folder / SUMMARY).is_file()
    return Found(folder, ended, changed.isoformat(timespec="minutes"))


def read_folder(
    folder: Path,
    cancel: CancelToken | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Results:
    """Reads results without changing the folder.

    Args:
        progress: Called with the share that is read, in [0, 1].

    Raises:
        InputError: The folder holds no results, or a line that is none.
        CancelledError: The person asked to stop.
    """
    path = folder / RESULTS
    whole: list[dict[str, Any]] = []
    skipped = 0
    try:
        size = max(path.stat().st_size, 1)
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if cancel is not None:
                    cancel.raise_if_cancelled()
                if not line.endswith(b"\n"):
                    skipped += 1  # being written, or cut off by a kill
                    continue
                whole.append(_run(line, path, number))
                progress(stream.tell() / size if stream.seekable() else 0.0)
    except FileNotFoundError as error:
        raise InputError(
            f"holds no {RESULTS}.",
            hint="Give the --out folder of: acs-assistant bench",
            file=folder,
        ) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}.", file=path) from error
    if not whole:
        raise InputError("no run is done yet.", hint="Wait for the first one.", file=path)
    summary = _stored_summary(folder / SUMMARY)
    runs = tuple({name: run.get(name) for name in _KEPT} for run in whole)
    return Results(folder, summary is not None, summary or summarize(whole), runs, skipped)


def _run(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        run = json.loads(line)
        wanted = {name: run[name] for name in _KEPT if name != "level"}
    except (ValueError, KeyError, TypeError):
        wanted = {}
    if not wanted:
        raise InputError("not a line of benchmark results.", file=path, line=number)
    found: dict[str, Any] = run
    return found


def _stored_summary(path: Path) -> Summary | None:
    """The summary beside the results; None when there is none, or one of another version."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Summary(
            budget=int(document["budget"]),
            seeds=int(document["seeds"]),
            overall=_group(document["overall"]),
            circuits={name: _group(group) for name, group in document["circuits"].items()},
            levels={name: _group(group) for name, group in document["levels"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _group(document: Mapping[str, Any]) -> dict[str, Measures]:
    return {
        name: Measures(
            **{
                **facts,
                "met_at": {int(k): Estimate(**e) for k, e in facts["met_at"].items()},
                "area": Estimate(**facts["area"]),
            }
        )
        for name, facts in document.items()
    }


def _by_proposer(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault(str(run["proposer"]), []).append(run)
    return groups
