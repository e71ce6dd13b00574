"""``acs-assistant circuits``: the library, and checks of a circuit folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acs_assistant.cli.output import json_option, print_json, say, table
from acs_assistant.errors import CircuitError

if TYPE_CHECKING:
    from acs_assistant.domain import Circuit
    from acs_assistant.engine.check import CircuitCheck

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def circuits() -> None:
    """Circuits of the package, of your data folder, or at any path."""


@circuits.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List every circuit that is found."""
    from acs_assistant.library import list_circuits

    found = list_circuits()
    if as_json:
        print_json(
            [
                {
                    "name": c.name,
                    "title": c.title,
                    "category": c.category,
                    "pdk": c.pdk,
                    "parameters": c.parameters,
                    "path": str(c.path),
                }
                for c in found
            ]
        )
        return
    rows = [[c.name, c.title, c.category, c.pdk, str(c.parameters)] for c in found]
    say(table(rows, ("name", "title", "category", "pdk", "parameters")))


@circuits.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show parameters, metrics, specs and reference of circuit NAME."""
    from acs_assistant.library import load_circuit

    circuit = load_circuit(name)
    if as_json:
        print_json(_document(circuit))
    else:
        _print(circuit)


@circuits.command()
@click.argument("path")
@json_option
def check(path: str, as_json: bool) -> None:
    """Validate the circuit folder PATH and simulate its reference."""
    from acs_assistant.cli.compose import make_simulator
    from acs_assistant.engine.check import check_circuit
    from acs_assistant.library import load_circuit

    circuit = load_circuit(path)
    simulator = make_simulator()
    try:
        result = check_circuit(circuit, simulator)
    finally:
        simulator.close()
    if as_json:
        print_json(_check_document(result))
    else:
        _print_check(result)
    if result.problems:
        raise CircuitError(
            f"{len(result.problems)} problem(s): {result.problems[0]}",
            file=Path(circuit.path) / "circuit.toml",
        )


@circuits.command("import")
@click.argument("netlist", type=_FILE)
@click.option("--testbench", "testbenches", type=_FILE, multiple=True, required=True,
              metavar="TB", help="A file that tests the circuit; may be repeated.")  # fmt: skip
@click.option("--include", type=_FILE, multiple=True, metavar="FILE",
              help="A file that others include from a place that is not there.")  # fmt: skip
@click.option("--name", default="", help="The subcircuit to size, when there are several.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR",
              help="The circuit folder to make.")  # fmt: skip
@json_option
def import_(
    netlist: Path,
    testbenches: tuple[Path, ...],
    include: tuple[Path, ...],
    name: str,
    out: Path,
    as_json: bool,
) -> None:
    """Make a circuit folder from SPICE files as you have them."""
    from acs_assistant.cli.compose import make_simulator
    from acs_assistant.engine.importing import import_circuit

    simulator = make_simulator()
    try:
        made = import_circuit(
            netlist, testbenches, out, name=name, include=include, simulator=simulator
        )
    finally:
        simulator.close()
    failed = made.evaluation.error if made.evaluation is not None else ""
    if as_json:
        print_json(
            {
                "name": made.circuit.name,
                "path": str(made.folder.absolute()),
                "parameters": [p.name for p in made.circuit.parameters],
                "metrics": [m.name for m in made.circuit.metrics],
                "specs": [str(s) for s in made.circuit.specs],
                "taken": list(made.taken),
                "changed": list(made.changed),
                "dropped": list(made.dropped),
                "error": failed,
            }
        )
        return
    for title, lines in (
        ("taken", made.taken),
        ("changed", made.changed),
        ("left out", made.dropped),
    ):
        for line in lines:
            say(f"{title:<8}  {line}")
    if failed:
        say(f"The reference does not simulate: {failed}")
    say(f"Written: {made.folder}. Look at circuit.toml, then: acs-assistant circuits check "
        f"{made.folder}")  # fmt: skip


def _document(circuit: Circuit) -> dict[str, Any]:
    from acs_assistant.engine.document import plain_numbers

    objective = circuit.objective
    return {
        "name": circuit.name,
        "title": circuit.title,
        "category": circuit.category,
        "pdk": circuit.pdk,
        "parameters": [
            {
                "name": p.name,
                "unit": p.unit,
                "min": p.min,
                "max": p.max,
                "grid": p.grid,
                "scale": p.scale,
                "role": p.role,
                "devices": list(p.devices),
            }
            for p in circuit.parameters
        ],
        "path": str(circuit.path),
        "description": circuit.description,
        "metrics": [
            {
                "name": m.name,
                "unit": m.unit,
                "testbench": m.testbench,
                "measure": m.measure,
                "arguments": dict(m.arguments),
                "better": m.better,
                "description": m.description,
            }
            for m in circuit.metrics
        ],
        "specs": [
            {
                "metric": s.metric,
                "relation": s.relation,
                "target": s.target,
                "tolerance": s.tolerance,
                "weight": s.weight,
                "range": list(s.range) if s.range else None,
            }
            for s in circuit.specs
        ],
        "objective": {"metric": objective.metric, "goal": objective.goal} if objective else None,
        "conditions": {
            "supply": circuit.conditions.supply,
            "temperature": circuit.conditions.temperature,
            "load": circuit.conditions.load,
            "load_unit": circuit.load_unit,
            "corner": circuit.conditions.corner,
            "ranges": {name: list(band) for name, band in circuit.condition_ranges.items()},
        },
        "testbenches": [bench.name for bench in circuit.testbenches],
        "reference": {
            "sizing": plain_numbers(circuit.reference),
            "metrics": plain_numbers(circuit.reference_metrics),
        },
    }


def _print(circuit: Circuit) -> None:
    from acs_assistant.cli.tasks import quantity

    say(f"{circuit.title} ({circuit.name}, {circuit.pdk})\n{circuit.description}\n{circuit.path}")
    if circuit.schematic:
        say("\n" + circuit.schematic.rstrip())
    rows = [
        [
            p.name,
            p.format(p.min) + p.unit,
            p.format(p.max) + p.unit,
            p.format(p.grid) + p.unit,
            p.format(circuit.reference[p.name]) + p.unit if circuit.reference else "",
            p.role,
            " ".join(p.devices),
        ]
        for p in circuit.parameters
    ]
    say("\n" + table(rows, ("parameter", "min", "max", "grid", "reference", "role", "devices")))
    specs = {
        s.metric: f"{s.relation} {quantity(s.target, circuit.metric(s.metric).unit)}"
        for s in circuit.specs
    }
    rows = [
        [
            m.name,
            m.unit,
            specs.get(m.name, ""),
            quantity(circuit.reference_metrics[m.name], m.unit)
            if m.name in circuit.reference_metrics
            else "",
            m.description,
        ]
        for m in circuit.metrics
    ]
    say("\n" + table(rows, ("metric", "unit", "spec", "reference", "meaning")))
    conditions = circuit.conditions
    say(
        f"\nconditions: supply {quantity(conditions.supply, 'V')}, {conditions.temperature:g} C, "
        f"load {quantity(conditions.load, circuit.load_unit)}, corner {conditions.corner}"
    )


def _check_document(result: CircuitCheck) -> dict[str, Any]:
    from acs_assistant.engine.document import plain_numbers, spec_documents

    evaluation = result.evaluation
    return {
        "circuit": result.circuit.name,
        "path": str(result.circuit.path),
        "ok": not result.problems,
        "problems": list(result.problems),
        "reference": None
        if evaluation is None
        else {
            "status": evaluation.status,
            "error": evaluation.error,
            "score": evaluation.score.value,
            "met": evaluation.score.met,
            "metrics": plain_numbers(evaluation.nominal.metrics),
            "specs": spec_documents(evaluation.score.specs),
        },
    }


def _print_check(result: CircuitCheck) -> None:
    from acs_assistant.cli.tasks import spec_rows

    if result.evaluation is not None and result.evaluation.status == "ok":
        rows = spec_rows(result.circuit, result.evaluation.score.specs)
        say(table(rows, ("metric", "spec", "reference", "margin", "")))
    for problem in result.problems:
        say(f"problem: {problem}")
    if not result.problems:
        say(f"Circuit {result.circuit.name} is sound.")
