"""Specs and sizes as a person types them: ``gbw>=20meg``, ``w_in=20u``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from acs_assistant.domain import Circuit, Relation, Spec, Task
from acs_assistant.errors import InputError, UnitError, nearest
from acs_assistant.units import format_quantity, parse_quantity

_SPEC = re.compile(r"\s*([A-Za-z]\w*)\s*(>=|<=|==|≥|≤|=|>|<)\s*(.+?)\s*")
_TOLERANCE = re.compile(r"(.+?)\s*(?:\+-|\+/-|±)\s*(.+)")
_ASSIGNMENT = re.compile(r"\s*([A-Za-z]\w*)\s*=\s*(.+?)\s*")
_RELATIONS: dict[str, Relation] = {">=": ">=", "<=": "<=", "==": "==", "≥": ">=", "≤": "<="}
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?\s*", re.IGNORECASE)
_SUFFIX = re.compile(r"meg|[afpnuµμmkgt]", re.IGNORECASE)
_UNIT_NAMES = {
    "ohm": {"ohm", "ohms", "Ω"},
    "deg": {"deg", "°", "degree", "degrees"},
    "%": {"%", "percent"},
}


def parse_spec(text: str, circuit: Circuit) -> Spec:
    """Reads ``metric RELATION target``; "==" takes a tolerance: ``offset==0+-5m``.

    Raises:
        InputError: Not of that form, an unknown metric (names the nearest), a wrong number or unit.
    """
    match = _SPEC.fullmatch(text)
    if match is None:
        raise InputError(f"'{text}' is not a spec.", hint="Write it as: gbw>=20meg")
    name, written, target = match.groups()
    metric = circuit.metric(name)
    relation = _RELATIONS.get(written)
    if relation is None:
        better = {"<": "<=", ">": ">=", "=": "=="}[written]
        raise InputError(
            f"'{written}' is not a relation of specs.",
            hint=f"Write it as: {name}{better}{target}",
        )
    default = next((s for s in circuit.specs if s.metric == name and s.relation == relation), None)
    tolerance = 0.0
    if relation == "==":
        split = _TOLERANCE.fullmatch(target)
        if split is not None:
            target = split[1]
            tolerance = parse_value(split[2], metric.unit)
        elif default is not None:
            tolerance = default.tolerance
        if tolerance <= 0.0:
            raise InputError(
                f"'{text}' has no tolerance.", hint=f"Write it as: {name}=={target}+-5m"
            )
    value = parse_value(target, metric.unit)
    if default is not None:
        return replace(default, target=value, tolerance=tolerance)
    return Spec(name, relation, value, tolerance=tolerance)


def parse_specs(texts: Iterable[str], circuit: Circuit) -> tuple[Spec, ...]:
    """Several specs; without any, the circuit's own."""
    specs = tuple(parse_spec(text, circuit) for text in texts) or circuit.specs
    check_specs(circuit, specs)
    return specs


def check_specs(circuit: Circuit, specs: Sequence[Spec]) -> None:
    """Raises InputError for specs that this circuit cannot be held against."""
    if not specs:
        raise InputError(
            f"circuit {circuit.name} has no specs of its own.",
            hint="Give at least one: --spec 'gbw>=20meg'",
        )
    seen: set[tuple[str, str]] = set()
    for spec in specs:
        circuit.metric(spec.metric)
        if (spec.metric, spec.relation) in seen:
            raise InputError(f"'{spec.metric} {spec.relation}' is given twice.")
        seen.add((spec.metric, spec.relation))


def parse_size(text: str, circuit: Circuit) -> tuple[str, float]:
    """Reads ``parameter=value``.

    Raises:
        InputError: Unknown parameter (names the nearest), wrong number or unit, out of bounds.
    """
    match = _ASSIGNMENT.fullmatch(text)
    if match is None:
        raise InputError(f"'{text}' sets nothing.", hint="Write it as: w_in=20u")
    parameter = circuit.parameter(match[1])
    value = parse_value(match[2], parameter.unit)
    if not parameter.contains(value):
        low, high = parameter.format(parameter.min), parameter.format(parameter.max)
        raise InputError(
            f"{parameter.name} = {format_quantity(value)} is out of bounds.",
            hint=f"Give {parameter.name} a value from {low} to {high}.",
        )
    return parameter.name, value


def parse_value(text: str, unit: str) -> float:
    """A quantity whose unit, if one is written, must be ``unit``.

    ``20MHz`` is refused rather than read as 20 millihertz, which nobody means.
    """
    value = parse_quantity(text)
    rest = _NUMBER.sub("", text, count=1).strip()
    if rest and not _is_unit(rest, unit):
        suffix = _SUFFIX.match(rest)
        written = rest[suffix.end() :] if suffix else rest
        if written and not _is_unit(written, unit):
            wanted = f"in {unit}" if unit else "without a unit"
            raise UnitError(
                f"'{text}': '{written}' is not the unit here; the value is {wanted}.",
                hint=nearest(written, [unit]) if unit else "",
            )
        if written and suffix is not None and suffix[0] == "M":
            number = text.split(rest)[0].strip()
            raise UnitError(
                f"'{text}' would be {number} milli{written}: in SPICE m and M are milli.",
                hint=f"Write {number}meg{written} for mega, {number}m{written} for milli.",
            )
    return value


def with_conditions(
    task: Task,
    *,
    supply: float | None = None,
    temperature: float | None = None,
    load: float | None = None,
) -> Task:
    """The task under other conditions; None keeps the circuit's."""
    conditions = task.conditions
    return replace(
        task,
        conditions=replace(
            conditions,
            supply=conditions.supply if supply is None else supply,
            temperature=conditions.temperature if temperature is None else temperature,
            load=conditions.load if load is None else load,
        ),
    )


def _is_unit(written: str, unit: str) -> bool:
    known = _UNIT_NAMES.get(unit.lower(), {unit})
    return written.lower() in {name.lower() for name in known}
