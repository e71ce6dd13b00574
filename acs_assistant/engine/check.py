"""Is a circuit folder sound? What only a simulation can tell."""

from __future__ import annotations

import math
from dataclasses import dataclass

from acs_assistant.domain import Circuit, Evaluation, Task
from acs_assistant.engine.evaluate import evaluate
from acs_assistant.errors import CircuitError
from acs_assistant.library.tables import CIRCUIT_FILE, Document
from acs_assistant.sim.port import Simulator
from acs_assistant.units import format_quantity

_AGREEMENT = 0.05
"""Relative difference from the stored metrics that another ngspice version may cause: 39 and 46 are
the same to 1e-3 in op and ac, and up to 4.4 % apart in settling times."""


@dataclass(frozen=True, slots=True)
class CircuitCheck:
    """``evaluation`` is the reference simulated; None when the circuit has none."""

    circuit: Circuit
    evaluation: Evaluation | None
    problems: tuple[str, ...]


def check_circuit(circuit: Circuit, simulator: Simulator) -> CircuitCheck:
    """Checks measures, then simulates the reference at the circuit's own conditions.

    Raises:
        SimulatorError, PdkError: ngspice or the device models are missing.
    """
    problems = _measure_problems(circuit)
    if not circuit.specs:
        problems.append("there is no [[spec]], so a session needs specs typed by hand.")
    if not circuit.reference:
        problems.append("there is no reference sizing in reference.toml.")
    if problems:
        return CircuitCheck(circuit, None, tuple(problems))
    task = Task(circuit, circuit.specs, circuit.conditions, (circuit.conditions.corner,))
    evaluation = evaluate(task, circuit.reference, simulator)
    if evaluation.status == "failed":
        problems.append(f"the reference does not simulate: {evaluation.error}")
        return CircuitCheck(circuit, evaluation, tuple(problems))
    for result in evaluation.score.specs:
        if not result.met:
            value = "missing" if result.value is None else format_quantity(result.value)
            problems.append(f"the reference misses its spec '{result.spec}': {value}.")
    problems += _metric_problems(circuit, evaluation)
    return CircuitCheck(circuit, evaluation, tuple(problems))


def _measure_problems(circuit: Circuit) -> list[str]:
    from acs_assistant.sim.measures import MEASURES, check

    problems = []
    for place, metric in enumerate(circuit.metrics):
        try:
            check(metric)
        except CircuitError as error:
            key = "arguments" if metric.measure in MEASURES else "measure"
            problems.append(f"{_where(circuit, place, key)}{error.message} {error.hint}".strip())
    return problems


def _where(circuit: Circuit, metric: int, key: str) -> str:
    """ "line 83: " of a metric's key in ``circuit.toml``."""
    try:
        line = Document.read(circuit.path / CIRCUIT_FILE).line("metric", metric, key)
    except CircuitError:
        return ""
    return f"line {line}: "


def _metric_problems(circuit: Circuit, evaluation: Evaluation) -> list[str]:
    problems = []
    measured = evaluation.nominal.metrics
    for metric in circuit.metrics:
        value = measured.get(metric.name)
        if value is None or not math.isfinite(value):
            if circuit.reference_metrics and metric.name not in circuit.reference_metrics:
                continue  # the reference is known not to reach it: no unity-gain crossing, say
            problems.append(f"metric '{metric.name}' could not be measured.")
            continue
        stored = circuit.reference_metrics.get(metric.name)
        if stored is not None and abs(value - stored) > _AGREEMENT * abs(stored) + 1e-9:
            problems.append(
                f"metric '{metric.name}' is {format_quantity(value)}, but reference.toml says "
                f"{format_quantity(stored)}."
            )
    return problems
