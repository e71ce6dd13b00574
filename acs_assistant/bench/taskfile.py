"""Task files: what a benchmark asks, and beside them the witnesses that prove it can be done.

A task file is a JSON list of tasks; a witness file has the same ids and is read by no proposer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from acs_assistant.atomic import write_text
from acs_assistant.domain import Circuit, Corner, Relation, Sizing, Spec, Task
from acs_assistant.errors import InputError

Level = Literal["easy", "medium", "hard", ""]
LEVELS: tuple[Level, ...] = ("easy", "medium", "hard")
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _SpecEntry(_Table):
    metric: str
    relation: Relation
    target: Finite
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class _ConditionsEntry(_Table):
    supply: Finite | None = None
    temperature: Finite | None = None
    load: Finite | None = None


class _TaskEntry(_Table):
    id: Annotated[str, Field(min_length=1)]
    circuit: str
    specs: Annotated[list[_SpecEntry], Field(min_length=1)]
    conditions: _ConditionsEntry = _ConditionsEntry()
    corner: Corner | None = None
    corners: list[Corner] | None = None
    seed: int | None = None
    level: Level = ""


class _WitnessEntry(_Table):
    id: str
    sizing: dict[str, Finite]
    metrics: dict[str, Finite]


@dataclass(frozen=True, slots=True)
class BenchTask:
    """One entry of a task file.

    Attributes:
        conditions: Overrides of the circuit's own: supply, temperature, load.
        corners: Where the specs must hold; empty for the circuit's own corner.
        seed: Added to the run's seed; None counts as 0.
    """

    id: str
    circuit: str
    specs: tuple[Spec, ...]
    conditions: Mapping[str, float] = field(default_factory=dict)
    corners: tuple[Corner, ...] = ()
    seed: int | None = None
    level: Level = ""

    def task(self, circuit: Circuit) -> Task:
        """The task to solve.

        Raises:
            InputError: A spec names a metric that the circuit does not have.
        """
        for spec in self.specs:
            try:
                circuit.metric(spec.metric)
            except InputError as error:
                raise InputError(f"task {self.id}: {error.message}", hint=error.hint) from None
        corners = self.corners or (circuit.conditions.corner,)
        conditions = replace(circuit.conditions, corner=corners[0], **dict(self.conditions))
        return Task(circuit, self.specs, conditions, corners)


@dataclass(frozen=True, slots=True)
class Witness:
    """A sizing that meets the task with this id, and what it measured at the first corner."""

    id: str
    sizing: Sizing
    metrics: Mapping[str, float]


def read_tasks(path: Path) -> list[BenchTask]:
    """Reads a task file.

    Raises:
        InputError: Not there, not JSON, or not of the form; names the file, the line and the key.
    """
    entries = _read(path, TypeAdapter(list[_TaskEntry]))
    if not entries:
        raise InputError("the task file holds no tasks.", file=path)
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            raise InputError(f"two tasks have the id '{entry.id}'.", file=path)
        seen.add(entry.id)
    return [_task(entry) for entry in entries]


def read_witnesses(path: Path) -> dict[str, Witness]:
    """Witnesses by task id; raises InputError as ``read_tasks`` does."""
    entries = _read(path, TypeAdapter(list[_WitnessEntry]))
    return {e.id: Witness(e.id, e.sizing, e.metrics) for e in entries}


def write_tasks(path: Path, tasks: Sequence[BenchTask]) -> None:
    _write(path, [_document(task) for task in tasks])


def write_witnesses(path: Path, witnesses: Sequence[Witness]) -> None:
    _write(
        path,
        [{"id": w.id, "sizing": dict(w.sizing), "metrics": dict(w.metrics)} for w in witnesses],
    )


def witness_file(tasks: Path) -> Path:
    """Where ``bench tasks`` puts the witnesses of a task file: ``witnesses/`` beside it."""
    return tasks.parent / "witnesses" / tasks.name


def _task(entry: _TaskEntry) -> BenchTask:
    corners = tuple(entry.corners or ()) or ((entry.corner,) if entry.corner else ())
    return BenchTask(
        entry.id,
        entry.circuit,
        tuple(Spec(s.metric, s.relation, s.target, s.weight, s.tolerance) for s in entry.specs),
        {k: v for k, v in entry.conditions.model_dump().items() if v is not None},
        corners,
        entry.seed,
        entry.level,
    )


def _document(task: BenchTask) -> dict[str, Any]:
    document: dict[str, Any] = {"id": task.id, "circuit": task.circuit, "specs": []}
    for spec in task.specs:
        entry: dict[str, Any] = {
            "metric": spec.metric,
            "relation": spec.relation,
            "target": spec.target,
        }
        if spec.weight != 1.0:
            entry["weight"] = spec.weight
        if spec.tolerance:
            entry["tolerance"] = spec.tolerance
        document["specs"].append(entry)
    if task.conditions:
        document["conditions"] = dict(task.conditions)
    if len(task.corners) == 1:
        document["corner"] = task.corners[0]
    elif task.corners:
        document["corners"] = list(task.corners)
    if task.seed is not None:
        document["seed"] = task.seed
    if task.level:
        document["level"] = task.level
    return document


def _write(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    write_text(path, f"[\n{lines}\n]\n")


def _read(path: Path, form: TypeAdapter[list[Any]]) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"the file cannot be read: {reason}.", file=path) from None
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"not JSON: {error.msg}.",
            hint='A task file is a list: [{"id": ..., "circuit": ..., "specs": [...]}].',
            file=path,
            line=error.lineno,
        ) from None
    try:
        return form.validate_python(data, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"entry {where}: {first['msg'].lower()}." if where else f"{first['msg']}.",
            hint='A task is {"id", "circuit", "specs": [{"metric", "relation", "target"}], '
            '"conditions"?, "corner"? or "corners"?, "seed"?}.',
            file=path,
            line=_line_of_entry(text, first["loc"]),
        ) from None


def _line_of_entry(text: str, where: Sequence[int | str]) -> int | None:
    """The line on which the faulty entry of the list begins."""
    if not where or not isinstance(where[0], int):
        return None
    decoder, position = json.JSONDecoder(), text.index("[") + 1
    for index in range(where[0] + 1):
        while text[position] in " \t\r\n,":
            position += 1
        if index == where[0]:
            return text.count("\n", 0, position) + 1
        _, position = decoder.raw_decode(text, position)
    return None
