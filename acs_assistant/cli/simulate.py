"""``acs-assistant simulate``: one sizing, every metric."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from acs_assistant.cli.output import json_option, print_json, progress, say, table
from acs_assistant.errors import InputError

if TYPE_CHECKING:
    from acs_assistant.domain import Circuit, Measurement, Score, Task
    from acs_assistant.sim.port import Simulator


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
    as_json: bool,
) -> None:
    """Simulate CIRCUIT (a name or a folder) in all its testbenches."""
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
        samples = _draw(simulator, request, monte_carlo, seed) if monte_carlo else []
    finally:
        simulator.close()
    judged = score(task.specs, [measurement])
    document = _document(task, request.sizing, measurement, judged, time.monotonic() - started)
    if monte_carlo:
        document["monte_carlo"] = _spread(task, samples, seed)
    if as_json:
        print_json(document)
    else:
        _print(task, measurement, judged, document)


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


def _draw(simulator: Simulator, request: Any, count: int, seed: int) -> list[Measurement]:
    requests = [
        replace(request, mismatch_seed=(seed * 1_000_003 + draw) & 0x7FFFFFFF)
        for draw in range(count)
    ]
    samples: dict[int, Measurement] = {}
    for index, measurement in simulator.map(requests):
        samples[index] = measurement
        if len(samples) % max(count // 10, 1) == 0:
            progress(f"  {len(samples)} of {count} draws")
    return [samples[index] for index in range(count)]


def _spread(task: Task, samples: Sequence[Measurement], seed: int) -> dict[str, Any]:
    """Yield with its 95 % interval (Wilson), and each metric's spread over the draws that ran."""
    from acs_assistant.scoring import score

    passed = sum(score(task.specs, [sample]).met for sample in samples)
    metrics: dict[str, dict[str, float]] = {}
    for metric in task.circuit.metrics:
        values = [
            value
            for sample in samples
            if math.isfinite(value := sample.metrics.get(metric.name, math.nan))
        ]
        if values:
            metrics[metric.name] = {
                "mean": statistics.fmean(values),
                "std": statistics.stdev(values) if len(values) > 1 else 0.0,
                "min": min(values),
                "max": max(values),
            }
    return {
        "samples": len(samples),
        "failed": sum(sample.status == "failed" for sample in samples),
        "seed": seed,
        "yield": passed / len(samples),
        "yield_interval": list(_wilson(passed, len(samples))),
        "metrics": metrics,
    }


def _wilson(passed: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson, J. Am. Stat. Assoc. 22 (1927) 209: holds also for yields near 0 and 1."""
    share = passed / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


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
        f"{format_quantity(conditions.supply)}V, load {format_quantity(conditions.load)}\n"
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
                f"{d.gm_over_id:.1f}",
            ]
            for d in measurement.devices
        ]
        say("\n" + table(rows, ("device", "region", "Id", "gm", "gds", "Vds", "Vdsat", "gm/Id")))
    if "monte_carlo" in document:
        _print_spread(circuit, document["monte_carlo"])


def _print_spread(circuit: Circuit, spread: dict[str, Any]) -> None:
    from acs_assistant.cli.tasks import quantity

    low, high = spread["yield_interval"]
    say(
        f"\nYield {spread['yield']:.1%} of {spread['samples']} draws, "
        f"95 % interval {low:.1%} to {high:.1%}; {spread['failed']} failed."
    )
    rows = [
        [
            name,
            *(
                quantity(figures[k], circuit.metric(name).unit)
                for k in ("mean", "std", "min", "max")
            ),
        ]
        for name, figures in spread["metrics"].items()
    ]
    say(table(rows, ("metric", "mean", "std", "min", "max")))
