"""``acs-assistant simulate``: one sizing, every metric."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from acs_assistant.cli.output import json_option, print_json, say, table
from acs_assistant.errors import InputError

if TYPE_CHECKING:
    from acs_assistant.domain import Circuit, Measurement, Score, Task


_OUTSIDE = ("linear", "off")


@click.command()
@click.argument("circuit")
@click.option("--set", "sizes", multiple=True, metavar="PARAMETER=VALUE",
              help="A size such as w_in=20u; repeatable. The rest is the reference.")  # fmt: skip
@click.option("--spec", "specs", multiple=True, metavar="SPEC",
              help="Judge by these specs instead of the circuit's own.")  # fmt: skip
@click.option("--corner", metavar="CORNER", help="Process corner: tt, ff, ss, fs or sf.")
@click.option("--temp", metavar="C", help="Temperature in degrees Celsius.")
@click.option("--supply", metavar="V", help="Supply voltage.")
@click.option("--load", metavar="VALUE", help="Load.")
@click.option("--monte-carlo", type=click.IntRange(min=1), metavar="N",
              help="Draw process and mismatch N times and report the yield.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True,
              help="Seed of the Monte-Carlo draws.")  # fmt: skip
@click.option("--pvt", is_flag=True,
              help="All corners at supply -10 %, 0, +10 % and -40, 27, 125 C.")  # fmt: skip
@click.option("--sensitivities", is_flag=True,
              help="How much each metric moves with each parameter.")  # fmt: skip
@json_option
def simulate(
    circuit: str,
    sizes: tuple[str, ...],
    specs: tuple[str, ...],
    corner: str | None,
    temp: str | None,
    supply: str | None,
    load: str | None,
    monte_carlo: int | None,
    seed: int,
    pvt: bool,
    sensitivities: bool,
    as_json: bool,
) -> None:
    """Simulate CIRCUIT (a name or a folder) in all its testbenches."""
    from acs_assistant.cli import variation
    from acs_assistant.cli.compose import make_simulator
    from acs_assistant.cli.tasks import make_task
    from acs_assistant.library import load_circuit
    from acs_assistant.scoring import score
    from acs_assistant.sim.port import SimulationRequest

    loaded = load_circuit(circuit)
    task = make_task(loaded, specs, [corner] if corner else [], supply, temp, load)
    task = replace(task, conditions=replace(task.conditions, corner=task.corners[0]))
    request = SimulationRequest(loaded, _sizing(loaded, sizes), task.conditions)
    simulator = make_simulator()
    started = time.monotonic()
    try:
        measurement = simulator.simulate(request)
        judged = score(task.specs, [measurement])
        more: dict[str, Any] = {}
        if pvt:
            more["pvt"] = variation.pvt(simulator, task, request.sizing)
        if monte_carlo:
            more["monte_carlo"] = variation.monte_carlo(
                simulator, task, request.sizing, monte_carlo, seed
            )
        if sensitivities:
            more["sensitivities"] = variation.sensitivities(simulator, task, request.sizing)
    finally:
        simulator.close()
    seconds = time.monotonic() - started
    document = _document(task, request.sizing, measurement, judged, seconds) | more
    if as_json:
        print_json(document)
        return
    _print(task, measurement, judged, document)
    for name, print_part in variation.PARTS.items():
        if name in more:
            print_part(loaded, more[name])


def _sizing(circuit: Circuit, texts: Sequence[str]) -> dict[str, float]:
    """The reference with what was set; every parameter when there is no reference."""
    from acs_assistant.engine.specs import parse_size

    given: dict[str, float] = {}
    for text in texts:
        name, value = parse_size(text, circuit)
        if name in given:
            raise InputError(f"'{name}' is set twice.")
        given[name] = value
    sizing = {**circuit.reference, **given}
    missing = [p.name for p in circuit.parameters if p.name not in sizing]
    if missing:
        raise InputError(
            f"circuit {circuit.name} has no reference, so every parameter must be set; missing: "
            f"{', '.join(missing)}.",
            hint=f"Add: --set {missing[0]}=VALUE",
        )
    return circuit.snap(sizing)


def _document(
    task: Task, sizing: Mapping[str, float], measurement: Measurement, judged: Score, seconds: float
) -> dict[str, Any]:
    from acs_assistant.engine.document import plain_number, plain_numbers, spec_documents

    conditions = measurement.conditions
    return {
        "circuit": task.circuit.name,
        "corner": conditions.corner,
        "temperature": conditions.temperature,
        "supply": conditions.supply,
        "load": conditions.load,
        "status": measurement.status,
        "error": measurement.error,
        "cached": measurement.cached,
        "sizing": plain_numbers(sizing),
        "metrics": plain_numbers(measurement.metrics),
        "score": judged.value,
        "met": judged.met,
        "specs": spec_documents(judged.specs),
        "devices": [
            {
                "name": device.name,
                "region": device.region,
                "id": plain_number(device.id),
                "gm": plain_number(device.gm),
                "gds": plain_number(device.gds),
                "vds": plain_number(device.vds),
                "vdsat": plain_number(device.vdsat),
                "gm_over_id": plain_number(device.gm_over_id),
            }
            for device in measurement.devices
        ],
        "seconds": round(seconds, 6),
    }


def _print(task: Task, measurement: Measurement, judged: Score, document: dict[str, Any]) -> None:
    from acs_assistant.cli.tasks import quantity, sizing_rows, spec_rows
    from acs_assistant.units import format_quantity

    conditions, circuit = measurement.conditions, task.circuit
    say(
        f"{circuit.title}: {conditions.corner}, {conditions.temperature:g} C, "
        f"{format_quantity(conditions.supply)}V, load "
        f"{quantity(conditions.load, circuit.load_unit)}"
        f"{', simulated before (cached)' if measurement.cached else ''}\n"
    )
    say(table(sizing_rows(circuit, document["sizing"])))
    if measurement.status == "failed":
        say(f"\nThe simulation failed: {measurement.error}")
        return
    say("\n" + table(spec_rows(circuit, judged.specs), ("metric", "spec", "value", "margin", "")))
    judged_metrics = {result.spec.metric for result in judged.specs}
    others = [
        [metric.name, quantity(measurement.metrics[metric.name], metric.unit)]
        for metric in circuit.metrics
        if metric.name in measurement.metrics and metric.name not in judged_metrics
    ]
    if others:
        say("\n" + table(others))
    if measurement.devices:
        rows = [
            [
                d.name,
                d.region,
                *(format_quantity(value) for value in (d.id, d.gm, d.gds, d.vds, d.vdsat)),
                format_quantity(d.vds - d.vdsat, 3),
                f"{d.gm_over_id:.1f}",
            ]
            for d in measurement.devices
        ]
        titles = ("device", "region", "Id", "gm", "gds", "Vds", "Vdsat", "margin", "gm/Id")
        say("\n" + table(rows, titles))
        outside = [f"{d.name} ({d.region})" for d in measurement.devices if d.region in _OUTSIDE]
        say(f"Out of saturation: {', '.join(outside) or 'none'}.")
