"""What a model's answer is held to: the record, the grammar of its call, and its own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from acs_assistant.domain import Circuit, Evaluation, Sizing, Task, Turn
from acs_assistant.engine.evaluate import worst_metrics
from acs_assistant.llm.port import Rules
from acs_assistant.prompting.grammar import THOUGHT, THOUGHT_END, call_grammar
from acs_assistant.prompting.parse import decided_sizes
from acs_assistant.prompting.render import PROMPT_VERSION, arguments
from acs_assistant.prompting.wording import (
    DECIDED,
    demand,
    effect_words,
    first_grammar,
    joined,
    next_grammar,
)
from acs_assistant.scoring import shortfall
from acs_assistant.units import parse_quantity

Foretell = Callable[[Sizing], Mapping[str, float]]
"""Metrics that are expected of a sizing."""


def rules(
    task: Task,
    turns: Sequence[Turn],
    wording: str = "",
    sizing: Sizing | None = None,
    foretell: Foretell | None = None,
) -> Rules:
    """Reasoning, then a call that does what the reasoning decided.

    A size that the reasoning decides stands in the call as it was said; when it speaks of changes,
    the others stay as they were. What it leaves open is the model's to choose, inside the bounds.
    Reasoning is free text, but for a model that was taught our sentences: what was measured, and
    what each size was, stand in those as the record has them.

    Args:
        turns: The turns that the model is shown, the one that changes start from last.
        wording: The model's (``ModelInfo.wording``).
        sizing: What the call is to hold, and our sentences to say, when that is settled.
        foretell: A critic's metrics of a sizing, which our sentences then expect.
    """
    circuit, before = task.circuit, _latest(turns)

    def rest(text: str) -> str:
        if sizing is not None:
            return call_grammar(circuit, arguments(circuit, sizing))
        return call_grammar(circuit, decided(text, circuit, before))

    opening = _thought(task, turns, before, sizing) if wording == PROMPT_VERSION else THOUGHT
    worded = opening != THOUGHT
    if foretell is None or not worded:
        return Rules(opening, THOUGHT_END, rest, worded)

    def expecting(text: str) -> str:
        sizes = decided(text, circuit, before)
        expected, measured = foretell(_snapped(circuit, sizes)), _measured(turns)
        effects = [effect_words(s, measured.get(s.metric), expected[s.metric]) for s in task.specs]
        said = text.partition(DECIDED)[2]
        return call_grammar(
            circuit, sizes, f" {joined(effects)}.\n{THOUGHT_END}".removeprefix(said)
        )

    return Rules(opening, DECIDED, expecting, worded)


def draft(held: Rules) -> Rules:
    """The same answer up to where its sizes are decided, before it expects anything of them."""
    return replace(held, marker=DECIDED, rest=None)


def settled(text: str, task: Task, turns: Sequence[Turn]) -> Sizing:
    """The sizing that a draft decides; empty when it leaves a size open."""
    texts = decided(text, task.circuit, _latest(turns))
    if len(texts) < len(task.circuit.parameters):
        return {}
    return _snapped(task.circuit, texts)


def _snapped(circuit: Circuit, sizes: Mapping[str, str]) -> Sizing:
    return circuit.snap({name: parse_quantity(size) for name, size in sizes.items()})


def decided(text: str, circuit: Circuit, before: Sizing | None) -> dict[str, str]:
    """The sizes that a reasoning decides, as the call writes them."""
    sizes, others_stay = decided_sizes(text, circuit)
    if others_stay and before is not None:
        return {**arguments(circuit, before), **sizes}
    return sizes


def _thought(
    task: Task, turns: Sequence[Turn], before: Sizing | None, sizing: Sizing | None
) -> str:
    """GBNF of the reasoning: our sentences, where they fit what happened."""
    asked = demand(turns[-1]) if turns else ""
    simulated = _simulated(turns)
    if not simulated and not asked:
        return first_grammar(task.circuit, task.specs, sizing)
    if before is None:
        return THOUGHT
    if not simulated:
        return next_grammar(task.circuit, task.specs, (), before, {}, asked, sizing)
    if simulated[-1].status != "ok":
        return THOUGHT
    measured = _measured(turns)
    short = [s for s in task.specs if shortfall(s, measured.get(s.metric)) > 0]
    return next_grammar(task.circuit, task.specs, short, before, measured, asked, sizing)


def _simulated(turns: Sequence[Turn]) -> list[Evaluation]:
    return [turn.evaluation for turn in turns if turn.evaluation is not None]


def _measured(turns: Sequence[Turn]) -> Mapping[str, float]:
    """What the turn that changes start from gave, at its worst corners."""
    simulated = _simulated(turns)
    return worst_metrics(simulated[-1]) if simulated else {}


def _latest(turns: Sequence[Turn]) -> Sizing | None:
    """The sizing of the last simulated turn, else of the last proposal."""
    simulated = [turn for turn in turns if turn.evaluation is not None and turn.decision]
    if simulated:
        decision = simulated[-1].decision
        assert decision is not None
        return decision.sizing or simulated[-1].proposal.sizing
    proposed = [turn.proposal.sizing for turn in turns if turn.proposal.sizing]
    return proposed[-1] if proposed else None
