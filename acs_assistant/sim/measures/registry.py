"""How a measure is declared, checked, computed and written as an ngspice script."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from acs_assistant.domain import Metric
from acs_assistant.errors import CircuitError, UnitError, nearest
from acs_assistant.sim.vectors import MeasureError, Run
from acs_assistant.units import parse_quantity

Value = str | float


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a measure, read from the function's signature."""

    name: str
    kind: Literal["text", "number"]
    required: bool
    default: Value | None


@dataclass(slots=True)
class Measure:
    """A built-in measure.

    Attributes:
        analysis: What the testbench must run: "op", "dc", "ac", "tran", "noise" or "" for any.
        definition: The docstring.
    """

    name: str
    unit: str
    analysis: str
    definition: str
    arguments: tuple[Argument, ...]
    compute: Callable[..., float]
    write: Callable[..., list[str]] | None = field(default=None)

    def script(self, function: Callable[..., list[str]]) -> Callable[..., list[str]]:
        """Declares the ngspice script of this measure: ``function(name, **arguments) -> lines``."""
        self.write = function
        return function


MEASURES: dict[str, Measure] = {}


def measure(*, unit: str, analysis: str) -> Callable[[Callable[..., float]], Measure]:
    """Registers a function ``(run, **arguments) -> float`` under its own name."""

    def register(function: Callable[..., float]) -> Measure:
        arguments = []
        for parameter in list(inspect.signature(function).parameters.values())[1:]:
            required = parameter.default is inspect.Parameter.empty
            arguments.append(
                Argument(
                    parameter.name,
                    "number" if parameter.annotation == "float" else "text",
                    required,
                    None if required else parameter.default,
                )
            )
        name = function.__name__.rstrip("_")
        entry = Measure(
            name, unit, analysis, inspect.getdoc(function) or "", tuple(arguments), function
        )
        MEASURES[name] = entry
        return entry

    return register


def find_measure(name: str) -> Measure:
    """Raises CircuitError, with the nearest name, when there is no such measure."""
    try:
        return MEASURES[name]
    except KeyError:
        raise CircuitError(
            f"there is no built-in measure '{name}'.", hint=nearest(name, MEASURES)
        ) from None


def check(metric: Metric) -> dict[str, Value]:
    """The arguments of a metric's measure, complete and of the right type.

    Numbers may be written in SPICE notation.

    Raises:
        CircuitError: The measure or an argument is unknown, missing or of the wrong type.
    """
    entry = find_measure(metric.measure)
    known = {argument.name: argument for argument in entry.arguments}
    for name in metric.arguments:
        if name not in known:
            raise CircuitError(
                f"metric '{metric.name}': measure '{entry.name}' has no argument '{name}'.",
                hint=nearest(name, known) or f"'{entry.name}' takes no arguments.",
            )
    values: dict[str, Value] = {}
    for argument in entry.arguments:
        value = metric.arguments.get(argument.name, argument.default)
        if value is None:
            raise CircuitError(
                f"metric '{metric.name}': measure '{entry.name}' needs the argument "
                f"'{argument.name}'.",
                hint=f'Write arguments = {{ {argument.name} = "..." }}.',
            )
        values[argument.name] = _typed(metric, argument, value)
    return values


def _typed(metric: Metric, argument: Argument, value: Value) -> Value:
    if argument.kind == "text":
        return str(value)
    try:
        number = parse_quantity(value) if isinstance(value, str) else float(value)
    except UnitError as error:
        raise CircuitError(
            f"metric '{metric.name}', argument '{argument.name}': {error.message}", hint=error.hint
        ) from None
    if not math.isfinite(number):
        raise CircuitError(f"metric '{metric.name}', argument '{argument.name}' is not finite.")
    return number


def evaluate(metric: Metric, run: Run) -> float:
    """Takes a metric from the vectors of its testbench.

    Raises:
        MeasureError: It cannot be taken; the message says why.
    """
    arguments = check(metric)
    try:
        value = float(MEASURES[metric.measure].compute(run, **arguments))
    except (ArithmeticError, ValueError, IndexError) as error:
        raise MeasureError(f"{metric.measure}: {error}") from error
    if not math.isfinite(value):
        raise MeasureError(f"{metric.measure} is not finite")
    return value


def script(metric: Metric, extra: Mapping[str, Value] | None = None) -> list[str]:
    """Lines for an ngspice ``.control`` block, after ``run``, that print ``name = value``.

    Args:
        extra: What a script needs beyond the arguments: ``area`` (square metres) for "area",
            ``devices`` (space-separated instance paths) for "saturation_margin".
    """
    entry = find_measure(metric.measure)
    if entry.write is None:
        raise CircuitError(f"measure '{entry.name}' has no ngspice script.")
    names = set(inspect.signature(entry.write).parameters)
    values = {**check(metric), **(extra or {})}
    lines = entry.write(metric.name, **{k: v for k, v in values.items() if k in names})
    return [*lines, f"print {metric.name}"]
