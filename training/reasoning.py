"""What a good designer would have thought, written from simulated facts.

Every number is a measured one: what the best turn so far gave, what the chosen sizing then gave.
Which parameters a metric follows comes from sensitivities fitted to simulations of the circuit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from acs_assistant.domain import Circuit, Sizing, Spec
from acs_assistant.prompting.numbers import format_value
from acs_assistant.prompting.render import size_text
from acs_assistant.scoring import shortfall, signed_margin

FloatArray = NDArray[np.float64]


def first_thought(
    circuit: Circuit,
    specs: Sequence[Spec],
    expected: Mapping[str, float],
    influence: FloatArray,
) -> str:
    """Before anything is measured: the hard specs, what they follow, what to expect.

    Args:
        influence: (metrics, parameters) change of each metric per unit of position, scaled.
    """
    hard = sorted(specs, key=lambda s: _slack(s, expected[s.metric]))[:2]
    moved = _strongest(circuit, influence, [s.metric for s in hard])
    return (
        f"Nothing is measured yet. {_join([s.metric for s in hard])} will be hardest to meet; "
        f"they follow {_join(moved)} most. "
        f"Expect {_join([f'{s.metric} {format_value(expected[s.metric])}' for s in specs])}."
    )


def next_thought(
    circuit: Circuit,
    specs: Sequence[Spec],
    best: int,
    before: Sizing,
    measured: Mapping[str, float],
    sizing: Sizing,
    expected: Mapping[str, float],
    influence: FloatArray,
    asked: str = "",
) -> str:
    """After a measurement: what is short, what it follows, the changes, their effects.

    Args:
        best: The number of the turn that the changes start from.
        asked: What the engineer's rejection demands, in a clause of its own.
    """
    short = [s for s in specs if measured and shortfall(s, measured.get(s.metric)) > 0]
    sentences = []
    if asked:
        sentences.append(f"The engineer wants {asked}.")
    if short:
        complaints = _join([_complaint(s, measured) for s in short])
        follow = _join(_strongest(circuit, influence, [s.metric for s in short]))
        sentences.append(f"From turn {best}: {complaints}.")
        verb = "follows" if len(short) == 1 else "follow"
        sentences.append(f"{_join([s.metric for s in short])} {verb} {follow} most.")
    elif measured:
        sentences.append(f"Turn {best} meets every spec.")
    changes = _changes(circuit, before, sizing)
    sentences.append(f"So {_join(changes)}." if changes else "Keep the sizes.")
    effects = [_effect(s, measured.get(s.metric), expected[s.metric]) for s in specs]
    sentences.append(f"Expect {_join(effects)}.")
    return " ".join(sentences)


def _slack(spec: Spec, value: float) -> float:
    return signed_margin(spec, value) / (abs(spec.target) + abs(value) + 1e-30)


def _strongest(circuit: Circuit, influence: FloatArray, metrics: Sequence[str]) -> list[str]:
    rows = [j for j, m in enumerate(circuit.metrics) if m.name in metrics]
    strength = np.abs(influence[rows]).sum(axis=0)
    return [circuit.parameters[i].name for i in np.argsort(-strength)[:3]]


def _complaint(spec: Spec, measured: Mapping[str, float]) -> str:
    value = measured.get(spec.metric)
    if value is None:
        return f"{spec.metric} could not be measured"
    word = "short" if spec.relation == ">=" else "over"
    return f"{spec.metric} is {word}"


def _changes(circuit: Circuit, before: Sizing, after: Sizing) -> list[str]:
    moves = []
    for p in circuit.parameters:
        old, new = size_text(p, before[p.name]), size_text(p, after[p.name])
        if old != new:
            distance = p.to_unit(after[p.name]) - p.to_unit(before[p.name])
            verb = "raise" if distance > 0 else "lower"
            moves.append((abs(distance), f"{verb} {p.name}"))
    return [text for _, text in sorted(moves, key=lambda move: -move[0])[:4]]


def _effect(spec: Spec, old: float | None, new: float) -> str:
    text = format_value(new)
    if old is None:
        return f"{spec.metric} {text}"
    change = (new - old) / (abs(new) + abs(old) + 1e-30)
    if abs(change) < 0.005:
        return f"{spec.metric} to stay near {text}"
    return f"{spec.metric} to {'rise' if change > 0 else 'fall'} to {text}"


def _join(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return ", ".join(parts[:-1]) + " and " + parts[-1]
