"""Whether the parts of a circuit folder agree with one another."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from acs_assistant.domain import Circuit
from acs_assistant.errors import CircuitError, InputError, nearest
from acs_assistant.library.tables import CIRCUIT_FILE, NETLIST_FILE, REFERENCE_FILE, Document
from acs_assistant.units import format_quantity


def check_circuit(circuit: Circuit, file: Document) -> None:
    """Holds parameters, metrics, specs, netlist and reference against each other.

    Args:
        file: The ``circuit.toml`` that ``circuit`` was read from, for line numbers.

    Raises:
        CircuitError: Two parts disagree; names the file, the line and the mend.
    """
    _check_parameters(circuit, file)
    _check_metrics(circuit, file)
    _check_specs(circuit, file)
    _check_netlist(circuit)
    if circuit.reference:
        _check_reference(circuit, circuit.path / REFERENCE_FILE)


def _check_unique(file: Document, kind: str, names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        if name in names[:i]:
            raise file.error(f"{kind} '{name}' is there twice.", kind, i, "name")


def _check_parameters(circuit: Circuit, file: Document) -> None:
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


def _check_metrics(circuit: Circuit, file: Document) -> None:
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


def _check_specs(circuit: Circuit, file: Document) -> None:
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
        pieces = [line.split(";")[0]]
        following = number
        while following < len(lines) and lines[following].lstrip().startswith("+"):
            pieces.append(lines[following].lstrip()[1:].split(";")[0])
            following += 1
        card = " ".join(pieces)
        words = card.split()
        yield (
            words[1].lower() if len(words) > 1 else "",
            number,
            [name.lower() for name in re.findall(r"([A-Za-z_]\w*)\s*=", card)],
        )


def _check_reference(circuit: Circuit, path: Path) -> None:
    file = Document.read(path)
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
