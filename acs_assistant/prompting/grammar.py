"""GBNF for an assistant message: free reasoning, then one call with every size in bounds."""

from __future__ import annotations

from collections.abc import Mapping

from acs_assistant.domain import Circuit
from acs_assistant.prompting.ranges import between
from acs_assistant.prompting.render import TOOL_NAME

_LONGEST_REASONING = 2000
"""Characters. A small model that never ends its reasoning would never call the tool."""


THOUGHT_END = "</think>\n"
THOUGHT = f'root ::= "<think>\\n" [^<]{{1,{_LONGEST_REASONING}}} "</think>\\n"\n'
"""GBNF of the reasoning alone, up to ``THOUGHT_END``."""


def literal(text: str) -> str:
    """A text as GBNF."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def call_grammar(circuit: Circuit, sizes: Mapping[str, str], opening: str = "") -> str:
    """GBNF of the call alone: exactly what ``parse`` accepts and ``Circuit.snap`` takes.

    Every parameter stands once, in the circuit's order; each value is a three-digit number in
    SPICE notation between the parameter's bounds.

    Args:
        sizes: Values that are decided already, by name, as text.
        opening: What is to be said first, word for word.
    """
    values = [
        f'"{sizes[p.name]}"' if p.name in sizes else f"v{i}"
        for i, p in enumerate(circuit.parameters)
    ]
    arguments = ' ", " '.join(
        rf'"\"{p.name}\": \"" {value} "\""'
        for p, value in zip(circuit.parameters, values, strict=True)
    )
    call = (
        rf'root ::= {literal(opening)} "<tool_call>\n{{\"name\": \"{TOOL_NAME}\"'
        r', \"arguments\": {" '
        rf'{arguments} "}}}}\n</tool_call>"'
    )
    free = [
        f"v{i} ::= {between(p.min, p.max)}"
        for i, p in enumerate(circuit.parameters)
        if p.name not in sizes
    ]
    return "\n".join([call, *free]) + "\n"
