"""Task and turns in, chat messages out (OpenAI shape; docs/design.md, The conversation)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from acs_assistant.domain import (
    Circuit,
    Evaluation,
    Parameter,
    Sizing,
    Spec,
    SpecResult,
    Task,
    Turn,
)
from acs_assistant.prompting.numbers import Rounding, format_value
from acs_assistant.units import parse_quantity

PROMPT_VERSION = "2"
TOOL_NAME = "simulate"
PARAMETERS, SPECS = "Parameters:", "Specs:"

SYSTEM = (
    "You are an analog IC designer. Each turn, reason about the circuit and what was measured, "
    "state the effect that you expect, then call simulate once with a complete sizing."
)

_HARDER: dict[str, Rounding] = {">=": "up", "<=": "down", "==": "nearest"}

Message = dict[str, Any]


def messages(task: Task, turns: Sequence[Turn] = ()) -> list[Message]:
    """The conversation so far: system, user, then each decided turn as assistant and tool.

    A change of specs between turns is said where it happened. Turns whose call was invalid and
    turns still undecided are left out: there is nothing true to say of them.
    """
    specs = turns[0].specs if turns and turns[0].specs else task.specs
    chat: list[Message] = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": user_text(task, specs)},
    ]
    for turn in turns:
        if turn.decision is None or not turn.proposal.sizing:
            continue
        if turn.specs and turn.specs != specs:
            specs = turn.specs
            chat.append(_new_specs(task.circuit, specs))
        chat += _turn_messages(task, turn, specs)
    if task.specs != specs:
        chat.append(_new_specs(task.circuit, task.specs))
    return chat


def tools(circuit: Circuit) -> list[dict[str, Any]]:
    """The one tool, as a JSON schema for models that read it."""
    return tool_schema({p.name: f"{p.role}, {_bounds(p)}" for p in circuit.parameters})


def tool_schema(descriptions: Mapping[str, str]) -> list[dict[str, Any]]:
    """The tool for parameters with these descriptions."""
    properties = {name: {"type": "string", "description": d} for name, d in descriptions.items()}
    return [
        {
            "type": "function",
            "function": {
                "name": TOOL_NAME,
                "description": "Simulates one complete sizing and returns every metric.",
                "parameters": {
                    "type": "object",
                    "properties": properties,
                    "required": list(properties),
                    "additionalProperties": False,
                },
            },
        }
    ]


def user_text(task: Task, specs: Sequence[Spec]) -> str:
    circuit, conditions = task.circuit, task.conditions
    lines = [
        f"Circuit {circuit.name}: {circuit.title} ({circuit.pdk}).",
        f"Conditions: supply {format_value(conditions.supply)} V, "
        f"{format_value(conditions.temperature)} C, load {format_value(conditions.load)}, "
        f"corner {' '.join(task.corners)}.",
        PARAMETERS,
        *(_parameter_line(p) for p in circuit.parameters),
        SPECS,
        *(spec_text(circuit, spec) for spec in specs),
    ]
    return "\n".join(lines)


def spec_text(circuit: Circuit, spec: Spec) -> str:
    unit = circuit.metric(spec.metric).unit
    within = f" within {format_value(spec.tolerance)}" if spec.relation == "==" else ""
    return f"{spec.metric} {spec.relation} {target_text(spec)}{within} {unit}".rstrip()


def target_text(spec: Spec) -> str:
    """The target on the conversation's grid, rounded towards the harder side."""
    return format_value(spec.target, _HARDER[spec.relation])


def call_text(circuit: Circuit, sizing: Sizing) -> str:
    """The tool call as the model writes it, Hermes style."""
    body = json.dumps({"name": TOOL_NAME, "arguments": arguments(circuit, sizing)})
    return f"<tool_call>\n{body}\n</tool_call>"


def assistant_text(circuit: Circuit, reasoning: str, sizing: Sizing) -> str:
    """A whole assistant message, as the grammar allows it and the parser reads it."""
    return f"<think>\n{reasoning}\n</think>\n{call_text(circuit, sizing)}"


def result_text(task: Task, evaluation: Evaluation, index: int) -> str:
    """What the model is told of one simulation."""
    if evaluation.status == "failed":
        return f"Turn {index}: the simulation failed: {evaluation.error}"
    results = evaluation.score.specs
    failing = sum(not r.met for r in results)
    verdict = "all specs met" if not failing else f"{failing} of {len(results)} specs fail"
    score = format_value(100 * evaluation.score.value)
    lines = [f"Turn {index}: score {score} percent, {verdict}."]
    lines += [_spec_line(task.circuit, result, task.corners) for result in results]
    listed = {r.spec.metric for r in results}
    nominal = evaluation.nominal
    others = [
        f"{metric.name} {format_value(nominal.metrics[metric.name])}"
        for metric in task.circuit.metrics
        if metric.name not in listed and metric.name in nominal.metrics
    ]
    if others:
        lines.append("also: " + ", ".join(others))
    misplaced = [f"{d.name} {d.region}" for d in nominal.devices if d.region in ("linear", "off")]
    if misplaced:
        lines.append("not in saturation: " + ", ".join(misplaced))
    return "\n".join(lines)


def call_message(circuit: Circuit, sizing: Sizing, reasoning: str = "", index: int = 1) -> Message:
    """An assistant message that calls the tool with ``sizing``."""
    function = {"name": TOOL_NAME, "arguments": json.dumps(arguments(circuit, sizing))}
    return {
        "role": "assistant",
        "content": "",
        "reasoning_content": reasoning,
        "tool_calls": [{"id": f"call_{index}", "type": "function", "function": function}],
    }


def _turn_messages(task: Task, turn: Turn, specs: Sequence[Spec]) -> list[Message]:
    decision = turn.decision
    assert decision is not None
    circuit = task.circuit
    assistant = call_message(circuit, turn.proposal.sizing, turn.proposal.reasoning, turn.index)
    call_id = assistant["tool_calls"][0]["id"]
    if decision.kind == "rejected":
        content = f"Turn {turn.index}: the engineer rejected this sizing"
        content += f": {decision.reason}" if decision.reason else "."
    elif turn.evaluation is None:
        return []
    else:
        content = result_text(task, turn.evaluation, turn.index)
        if decision.kind == "edited":
            content = f"{_edit_text(circuit, turn)}\n{content}"
    return [assistant, {"role": "tool", "tool_call_id": call_id, "content": content}]


def _edit_text(circuit: Circuit, turn: Turn) -> str:
    assert turn.decision is not None
    changes = [
        f"{p.name} {format_value(turn.decision.sizing[p.name])}"
        for p in circuit.parameters
        if turn.decision.sizing[p.name] != turn.proposal.sizing.get(p.name)
    ]
    return "The engineer changed " + ", ".join(changes) + " before simulating."


def _new_specs(circuit: Circuit, specs: Sequence[Spec]) -> Message:
    lines = ["The specs are now:", *(spec_text(circuit, spec) for spec in specs)]
    return {"role": "user", "content": "\n".join(lines)}


def _spec_line(circuit: Circuit, result: SpecResult, corners: Sequence[str]) -> str:
    spec = result.spec
    target = target_text(spec)
    if result.value is None or result.margin is None:
        return f"{spec.metric} not measured, {spec.relation} {target}: FAIL"
    where = f" at {result.corner}" if len(corners) > 1 else ""
    word = "ok, margin" if result.met else "FAIL, short by"
    return (
        f"{spec.metric} {format_value(result.value)}{where}, {spec.relation} {target}: "
        f"{word} {format_value(abs(result.margin))}"
    )


def arguments(circuit: Circuit, sizing: Sizing) -> dict[str, str]:
    """The arguments of a call: every size on the conversation's grid."""
    return {p.name: size_text(p, sizing[p.name]) for p in circuit.parameters if p.name in sizing}


def size_text(parameter: Parameter, value: float) -> str:
    """A size on the conversation's grid, rounded so that it stays inside the bounds."""
    text = format_value(value)
    if parameter.contains(parse_quantity(text)):
        return text
    return format_value(value, "up" if value < (parameter.min + parameter.max) / 2 else "down")


def _parameter_line(parameter: Parameter) -> str:
    devices = f", {' '.join(parameter.devices)}" if parameter.devices else ""
    return f"{parameter.name} {_bounds(parameter)}: {parameter.role}{devices}"


def _bounds(parameter: Parameter) -> str:
    low, high = format_value(parameter.min, "up"), format_value(parameter.max, "down")
    return f"{low} to {high}{' ' + parameter.unit if parameter.unit else ''}"
