"""An account of a turn from the record: for a model that can propose but not answer in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from acs_assistant.domain import Circuit, Sizing, Spec, Turn
from acs_assistant.engine.outcome import last_sizing
from acs_assistant.scoring import judge, signed_margin
from acs_assistant.units import format_quantity

WHO = (
    "This model speaks only in the sentences of its proposals and cannot answer in words. "
    "From the record:"
)
_RIGHT_WITHIN = 0.10
_LEAST_MOVE = 0.02


def account(circuit: Circuit, specs: Sequence[Spec], path: Sequence[Turn]) -> str:
    """What the last turn of the path changes, what that trades, and where the risk lies.

    Args:
        specs: Those in force in that turn.
        path: From the root to the turn.

    Returns:
        Markdown: one sentence, then a list.
    """
    *above, turn = path
    sizing = (turn.decision.sizing if turn.decision else None) or turn.proposal.sizing
    lines = [_changed(circuit, last_sizing(above), sizing)]
    before = _measured(above)
    if turn.evaluation is not None:
        lines.append(_traded(specs, before, _measured([turn]), "It measured"))
        lines.append(_foretold(turn))
    else:
        lines.append(_traded(specs, before, turn.proposal.predictions, "It expects"))
    lines.append(_risk(specs, turn))
    return "\n".join([WHO, "", *(f"- {line}" for line in lines if line)])


def _measured(turns: Sequence[Turn]) -> Mapping[str, float]:
    """Nominal metrics of the last turn that has some."""
    for turn in reversed(turns):
        if turn.evaluation is not None and turn.evaluation.measurements:
            return turn.evaluation.nominal.metrics
    return {}


def _changed(circuit: Circuit, before: Sizing, sizing: Sizing) -> str:
    if not sizing:
        return "It holds no sizes."
    if not before:
        return "It is the first sizing of its branch; there is nothing to compare it with."
    moved = [p for p in circuit.parameters if before.get(p.name) != sizing[p.name]]
    if not moved:
        return "Against the last simulated sizing it changes nothing."
    steps = [
        f"{p.name} {p.format(before[p.name])} → {p.format(sizing[p.name])}"
        + (f" ({', '.join(p.devices)})" if p.devices else "")
        for p in moved
    ]
    return f"Against the last simulated sizing it changes {_joined(steps)}."


def _traded(
    specs: Sequence[Spec], before: Mapping[str, float], after: Mapping[str, float], who: str
) -> str:
    """Which specs gain and which lose, by the distance to their targets."""
    gains: list[str] = []
    losses: list[str] = []
    for spec in specs:
        old, new = before.get(spec.metric), after.get(spec.metric)
        if old is None or new is None or abs(new - old) <= _LEAST_MOVE * abs(old):
            continue
        better = signed_margin(spec, new) > signed_margin(spec, old)
        told = f"{spec.metric} {format_quantity(old, 3)} → {format_quantity(new, 3)}"
        (gains if better else losses).append(told)
    if not gains and not losses:
        return ""
    parts = [f"{_joined(gains)} better"] if gains else []
    parts += [f"{_joined(losses)} worse"] if losses else []
    return f"{who} {', and '.join(parts)}."


def _foretold(turn: Turn) -> str:
    measured = _measured([turn])
    both = [(p, measured[m]) for m, p in turn.proposal.predictions.items() if m in measured]
    if not both:
        return ""
    right = sum(abs(p - value) <= _RIGHT_WITHIN * abs(value) for p, value in both)
    return f"It foretold {right} of {len(both)} metrics within 10 %."


def _risk(specs: Sequence[Spec], turn: Turn) -> str:
    """The spec with the least room, and the device nearest to leaving saturation."""
    evaluation = turn.evaluation
    if evaluation is None:
        known = {s: turn.proposal.predictions[s.metric] for s in specs
                 if s.metric in turn.proposal.predictions}  # fmt: skip
        word = "is expected to have"
    else:
        results = [judge(spec, evaluation.measurements) for spec in specs]
        known = {r.spec: r.value for r in results if r.value is not None}
        word = "has"
    told = []
    if known:
        spec = min(known, key=lambda s: _room(s, known[s]))
        value, target = format_quantity(known[spec], 3), format_quantity(spec.target)
        told.append(
            f"{spec.metric} {word} the least room: {value}, wanted {spec.relation} {target}"
        )
    devices = evaluation.nominal.devices if evaluation and evaluation.measurements else ()
    if devices:
        tight = min(devices, key=lambda d: d.vds - d.vdsat)
        room = 1e3 * (tight.vds - tight.vdsat)
        told.append(f"{tight.name} is nearest to leaving saturation, with {room:.0f} mV")
    return f"{'; '.join(told)}." if told else ""


def _room(spec: Spec, value: float) -> float:
    return signed_margin(spec, value) / (abs(spec.target) + abs(value) or 1.0)


def _joined(items: Sequence[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
