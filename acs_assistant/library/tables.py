"""What ``circuit.toml`` and ``reference.toml`` may say, and a TOML file that knows its lines."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from acs_assistant import textfile
from acs_assistant.domain import Corner
from acs_assistant.errors import CircuitError, UnitError, nearest
from acs_assistant.units import parse_quantity

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


def _plain(text: str) -> str:
    """Names of nodes, devices and results: exported netlists write them into commands."""
    stray = re.search(r"[^\w .,:()#/@\[\]+\-!?%=^~*]", text)
    if stray is not None:
        raise ValueError(f"{stray[0]!r} cannot stand in an argument of a measure.")
    return text


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
    arguments: dict[str, Annotated[str, AfterValidator(_plain)] | int | float] = {}
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
    load_unit: Literal["F", "A", "Ohm"] = "F"
    corner: Corner = "tt"
    ranges: _RangesTable = _RangesTable()


class CircuitFile(_Table):
    """circuit.toml."""

    circuit: _CircuitTable
    parameter: tuple[_ParameterTable, ...] = Field(min_length=1)
    metric: tuple[_MetricTable, ...] = Field(min_length=1)
    spec: tuple[_SpecTable, ...] = ()
    objective: _ObjectiveTable | None = None
    conditions: _ConditionsTable = _ConditionsTable()


class ReferenceFile(_Table):
    """reference.toml: a sizing and what it measured, under the own conditions and at corners."""

    sizing: dict[str, Quantity]
    metrics: dict[str, Quantity] = {}
    corners: dict[Corner, dict[str, Quantity]] = {}


def read_text(path: Path) -> str:
    """The text of a file of a circuit folder; raises CircuitError when it cannot be read."""
    try:
        if not path.resolve().is_relative_to(path.parent.resolve()):
            raise CircuitError(
                "is a link that leads out of the circuit's folder.",
                file=path,
                hint="Put a copy of the file there.",
            )
        return textfile.read_text(path)
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


@dataclass(frozen=True, slots=True)
class Document:
    """A TOML file whose keys can be found again by line."""

    path: Path
    text: str
    data: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Document:
        """Raises CircuitError, with the line, when the file is missing or is not TOML."""
        text = read_text(path)
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
        """The line of a key (``"parameter", 2, "min"``), or of the nearest table above it."""
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
        """An error that names this file and the line of ``keys``."""
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
                choices = re.findall(r"'([^']+)'", first["ctx"]["expected"])
                hint = f"Write one of: {', '.join(choices)}."
                return self.error(f"{name} = '{word}' is not known.", *keys, hint=hint)
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
