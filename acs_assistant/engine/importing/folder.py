"""Writes the circuit folder: netlist, testbenches, ``circuit.toml``, reference, README."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from acs_assistant.atomic import write_text
from acs_assistant.domain import Circuit, Evaluation, Parameter, Task
from acs_assistant.engine.evaluate import evaluate
from acs_assistant.engine.importing.benches import Bench, choose_circuit, read_benches
from acs_assistant.engine.importing.files import Given, Report, read_source
from acs_assistant.engine.importing.hierarchy import check_nesting
from acs_assistant.engine.importing.metrics import (
    MetricGuess,
    built_in,
    guess_metric,
    intermediate,
    reads_known_nets,
    with_scale,
    with_sign,
)
from acs_assistant.engine.importing.netlist import Netlist, make_netlist
from acs_assistant.errors import CircuitError, InputError
from acs_assistant.library import load_circuit, write_reference
from acs_assistant.sim.port import Simulator
from acs_assistant.sim.spice import Line
from acs_assistant.units import format_quantity

_TRIALS = 5
"""Sizings that are tried for metrics which the reference does not reach."""
_RELAXED = 0.1
"""How far proposed targets lie below what the reference reaches."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A folder that was written.

    Attributes:
        evaluation: The reference, simulated; None without a simulator.
        taken: What was found, one line each.
        changed: What reads differently now.
        dropped: What was left out, and why.
    """

    folder: Path
    circuit: Circuit
    evaluation: Evaluation | None
    taken: tuple[str, ...]
    changed: tuple[str, ...]
    dropped: tuple[str, ...]


def import_circuit(
    netlist: Path,
    testbenches: Sequence[Path],
    out: Path,
    *,
    name: str = "",
    include: Sequence[Path] = (),
    simulator: Simulator | None = None,
) -> Imported:
    """Makes a circuit folder from SPICE files.

    Args:
        netlist: Holds the ``.subckt`` to be sized.
        testbenches: Files that instantiate it, with analyses and ``.meas`` lines.
        out: A folder that does not exist yet, or is empty.
        name: Which subcircuit, when the netlist has several; also what the circuit is called.
        include: Further files that testbenches include from places that are not there.
        simulator: Simulates the reference, to keep the metrics that can be measured and to propose
            specs; without one every ``.meas`` becomes a metric and there are no specs.

    Raises:
        InputError: A file cannot be read, or ``out`` holds something.
        CircuitError: The files make no circuit; names file and line.
        SimulatorError, PdkError: ngspice or the device models are missing.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("the output folder holds something already.", file=out)
    report = Report()
    given = Given.of(netlist, testbenches, include)
    source = read_source(netlist, report, given, title=False)
    extra = [read_source(path, report, given, title=False) for path in include]
    benches = [read_source(path, report, given, title=True) for path in testbenches]
    check_nesting([source, *extra, *benches])
    missing = next((m for s in (source, *extra, *benches) for m in s.missing), None)
    for one in (source, *extra, *benches):
        for line, _ in one.missing:
            report.drop(line, "the file is not there or far away, and nothing in it is needed")
    if missing is not None and simulator is None:
        raise _not_there(*missing)
    try:
        subcircuit = choose_circuit(source, benches, name, report)
        made = make_netlist(subcircuit, [source, *extra], benches, report)
        sheets = [sheet for bench in benches for sheet in read_benches(bench, made, report)]
    except CircuitError as error:
        raise (error if missing is None else _not_there(*missing, error.message)) from None
    result = _write(out, made, sheets, source.name, report, simulator)
    if missing is not None and result.evaluation is not None and result.evaluation.error:
        for file in out.iterdir():
            file.unlink()
        out.rmdir()
        raise _not_there(*missing, result.evaluation.error)
    return result


def _not_there(line: Line, name: str, consequence: str = "") -> CircuitError:
    without = f" Without it: {consequence}" if consequence else ""
    return line.error(
        f"includes '{name}', which is not there, or not among the files given.{without}",
        hint="Put the file there, or give it with --include FILE.",
    )


def _write(
    out: Path,
    made: Netlist,
    benches: Sequence[Bench],
    origin: str,
    report: Report,
    simulator: Simulator | None,
) -> Imported:
    metrics = _metrics(benches, report)
    if not metrics:
        raise InputError(
            "no testbench has a .meas line, and none shows an output that could be measured.",
            hint="Add .meas lines, or a plot of the output after .ac or .tran.",
        )
    write_text(out / "netlist.spice", made.text)
    for bench in benches:
        write_text(out / f"tb_{bench.name}.spice", bench.text)
    write_text(out / "circuit.toml", _toml(made, benches, metrics, {}, origin))
    sizing = {name: found.value for name, found in made.parameters.items()}
    write_reference(out, sizing, {})
    circuit = load_circuit(str(out))
    evaluation = None
    if simulator is not None:
        task = Task(circuit, (), circuit.conditions, (circuit.conditions.corner,))
        evaluation = evaluate(task, circuit.reference, simulator)
        measured = {
            key: value for key, value in evaluation.nominal.metrics.items() if math.isfinite(value)
        }
        if measured:
            reached = _reached_elsewhere(circuit, metrics, measured, simulator, report)
            metrics = _kept(metrics, measured, reached, benches, report)
            measured = {m.name: measured[m.name] for m in metrics if m.name in measured}
            write_text(out / "circuit.toml", _toml(made, benches, metrics, measured, origin))
            write_reference(out, sizing, measured)
            circuit = load_circuit(str(out))
    report.taken.append(f"{len(circuit.parameters)} parameters, {len(metrics)} metrics")
    write_text(out / "README.md", _readme(circuit, report))
    return Imported(
        out,
        circuit,
        evaluation,
        tuple(report.taken),
        tuple(dict.fromkeys(report.changed)),
        tuple(dict.fromkeys(report.dropped)),
    )


def _metrics(benches: Sequence[Bench], report: Report) -> list[MetricGuess]:
    found: dict[str, MetricGuess] = {}
    for bench in benches:
        for line in bench.measures:
            guess = guess_metric(line, bench.name, bench.measures)
            if guess.name in found:
                if not (guess.optional and found[guess.name].optional):
                    report.drop(line, "a metric of that name was found before")
            elif not re.fullmatch(r"[a-z][a-z0-9_]*", guess.name):
                report.drop(line, "a metric needs a name of letters and digits")
            elif intermediate(guess, bench.measures):
                if not guess.optional:
                    report.drop(line, "no metric of its own: other measurements read it")
            else:
                found[guess.name] = guess
    for bench in benches:
        for guess in built_in(bench):
            if guess.name not in found:
                found[guess.name] = guess
                asked = " ".join(f"{k}={v}" for k, v in guess.arguments.items())
                report.taken.append(f"metric {guess.name}: the built-in {guess.measure} of {asked}")
    if found and benches and "area" not in found:
        found["area"] = MetricGuess(
            "area", "m2", benches[0].name, "lower", "area", description="gates and passives",
            spec=False,
        )  # fmt: skip
    return list(found.values()) if len(found) > 1 else []


def _reached_elsewhere(
    circuit: Circuit,
    metrics: Sequence[MetricGuess],
    measured: Mapping[str, float],
    simulator: Simulator,
    report: Report,
) -> set[str]:
    """Metrics that the reference does not reach (no unity-gain crossing, say) but others do."""
    missing = {m.name for m in metrics if not m.optional or m.measure != "meas"} - set(measured)
    reached: set[str] = set()
    generator = random.Random(0)
    task = Task(circuit, (), circuit.conditions, (circuit.conditions.corner,))
    for _ in range(_TRIALS):
        if not missing - reached:
            break
        sizing = {
            p.name: _varied(p, circuit.reference[p.name], generator) for p in circuit.parameters
        }
        metrics_there = evaluate(task, sizing, simulator).nominal.metrics
        reached |= {name for name in missing if math.isfinite(metrics_there.get(name, math.nan))}
    if reached:
        report.taken.append(
            f"{', '.join(sorted(reached))}: not measurable at the reference, but at other sizings"
        )
    return reached


def _varied(parameter: Parameter, value: float, generator: random.Random) -> float:
    chosen = value * math.exp(generator.uniform(-1.2, 1.2)) if value > 0 else value
    return parameter.snap(min(max(chosen, parameter.min), parameter.max))


def _kept(
    metrics: Sequence[MetricGuess],
    measured: Mapping[str, float],
    reached: set[str],
    benches: Sequence[Bench],
    report: Report,
) -> list[MetricGuess]:
    lines = [line for bench in benches for line in bench.measures]
    sound = {line.text.split()[2] for bench in benches for line in reads_known_nets(bench)}
    kept = []
    for metric in metrics:
        if metric.name in measured:
            metric = with_scale(with_sign(metric, measured[metric.name]), lines, measured)
            kept.append(metric)
        elif metric.name in reached or metric.measure != "meas":
            kept.append(metric)
        elif metric.better != "neither" and not metric.optional and metric.name in sound:
            report.taken.append(f"metric {metric.name}: not measurable at any sizing tried so far")
            kept.append(metric)
        elif not metric.optional:
            report.dropped.append(f"metric {metric.name} (it could not be measured)")
    return kept


def _toml(
    made: Netlist,
    benches: Sequence[Bench],
    metrics: Sequence[MetricGuess],
    measured: Mapping[str, float],
    origin: str,
) -> str:
    supply = next((b.supply for b in benches if b.supply is not None), 1.8)
    load = next((b.load for b in benches if b.load is not None), 0.0)
    temperature = next((b.temperature for b in benches if b.temperature), "27")
    corner = next((b.corner for b in benches if b.corner), "tt")
    lines = [
        "[circuit]",
        f'name = "{made.name}"',
        f"title = {json.dumps(made.name.replace('_', ' '))}",
        f'pdk = "{made.pdk}"',
        'category = "imported"',
        f"description = {json.dumps(f'Imported from {origin}.')}",
        "",
        "[conditions]",
        f'supply = "{format_quantity(supply)}"',
        f'temperature = "{temperature}"',
        f'load = "{format_quantity(load)}"',
        f'corner = "{corner}"',
    ]
    for name, found in made.parameters.items():
        p = found.parameter
        lines += [
            "",
            "[[parameter]]",
            f'name = "{name}"',
            f'unit = "{p.unit}"',
            f'min = "{format_quantity(p.min, 9)}"',
            f'max = "{format_quantity(p.max, 9)}"',
            f'grid = "{format_quantity(p.grid, 9)}"',
            f'scale = "{p.scale}"',
            f"role = {json.dumps(p.role)}",
            f"devices = {json.dumps(list(p.devices))}",
        ]
    for metric in metrics:
        lines += [
            "",
            "[[metric]]",
            f'name = "{metric.name}"',
            f'unit = "{metric.unit}"',
            f'testbench = "{metric.testbench}"',
            f'measure = "{metric.measure}"',
            *([f"arguments = {_inline(metric.arguments)}"] if metric.arguments else []),
            f'better = "{metric.better}"',
            f"description = {json.dumps(metric.description)}",
        ]
    for metric in metrics:
        value = measured.get(metric.name)
        if value is None or metric.better == "neither" or not metric.spec:
            continue
        if value > 0 or metric.unit == "dB":
            target = _target(value, metric.better)
            relation = ">=" if metric.better == "higher" else "<="
            lines += [
                "",
                "[[spec]]",
                f'metric = "{metric.name}"',
                f'relation = "{relation}"',
                f'target = "{format_quantity(target, 3)}"',
                f"range = {_range(value, metric.better)}",
            ]
    return "\n".join(lines) + "\n"


def _inline(arguments: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f"{key} = {json.dumps(text)}" for key, text in arguments.items()) + " }"


def _target(value: float, better: str) -> float:
    """A target that the reference meets, rounded so that it still does."""
    step = abs(value) * _RELAXED
    target = value - step if better == "higher" else value + step
    return float(f"{target:.2e}")


def _range(value: float, better: str) -> str:
    """From where tasks draw their targets: from easier than the reference to a little harder."""
    easy, hard = (-0.4, 0.1) if better == "higher" else (0.6, -0.1)
    low, high = sorted((value + easy * abs(value), value + hard * abs(value)))
    return json.dumps([format_quantity(low, 3), format_quantity(high, 3)])


def _readme(circuit: Circuit, report: Report) -> str:
    parts = [f"# {circuit.name}\n", circuit.description]
    for title, lines in (
        ("Taken", report.taken),
        ("Changed", report.changed),
        ("Left out", report.dropped),
    ):
        if lines:
            parts.append(f"\n## {title}\n")
            parts += [f"- {line}" for line in dict.fromkeys(lines)]
    parts.append("\nBounds, grids and targets are proposals: edit circuit.toml.\n")
    return "\n".join(parts)
