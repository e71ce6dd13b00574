"""Corners, Monte-Carlo and sensitivities of one sizing: the documents, and their tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from acs_assistant.cli.output import draw_bar, say, table
from acs_assistant.cli.tasks import quantity
from acs_assistant.domain import Circuit, Sizing, Task
from acs_assistant.engine.document import plain_number, plain_numbers
from acs_assistant.sim import sensitivity, variation
from acs_assistant.sim.port import Simulator
from acs_assistant.units import format_quantity


def pvt(simulator: Simulator, task: Task, sizing: Sizing) -> dict[str, Any]:
    """Every corner at every supply and temperature, and the worst case of each spec."""
    points = variation.pvt_conditions(task.conditions)
    found = variation.sweep_conditions(
        simulator, task.circuit, sizing, points, progress=_report("conditions")
    )
    return {
        "worst": [
            {
                "metric": worst.metric,
                "value": plain_number(worst.value),
                "met": worst.met,
                **asdict(worst.conditions),
            }
            for worst in variation.worst_cases(task.specs, found)
        ],
        "points": [
            {
                **asdict(point),
                "status": measurement.status,
                "error": measurement.error,
                "metrics": plain_numbers(measurement.metrics),
            }
            for point, measurement in zip(points, found, strict=True)
        ],
    }


def monte_carlo(
    simulator: Simulator, task: Task, sizing: Sizing, count: int, seed: int
) -> dict[str, Any]:
    """Yield with its 95 % interval, and the spread of each metric over the draws that ran."""
    samples = variation.monte_carlo(
        simulator, task.circuit, sizing, task.conditions, count, seed, progress=_report("draws")
    )
    share = variation.yield_of(task.specs, samples)
    return {
        "samples": count,
        "failed": sum(sample.status == "failed" for sample in samples),
        "seed": seed,
        "yield": share.value,
        "yield_interval": [share.low, share.high],
        "metrics": {
            name: {
                "mean": spread.mean,
                "std": spread.deviation,
                "min": spread.low,
                "max": spread.high,
                "histogram": {"edges": list(spread.edges), "counts": list(spread.counts)},
            }
            for name, spread in variation.spreads(samples).items()
        },
    }


def sensitivities(simulator: Simulator, task: Task, sizing: Sizing) -> dict[str, Any]:
    """d metric / d ln parameter; relative where the metric is neither dB nor degrees."""
    found = sensitivity.sensitivities(
        simulator, task.circuit, sizing, task.conditions, progress=_report("steps")
    )
    return {
        "slopes": {name: plain_numbers(slopes) for name, slopes in found.slopes.items()},
        "relative": {name: plain_numbers(slopes) for name, slopes in found.relative.items()},
    }


def _report(what: str) -> Callable[[int, int], None]:
    """A bar on stderr for a person who waits, drawn at most fifty times."""

    def report(done: int, total: int) -> None:
        if done == total or done % max(total // 50, 1) == 0:
            draw_bar(done, total, what)

    return report


def _print_pvt(circuit: Circuit, document: dict[str, Any]) -> None:
    say(f"\nWorst of {len(document['points'])} conditions:")
    rows = [
        [
            worst["metric"],
            "missing"
            if worst["value"] is None
            else quantity(worst["value"], circuit.metric(worst["metric"]).unit),
            "met" if worst["met"] else "FAIL",
            worst["corner"],
            f"{format_quantity(worst['supply'])}V",
            f"{worst['temperature']:g} C",
        ]
        for worst in document["worst"]
    ]
    say(table(rows, ("metric", "worst", "", "corner", "supply", "temperature")))
    failed = sum(point["status"] == "failed" for point in document["points"])
    if failed:
        say(f"{failed} simulations failed.")


def _print_spread(circuit: Circuit, document: dict[str, Any]) -> None:
    low, high = document["yield_interval"]
    say(
        f"\nYield {document['yield']:.1%} of {document['samples']} draws, "
        f"95 % interval {low:.1%} to {high:.1%}; {document['failed']} failed."
    )
    rows = [
        [
            name,
            *(quantity(found[k], circuit.metric(name).unit) for k in ("mean", "std", "min", "max")),
            _sparkline(found["histogram"]["counts"]),
        ]
        for name, found in document["metrics"].items()
    ]
    say(table(rows, ("metric", "mean", "std", "min", "max", "histogram")))


def _sparkline(counts: list[int]) -> str:
    bars = " ▁▂▃▄▅▆▇█"
    top = max(counts) or 1
    return "".join(bars[round(count / top * (len(bars) - 1))] for count in counts)


def _print_sensitivities(circuit: Circuit, document: dict[str, Any]) -> None:
    """What a parameter that grows by 10 % does to each metric: a table that is a heat map too."""
    say(
        "\nChange of each metric when a parameter grows by 10 %; the darker, the nearer to the "
        "strongest of its column:"
    )
    names = [name for name, slopes in document["slopes"].items() if slopes]
    strongest = {name: max(map(abs, document["slopes"][name].values())) for name in names}
    rows = []
    for parameter in circuit.parameters:
        cells = [parameter.name]
        for name in names:
            relative = document["relative"].get(name, {}).get(parameter.name)
            slope = document["slopes"][name].get(parameter.name)
            if slope is None:
                cells.append("")
                continue
            part = abs(slope) / strongest[name] if strongest[name] else 0.0
            shade = _SHADES[round(part * (len(_SHADES) - 1))]
            if relative is not None:
                cells.append(f"{shade} {10 * relative:+.2g}%")
            else:
                cells.append(f"{shade} {slope * math.log(1.1):+.2g}{circuit.metric(name).unit}")
        rows.append(cells)
    say(table(rows, ("parameter", *names)))


_SHADES = " ░▒▓█"
PARTS: dict[str, Callable[[Circuit, dict[str, Any]], None]] = {
    "pvt": _print_pvt,
    "monte_carlo": _print_spread,
    "sensitivities": _print_sensitivities,
}
