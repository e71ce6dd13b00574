"""Options that describe a task, and the tables that show a sizing and its specs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from acs_assistant.domain import CORNERS, Circuit, Corner, Sizing, SpecResult, Task
from acs_assistant.engine.specs import parse_specs, parse_value, with_conditions
from acs_assistant.errors import InputError, nearest
from acs_assistant.units import format_quantity


def make_task(
    circuit: Circuit,
    specs: Sequence[str] = (),
    corners: Sequence[str] = (),
    supply: str | None = None,
    temperature: str | None = None,
    load: str | None = None,
) -> Task:
    """Reads the options as typed.

    Raises:
        InputError: One of them is wrong; names the nearest right one.
    """
    chosen = tuple(dict.fromkeys(parse_corner(corner) for corner in corners))
    task = Task(
        circuit,
        parse_specs(specs, circuit),
        circuit.conditions,
        chosen or (circuit.conditions.corner,),
    )
    task = with_conditions(
        task,
        supply=None if supply is None else parse_value(supply, "V"),
        temperature=None if temperature is None else parse_value(temperature, "C"),
        load=None if load is None else parse_value(load, "F"),
    )
    conditions = task.conditions
    if not 0.1 <= conditions.supply <= 100:
        raise InputError(f"a supply of {format_quantity(conditions.supply)}V is not possible.")
    if not -273.15 < conditions.temperature <= 300:
        raise InputError(f"a temperature of {conditions.temperature:g} degrees is not possible.")
    if conditions.load < 0:
        raise InputError("a load cannot be negative.")
    return task


def parse_corner(name: str) -> Corner:
    if name.lower() not in CORNERS:
        raise InputError(f"unknown corner '{name}'.", hint=nearest(name.lower(), CORNERS))
    return cast(Corner, name.lower())


def sizing_rows(circuit: Circuit, sizing: Sizing) -> list[list[str]]:
    return [
        [p.name, p.format(sizing[p.name]) + p.unit, p.role, " ".join(p.devices)]
        for p in circuit.parameters
        if p.name in sizing
    ]


def spec_rows(circuit: Circuit, results: Iterable[SpecResult]) -> list[list[str]]:
    rows = []
    for result in results:
        spec, unit = result.spec, circuit.metric(result.spec.metric).unit
        value = "missing" if result.value is None else quantity(result.value, unit)
        margin = "" if result.margin is None else quantity(result.margin, unit)
        target = f"{spec.relation} {quantity(spec.target, unit)}"
        where = f" at {result.corner}" if result.corner else ""
        rows.append([spec.metric, target, value, margin, ("met" if result.met else "FAIL") + where])
    return rows


def quantity(value: float, unit: str) -> str:
    """A value for people. Areas are in square micrometres: a prefix would be squared, too."""
    if unit in ("m2", "m^2"):
        return f"{value * 1e12:.4g}um^2"
    if unit in ("dB", "deg"):
        return f"{value:.4g}{unit}"
    return format_quantity(value) + unit
