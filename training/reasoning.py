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
from acs_assistant.prompting.wording import (
    FIRST_WORDS,
    change_words,
    complaint,
    effect_words,
    joined,
)
from acs_assistant.scoring import shortfall, signed_margin
from acs_assistant.training.chat import EXPECT

FloatArray = NDArray[np.float64]


def first_thought(
    circuit: Circuit,
    specs: Sequence[Spec],
    sizing: Sizing,
    expected: Mapping[str, float],
    influence: FloatArray,
) -> str:
    """Before anything is measured: the hard specs, what they follow, the sizes, what to expect.

    Args:
        sizing: What the call then holds.
        influence: (metrics, parameters) change of each metric per unit of position, scaled.
    """
    hard = sorted(specs, key=lambda s: _slack(s, expected[s.metric]))[:2]
    moved = _strongest(circuit, influence, [s.metric for s in hard])
    sizes = [f"{p.name} {size_text(p, sizing[p.name])}" for p in circuit.parameters]
    return (
        f"{FIRST_WORDS}{joined([s.metric for s in hard])} will be hardest to meet; "
        f"they follow {joined(moved)} most. Take {joined(sizes)}. "
        f"Expect {joined([f'{s.metric} {format_value(expected[s.metric])}' for s in specs])}."
    )


def next_thought(
    circuit: Circuit,
    specs: Sequence[Spec],
    before: Sizing,
    measured: Mapping[str, float],
    sizing: Sizing,
    expected: Mapping[str, float],
    influence: FloatArray,
    asked: str = "",
) -> str:
    """After a measurement: what is short, what it follows, the changes, their effects.

    Args:
        before: The best sizing so far, which the changes start from.
        measured: What it measured; empty when nothing was.
        asked: What the engineer's rejection demands, in a clause of its own.
    """
    short = [s for s in specs if measured and shortfall(s, measured.get(s.metric)) > 0]
    sentences = []
    if asked:
        sentences.append(f"The engineer wants {asked}.")
    if short:
        complaints = joined([complaint(s, measured.get(s.metric)) for s in short])
        follow = joined(_strongest(circuit, influence, [s.metric for s in short]))
        sentences.append(f"At best {complaints}.")
        verb = "follows" if len(short) == 1 else "follow"
        sentences.append(f"{joined([s.metric for s in short])} {verb} {follow} most.")
    elif measured:
        sentences.append("Every spec is met.")
    changes = change_words(circuit, before, sizing)
    sentences.append(f"So {joined(changes)}." if changes else "Keep the sizes.")
    effects = [effect_words(s, measured.get(s.metric), expected[s.metric]) for s in specs]
    sentences.append(f"Expect {joined(effects)}.")
    return " ".join(sentences)


def before_expectation(thought: str) -> str:
    """The part of a thought that chooses; what it leads to is left out.

    So is the full stop: the tokenizer has one token for it and "Expect", and a full stop of its own
    would teach that the thought ends here.
    """
    return thought.partition(EXPECT)[0].removesuffix(".")


def _slack(spec: Spec, value: float) -> float:
    return signed_margin(spec, value) / (abs(spec.target) + abs(value) + 1e-30)


def _strongest(circuit: Circuit, influence: FloatArray, metrics: Sequence[str]) -> list[str]:
    rows = [j for j, m in enumerate(circuit.metrics) if m.name in metrics]
    strength = np.abs(influence[rows]).sum(axis=0)
    return [circuit.parameters[i].name for i in np.argsort(-strength)[:3]]
