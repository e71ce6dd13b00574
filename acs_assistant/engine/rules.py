"""What a model's answer is held to: the grammar of its call, and its own words."""

from __future__ import annotations

from collections.abc import Sequence

from acs_assistant.domain import Circuit, Sizing, Turn
from acs_assistant.llm.port import Rules
from acs_assistant.prompting.grammar import THOUGHT, THOUGHT_END, call_grammar
from acs_assistant.prompting.parse import decided_sizes
from acs_assistant.prompting.render import size_text


def rules(circuit: Circuit, turns: Sequence[Turn]) -> Rules:
    """Free reasoning, then a call that does what the reasoning decided.

    A size that the reasoning decides stands in the call as it was said; when it speaks of changes,
    the others stay as they were. What it leaves open is the model's to choose, inside the bounds.

    Args:
        turns: The turns that the model is shown, the one that changes start from last.
    """
    before = _latest(turns)

    def rest(text: str) -> str:
        sizes, others_stay = decided_sizes(text, circuit)
        if others_stay and before is not None:
            kept = {p.name: size_text(p, before[p.name]) for p in circuit.parameters}
            sizes = {**kept, **sizes}
        return call_grammar(circuit, sizes)

    return Rules(THOUGHT, THOUGHT_END, rest)


def _latest(turns: Sequence[Turn]) -> Sizing | None:
    """The sizing of the last simulated turn, else of the last proposal."""
    simulated = [turn for turn in turns if turn.evaluation is not None and turn.decision]
    if simulated:
        decision = simulated[-1].decision
        assert decision is not None
        return decision.sizing or simulated[-1].proposal.sizing
    proposed = [turn.proposal.sizing for turn in turns if turn.proposal.sizing]
    return proposed[-1] if proposed else None
