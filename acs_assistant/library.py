"""Circuit folders: finding them, reading ``circuit.toml`` and ``reference.toml``, checking both.

Nothing here simulates. Measures are checked by the simulator's own registry, which knows them.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from acs_assistant import paths
from acs_assistant.domain import (
    Circuit,
    Conditions,
    Corner,
    Metric,
    Objective,
    Parameter,
    Sizing,
    Spec,
    Testbench,
)
from acs_assistant.errors import CircuitError, InputError, UnitError, nearest
from acs_assistant.units import format_quantity, parse_quantity

CIRCUIT_FILE = "circuit.toml"
NETLIST_FILE = "netlist.spice"
REFERENCE_FILE = "reference.toml"
SCHEMATIC_FILE = "schematic.txt"


def _number(value: object) -> object:
    """A SPICE quantity becomes a float; anything else is left for pydantic to refuse."""
    if not isinstance(value, str):
        return value
    try:
        return parse_quantity(value)
    except UnitError as error:
        raise ValueError(f"{error.message} {error.hint}") from None


Quantity = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_T = TypeVar("_T", bound=_Table)


class _CircuitTable(_Table):
    name: Name
    title: str
    pdk: str
    category: str = "amplifier"
    description: str = ""


class _ParameterTable(_Table):
    name: Name
    unit: Literal["m", "F", "A", "Ohm", "V", ""] = ""
    min: Quantity
    max: Quantity
    grid: Quantity
    scale: Literal["log", "linear"] = "log"
    role: str = ""
    devices: tuple[str, ...] = ()


class _MetricTable(_Table):
    name: Name
    unit: str = ""
    testbench: str
    measure: str
    arguments: dict[str, str | int | float] = {}
    better: Literal["higher", "lower", "neither"] = "neither"
    description: str = ""


class _SpecTable(_Table):
    metric: str
    relation: Literal[">=", "<=", "=="]
    target: Quantity
    weight: Quantity = 1.0
    tolerance: Quantity = 0.0
    range: tuple[Quantity, Quantity] | None = None


class _ObjectiveTable(_Table):
    metric: str
    goal: Literal["minimize", "maximize"] = "minimize"


class _RangesTable(_Table):
    supply: tuple[Quantity, Quantity] | None = None
    temperature: tuple[Quantity, Quantity] | None = None
    load: tuple[Quantity, Quantity] | None = None


class _ConditionsTable(_Table):
    supply: Quantity = 1.8
    temperature: Quantity = 27.0
    load: Quantity = 0.0
    corner: Corner = "tt"
    ranges: _RangesTable = _RangesTable()


class _CircuitFile(_Table):
    circuit: _CircuitTable
    parameter: tuple[_ParameterTable, ...] = Field(min_length=1)
    metric: tuple[_MetricTable, ...] = Field(min_length=1)
    spec: tuple[_SpecTable, ...] = ()
    objective: _ObjectiveTable | None = None
    conditions: _ConditionsTable = _ConditionsTable()


class _ReferenceFile(_Table):
    sizing: dict[str, Quantity]
    metrics: dict[str, Quantity] = {}
    corners: dict[Corner, dict[str, Quantity]] = {}


@dataclass(frozen=True, slots=True)
class CircuitSummary:
    """One line of ``circuits list``. ``parameters`` is how many there are."""

    name: str
    title: str
    category: str
    pdk: str
    parameters: int
    path: Path


@dataclass(frozen=True, slots=True)
class Reference:
    """``reference.toml``: a sizing and what it measured, at tt and at the other corners."""

    sizing: Sizing
    metrics: Mapping[str, float]
    corners: Mapping[Corner, Mapping[str, float]]


def search_path() -> tuple[Path, ...]:
    """Folders that hold circuit folders: the package's, then the user's."""
    return paths.bundled_circuits(), paths.user_circuits()


def find_circuit(name: str | Path) -> Path:
    """The folder of a circuit: a path as given, else by name in the package, else the user's.

    Raises:
        CircuitError: There is no such circuit; the hint names the nearest one.
    """
    given = Path(name).expanduser()
    if given.name == CIRCUIT_FILE:
        given = given.parent
    if (given / CIRCUIT_FILE).is_file():
        return given.resolve()
    looks_like_path = len(given.parts) > 1 or given.is_absolute() or given.is_dir()
    if looks_like_path:
        what = "has no circuit.toml" if given.is_dir() else "is not a folder"
        raise CircuitError(
            f"{given} {what}.",
            hint="Give the folder that holds circuit.toml, netlist.spice and the testbenches.",
        )
    for folder in search_path():
        if (folder / given / CIRCUIT_FILE).is_file():
            return folder / given
    raise CircuitError(
        f"there is no circuit '{name}'.", hint=nearest(str(name), (p.name for p in _folders()))
    )


def list_circuits() -> list[CircuitSummary]:
    """Every circuit that can be found by name, sorted by name. A folder that is broken is skipped:
    ``load_circuit`` says why when it is asked for.
    """
    found: dict[str, CircuitSummary] = {}
    for folder in _folders():
        try:
            circuit = load_circuit(folder)
        except CircuitError:
            continue
        found.setdefault(
            folder.name,
            CircuitSummary(
                circuit.name,
                circuit.title,
                circuit.category,
                circuit.pdk,
                len(circuit.parameters),
                folder,
            ),
        )
    return [found[name] for name in sorted(found)]


def _folders() -> Iterator[Path]:
    for folder in search_path():
        if folder.is_dir():
            yield from sorted(p.parent for p in folder.glob(f"*/{CIRCUIT_FILE}"))


def load_circuit(name: str | Path) -> Circuit:
    """Reads and checks a circuit folder.

    Args:
        name: A circuit's name, its folder, or its ``circuit.toml``.

    Raises:
        CircuitError: The folder is missing or broken; names the file, the line and the mend.
    """
    folder = find_circuit(name)
    file = _Document.read(folder / CIRCUIT_FILE)
    table = file.validate(_CircuitFile)
    netlist = _read(folder / NETLIST_FILE)
    reference = read_reference(folder)
    circuit = Circuit(
        name=table.circuit.name,
        title=table.circuit.title,
        pdk=table.circuit.pdk,
        category=table.circuit.category,
        description=table.circuit.description,
        path=folder,
        parameters=tuple(Parameter(**p.model_dump()) for p in table.parameter),
        metrics=tuple(Metric(**m.model_dump()) for m in table.metric),
        specs=tuple(Spec(**s.model_dump()) for s in table.spec),
        conditions=Conditions(**table.conditions.model_dump(exclude={"ranges"})),
        netlist=netlist,
        testbenches=tuple(_testbenches(folder)),
        objective=Objective(**table.objective.model_dump()) if table.objective else None,
        condition_ranges=table.conditions.ranges.model_dump(exclude_none=True),
        reference=reference.sizing if reference else {},
        reference_metrics=reference.metrics if reference else {},
        schematic=_read(folder / SCHEMATIC_FILE) if (folder / SCHEMATIC_FILE).exists() else "",
    )
    _check_parameters(circuit, file)
    _check_metrics(circuit, file)
    _check_specs(circuit, file)
    _check_netlist(circuit)
    if reference is not None:
        _check_reference(circuit, folder / REFERENCE_FILE)
    return circuit


def read_reference(folder: Path) -> Reference | None:
    """Reads ``reference.toml``; None when the folder has none.

    Raises:
        CircuitError: The file is broken.
    """
    path = folder / REFERENCE_FILE
    if not path.exists():
        return None
    table = _Document.read(path).validate(_ReferenceFile)
    return Reference(table.sizing, table.metrics, table.corners)


def write_reference(
    folder: Path,
    sizing: Sizing,
    metrics: Mapping[str, float],
    corners: Mapping[Corner, Mapping[str, float]] | None = None,
) -> Path:
    """Writes ``reference.toml``, whole or not at all, and returns its path.

    Args:
        sizing: SI values of every parameter of the circuit in ``folder``.
        metrics: What it measured under the circuit's own conditions.
        corners: What it measured at other corners.

    Raises:
        CircuitError: The folder's ``circuit.toml`` is broken, or the sizing does not fit it.
    """
    table = _Document.read(folder / CIRCUIT_FILE).validate(_CircuitFile)
    parameters = {p.name: Parameter(**p.model_dump()) for p in table.parameter}
    lines = ["[sizing]"]
    lines += [f'{name} = "{parameters[name].format(value)}"' for name, value in sizing.items()]
    tables = {"metrics": metrics, **{f"corners.{c}": m for c, m in (corners or {}).items()}}
    for title, values in tables.items():
        lines += ["", f"[{title}]"]
        lines += [f'{name} = "{format_quantity(value, 6)}"' for name, value in values.items()]
    path = folder / REFERENCE_FILE
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".reference-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)
    return path


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CircuitError("is missing.", file=path, hint=_PURPOSE.get(path.name, "")) from None
    except UnicodeDecodeError as error:
        raise CircuitError(
            "is not UTF-8 text.", file=path, hint="Save it as UTF-8 or plain ASCII."
        ) from error
    except OSError as error:
        raise CircuitError(f"cannot be read: {error.strerror}.", file=path) from error


_PURPOSE = {
    CIRCUIT_FILE: "It names the circuit, its parameters, metrics and specs.",
    NETLIST_FILE: "It holds the device under test: one .subckt with the circuit's name.",
}


def _testbenches(folder: Path) -> Iterator[Testbench]:
    for path in sorted(folder.glob("tb_*.spice")):
        yield Testbench(path.stem.removeprefix("tb_"), path, _read(path))


@dataclass(frozen=True, slots=True)
class _Document:
    """A TOML file whose keys can be found again by line."""

    path: Path
    text: str
    data: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> _Document:
        text = _read(path)
        try:
            return cls(path, text, tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"line (\d+)", str(error))
            line = int(found[1]) if found else text.count("\n") + 1
            what = re.sub(r" \(at .*\)$", "", str(error))
            raise CircuitError(f"{what}.", file=path, line=line, hint="Mend the TOML.") from None

    def validate(self, model: type[_T]) -> _T:
        """Raises CircuitError for the first thing that the model refuses."""
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            raise self._explain(model, error) from None

    def line(self, *keys: str | int) -> int | None:
        """Line of a key (``"parameter", 2, "min"``), or of the nearest table above it."""
        lines = self.text.splitlines()
        start, end = 0, len(lines)
        best: int | None = None
        for depth, key in enumerate(keys):
            if isinstance(key, int):
                continue
            order = keys[depth + 1] if depth + 1 < len(keys) else 0
            header = re.compile(rf"\s*\[\[?\s*(?:[\w.]+\.)?{re.escape(key)}\s*\]\]?")
            headers = [i for i in range(start, end) if header.match(lines[i])]
            if headers:
                nth = order if isinstance(order, int) and order < len(headers) else 0
                start = headers[nth]
                end = next((i for i in range(start + 1, end) if lines[i].startswith("[")), end)
                best = start + 1
                continue
            entry = re.compile(rf"""[^#]*?(?<![\w."']){re.escape(key)}["']?\s*=""")
            found = next((i for i in range(start, end) if entry.match(lines[i])), None)
            if found is None:
                break
            best, start, end = found + 1, found, found + 1
        return best

    def error(self, message: str, *keys: str | int, hint: str = "") -> CircuitError:
        return CircuitError(message, file=self.path, line=self.line(*keys), hint=hint)

    def _explain(self, model: type[_Table], error: ValidationError) -> CircuitError:
        details = error.errors()
        first = next((d for d in details if d["type"] == "extra_forbidden"), details[0])
        keys = first["loc"]
        name = str(keys[-1]) if not isinstance(keys[-1], int) else str(keys[-2])
        where = next((str(k) for k in reversed(keys[:-1]) if isinstance(k, str)), "")
        inside = f" in [{where}]" if where else ""
        match first["type"]:
            case "extra_forbidden":
                return self.error(
                    f"unknown key '{name}'{inside}.", *keys, hint=nearest(name, _keys(model, keys))
                )
            case "missing":
                return self.error(f"the key '{name}' is missing{inside}.", *keys[:-1])
            case "literal_error":
                word = str(first["input"])
                choices = re.findall(r"'([^']*)'", first["ctx"]["expected"])
                return self.error(
                    f"{name} = '{word}' is not known.", *keys, hint=nearest(word, choices)
                )
            case "value_error":
                return self.error(f"{name}: {first['ctx']['error']}", *keys)
            case _:
                reason = first["msg"][:1].lower() + first["msg"][1:]
                return self.error(f"{name}: {reason}.", *keys)


def _keys(model: type[_Table], keys: Sequence[str | int]) -> list[str]:
    """The keys that the table at ``keys[:-1]`` may have."""
    current: Any = model
    for key in keys[:-1]:
        if isinstance(key, int) or not hasattr(current, "model_fields"):
            continue
        field = current.model_fields.get(key)
        if field is None:
            return []
        current = _table_type(field.annotation)
    return list(current.model_fields) if hasattr(current, "model_fields") else []


def _table_type(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _table_type(inner)
        if found is not None:
            return found
    return None


def _check_unique(file: _Document, kind: str, names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        if name in names[:i]:
            raise file.error(f"{kind} '{name}' is there twice.", kind, i, "name")


def _check_parameters(circuit: Circuit, file: _Document) -> None:
    _check_unique(file, "parameter", [p.name for p in circuit.parameters])
    for i, p in enumerate(circuit.parameters):
        if p.grid <= 0:
            raise file.error(f"{p.name}: the grid must be more than 0.", "parameter", i, "grid")
        if p.min >= p.max:
            raise file.error(f"{p.name}: min must be less than max.", "parameter", i, "min")
        if p.scale == "log" and p.min <= 0:
            raise file.error(
                f"{p.name}: a log scale needs min above 0.",
                "parameter",
                i,
                "min",
                hint='Raise min, or write scale = "linear".',
            )
        for key, bound in (("min", p.min), ("max", p.max)):
            if not _on_grid(bound, p.grid):
                raise file.error(
                    f"{p.name}: {key} = {format_quantity(bound, 8)} is not on the grid of "
                    f"{format_quantity(p.grid)}.",
                    "parameter",
                    i,
                    key,
                )


def _on_grid(value: float, grid: float) -> bool:
    steps = value / grid
    return math.isclose(steps, round(steps), rel_tol=1e-9, abs_tol=1e-6)


def _check_metrics(circuit: Circuit, file: _Document) -> None:
    _check_unique(file, "metric", [m.name for m in circuit.metrics])
    benches = [t.name for t in circuit.testbenches]
    if not benches:
        raise CircuitError(
            "there is no testbench.", file=circuit.path, hint="Add a file tb_<name>.spice."
        )
    for i, metric in enumerate(circuit.metrics):
        if metric.testbench not in benches:
            raise file.error(
                f"metric '{metric.name}' is measured in tb_{metric.testbench}.spice, which is "
                "not there.",
                "metric",
                i,
                "testbench",
                hint=nearest(metric.testbench, benches),
            )


def _check_specs(circuit: Circuit, file: _Document) -> None:
    names = [m.name for m in circuit.metrics]
    for i, spec in enumerate(circuit.specs):
        if spec.metric not in names:
            raise file.error(
                f"spec on '{spec.metric}', which is not a metric of this circuit.",
                "spec",
                i,
                "metric",
                hint=nearest(spec.metric, names),
            )
        if spec.weight <= 0:
            raise file.error(f"{spec.metric}: weight must be above 0.", "spec", i, "weight")
        if spec.relation == "==" and spec.tolerance <= 0:
            raise file.error(
                f"{spec.metric}: '==' needs a tolerance above 0.",
                "spec",
                i,
                "relation",
                hint="Add tolerance, in the metric's unit.",
            )
        if spec.range is not None and spec.range[0] > spec.range[1]:
            raise file.error(f"{spec.metric}: range is written [low, high].", "spec", i, "range")
    if circuit.objective is not None and circuit.objective.metric not in names:
        raise file.error(
            f"objective on '{circuit.objective.metric}', which is not a metric of this circuit.",
            "objective",
            "metric",
            hint=nearest(circuit.objective.metric, names),
        )
    for name, (low, high) in circuit.condition_ranges.items():
        if not low <= getattr(circuit.conditions, name) <= high:
            raise file.error(f"{name} lies outside its own range.", "conditions", "ranges", name)


def _check_netlist(circuit: Circuit) -> None:
    """One ``.subckt`` of the circuit's name, with exactly the circuit's parameters."""
    path = circuit.path / NETLIST_FILE
    subcircuits = list(_subcircuits(circuit.netlist))
    names = [name for name, _, _ in subcircuits]
    own = next((s for s in subcircuits if s[0] == circuit.name.lower()), None)
    if own is None:
        raise CircuitError(
            f"there is no .subckt {circuit.name}.", file=path, hint=nearest(circuit.name, names)
        )
    _, line, declared = own
    wanted = [p.name for p in circuit.parameters]
    for name in wanted:
        if name.lower() not in declared:
            raise CircuitError(
                f".subckt {circuit.name} does not declare the parameter '{name}'.",
                file=path,
                line=line,
                hint=f"Add {name}=<value> to its parameters.",
            )
    lowered = {name.lower() for name in wanted}
    for name in declared:
        if name not in lowered:
            raise CircuitError(
                f".subckt {circuit.name} declares '{name}', which is not a parameter in "
                f"{CIRCUIT_FILE}.",
                file=path,
                line=line,
                hint=nearest(name, wanted),
            )


def _subcircuits(text: str) -> Iterator[tuple[str, int, list[str]]]:
    """Name (lower case), line and parameter names of every ``.subckt``."""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip().lower().startswith(".subckt"):
            continue
        card = line.split(";")[0]
        for follower in lines[number:]:
            if not follower.lstrip().startswith("+"):
                break
            card += " " + follower.lstrip()[1:].split(";")[0]
        words = card.split()
        yield (
            words[1].lower() if len(words) > 1 else "",
            number,
            [name.lower() for name in re.findall(r"([A-Za-z_]\w*)\s*=", card)],
        )


def _check_reference(circuit: Circuit, path: Path) -> None:
    file = _Document.read(path)
    try:
        snapped = circuit.snap(circuit.reference)
    except InputError as error:
        named = next((n for n in circuit.reference if re.search(rf"\b{n}\b", error.message)), "")
        raise file.error(error.message, "sizing", named, hint=error.hint) from None
    for name, value in snapped.items():
        if not math.isclose(value, circuit.reference[name], rel_tol=1e-9):
            parameter = circuit.parameter(name)
            raise file.error(
                f"{name} = {format_quantity(circuit.reference[name], 8)} is not on its grid.",
                "sizing",
                name,
                hint=f"The nearest value on the grid is {parameter.format(value)}.",
            )
    names = [m.name for m in circuit.metrics]
    for name in circuit.reference_metrics:
        if name not in names:
            raise file.error(
                f"'{name}' is not a metric of this circuit.",
                "metrics",
                name,
                hint=nearest(name, names),
            )
