"""The report: one HTML file that needs nothing else, for a screen or for paper.

The template escapes every text that it is given; only the SVG drawn here passes as it is. A content
security policy in the page forbids scripts and addresses, should a browser ever find one.
"""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from acs_assistant import atomic
from acs_assistant.domain import Circuit, OperatingPoint, SpecResult, Task, Turn
from acs_assistant.errors import InputError
from acs_assistant.report import figures
from acs_assistant.report.record import SessionRecord, evaluation_of, sizing_of
from acs_assistant.report.schematic import annotated, device_lines
from acs_assistant.units import format_quantity

_DEVICE_HEADS = ("Id (A)", "gm (S)", "gm/Id (1/V)", "gds (S)", "Vgs (V)", "Vds (V)", "Vth (V)",
                 "Vdsat (V)")  # fmt: skip
_LARGEST_DRAWING = 2_000_000
_UNITS = {"m2": "µm²", "deg": "°", "Ohm": "Ω", "V/rtHz": "V/√Hz"}


def report_html(record: SessionRecord) -> str:
    """The whole page as text."""
    best = record.best_turn
    drawing = _drawing(record.task.circuit)
    template = Environment(
        loader=PackageLoader("acs_assistant.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.j2")
    return template.render(
        record=record,
        circuit=record.task.circuit,
        corners=len(record.task.corners),
        best=best,
        met=best is not None and evaluation_of(best).score.met,
        verdict=_verdict(best),
        conditions=_conditions(record.task),
        specs=_spec_rows(record, best),
        others=_other_rows(record, best),
        sizes=_size_rows(record, best),
        device_heads=_DEVICE_HEADS,
        devices=_device_rows(best),
        figures=_figures(record),
        drawing=drawing,
        schematic=_schematic(record.task.circuit, best, drawn=bool(drawing)),
        turns=_turn_rows(record),
        side_turns=len(record.turns) - len(record.path),
        provenance=_provenance(record),
    )


def write_report(record: SessionRecord, path: Path) -> None:
    """Writes ``report_html`` atomically."""
    atomic.write_text(path, report_html(record))


def _verdict(turn: Turn | None) -> str:
    if turn is None:
        return "nothing simulated"
    evaluation = evaluation_of(turn)
    if evaluation.status == "failed":
        return "simulation failed"
    results = evaluation.score.specs
    count = sum(result.met for result in results)
    if count == len(results):
        return "the spec met" if count == 1 else f"all {count} specs met"
    return f"{count} of {len(results)} specs met"


def _conditions(task: Task) -> list[tuple[str, str]]:
    conditions, corners = task.conditions, task.corners
    return [
        ("Supply", f"{format_quantity(conditions.supply)} V"),
        ("Temperature", f"{conditions.temperature:g} °C"),
        ("Load", _quantity(conditions.load, task.circuit.load_unit)),
        ("Corner" if len(corners) == 1 else "Corners", ", ".join(corners)),
    ]


def _quantity(value: float | None, unit: str, *, sign: bool = False) -> str:
    if value is None or not math.isfinite(value):
        return "not measured"
    if unit == "m2":
        value *= 1e12  # "936p m2" would read as square picometres
    space = "" if unit == "deg" else " "
    text = f"{format_quantity(value)}{space}{_UNITS.get(unit, unit)}".rstrip()
    return f"{'+' if sign and value > 0 else ''}{text}".replace("-", "−", 1)


def _spec_rows(record: SessionRecord, best: Turn | None) -> list[dict[str, Any]]:
    if best is None:
        return []
    return [_spec_row(record, result) for result in evaluation_of(best).score.specs]


def _spec_row(record: SessionRecord, result: SpecResult) -> dict[str, Any]:
    metric = record.task.circuit.metric(result.spec.metric)
    relation = {">=": "≥", "<=": "≤", "==": "="}[result.spec.relation]
    target = f"{relation} {_quantity(result.spec.target, metric.unit)}"
    if result.spec.relation == "==":
        target += f" ± {_quantity(result.spec.tolerance, metric.unit)}"
    share = figures.relative_margin(result)
    return {
        "metric": metric.name,
        "description": metric.description,
        "target": target,
        "value": _quantity(result.value, metric.unit),
        "margin": "" if result.margin is None else _quantity(result.margin, metric.unit, sign=True),
        "percent": "" if math.isnan(share) else f"{100 * share:+.1f}".replace("-", "−"),
        "corner": result.corner,
        "met": result.met,
    }


def _other_rows(record: SessionRecord, best: Turn | None) -> list[dict[str, Any]]:
    """Metrics that were measured but that no spec asks for."""
    if best is None:
        return []
    asked = {result.spec.metric for result in evaluation_of(best).score.specs}
    measured = evaluation_of(best).nominal.metrics
    return [
        {
            "metric": metric.name,
            "description": metric.description,
            "value": _quantity(measured[metric.name], metric.unit),
        }
        for metric in record.task.circuit.metrics
        if metric.name not in asked and metric.name in measured
    ]


def _size_rows(record: SessionRecord, best: Turn | None) -> list[dict[str, str]]:
    if best is None:
        return []
    sizing = sizing_of(best)
    return [
        {
            "name": p.name,
            "role": p.role,
            "devices": ", ".join(p.devices),
            "value": p.format(sizing[p.name]),
            "unit": p.unit,
            "min": p.format(p.min),
            "max": p.format(p.max),
        }
        for p in record.task.circuit.parameters
    ]


def _device_rows(best: Turn | None) -> list[dict[str, Any]]:
    if best is None:
        return []
    return [
        {
            "name": d.name,
            "kind": d.kind,
            "region": d.region,
            "bad": d.region in ("linear", "off"),
            "numbers": _device_numbers(d),
        }
        for d in evaluation_of(best).nominal.devices
    ]


def _device_numbers(device: OperatingPoint) -> list[str]:
    return [
        format_quantity(device.id),
        format_quantity(device.gm),
        f"{device.gm_over_id:.1f}",
        format_quantity(device.gds),
        *(f"{volts:.3f}" for volts in (device.vgs, device.vds, device.vth, device.vdsat)),
    ]


def _figures(record: SessionRecord) -> list[dict[str, Any]]:
    """Each figure that the record has the data for."""
    drawn = []
    for name, draw in figures.FIGURES.items():
        try:
            figure = draw(record)
        except InputError:
            continue  # the session has nothing to draw there; the page goes without
        title = f"{name} of session {record.id}"
        wide = name == "margins" and max(len(record.simulated), len(record.task.specs)) > 6
        drawn.append({"svg": Markup(figures.inline_svg(figure, name, title)), "full": wide})
    return drawn


def _schematic(circuit: Circuit, best: Turn | None, *, drawn: bool) -> str:
    """The text drawing with a line for each device; the lines alone below the circuit's own SVG."""
    if drawn:
        return "\n".join(device_lines(circuit, best)) if best else ""
    return annotated(circuit, best)


def _drawing(circuit: Circuit) -> str:
    """The circuit's own SVG as a data address: an image runs nothing and fetches nothing."""
    path = circuit.path / "schematic.svg"
    try:
        data = path.read_bytes() if path.stat().st_size <= _LARGEST_DRAWING else b""
    except OSError:
        return ""  # circuits without a drawing, and sessions whose circuit folder has gone
    return f"data:image/svg+xml;base64,{base64.b64encode(data).decode()}" if data else ""


def _turn_rows(record: SessionRecord) -> list[dict[str, Any]]:
    rows = []
    previous: dict[str, float] = {}
    for turn in record.path:
        rows.append(_turn_row(record, turn, previous))
        if turn.evaluation is not None:
            previous = sizing_of(turn)
    return rows


def _turn_row(record: SessionRecord, turn: Turn, previous: dict[str, float]) -> dict[str, Any]:
    evaluation, decision, sizing = turn.evaluation, turn.decision, sizing_of(turn)
    circuit = record.task.circuit
    by = "" if decision is None or decision.by == "auto" else " by the engineer"
    return {
        "index": turn.index,
        "decision": f"{decision.kind}{by}" if decision else "not decided",
        "score": f"{evaluation.score.value:.3f}" if evaluation else "",
        "met": evaluation is not None and evaluation.score.met,
        "verdict": _verdict(turn) if evaluation else "",
        "reasoning": turn.proposal.reasoning.strip(),
        "reason": decision.reason if decision else "",
        "reason_by": "The engineer" if decision and decision.by == "engineer" else "Reason",
        "error": turn.proposal.error or (evaluation.error if evaluation else ""),
        "first": not previous,
        "changes": [
            {
                "name": p.name,
                "old": p.format(previous[p.name]) if p.name in previous else "",
                "new": p.format(sizing[p.name]),
            }
            for p in circuit.parameters
            if p.name in sizing and sizing[p.name] != previous.get(p.name)
        ],
        "metrics": [
            {"name": m.name, "value": _quantity(evaluation.nominal.metrics[m.name], m.unit)}
            for m in circuit.metrics
            if evaluation and m.name in evaluation.nominal.metrics
        ],
    }


def _provenance(record: SessionRecord) -> list[tuple[str, str]]:
    made = record.provenance
    rows = [
        ("Session", record.id),
        ("Created", record.created),
        ("Circuit", record.task.circuit.name),
        ("Proposer", made.proposer),
        ("Model", made.model),
        ("Model SHA-256", made.model_sha256),
        ("Prompt version", made.prompt_version),
        ("Simulator", made.ngspice_version),
        ("Device models", made.pdk or record.task.circuit.pdk),
        ("Seed", "" if made.seed is None else str(made.seed)),
        ("ACS Assistant", made.app_version),
    ]
    return [(name, value) for name, value in rows if value]
