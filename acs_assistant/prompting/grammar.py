"""GBNF for an assistant message: free reasoning, then one call with every size in bounds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from acs_assistant.domain import Circuit, Parameter
from acs_assistant.prompting.ranges import between
from acs_assistant.prompting.render import TOOL_NAME

_LONGEST_REASONING = 2000
"""Characters. A small model that never ends its reasoning would never call the tool."""


_REASONING = f"reasoning ::= [^<]{{1,{_LONGEST_REASONING}}}\n"

THOUGHT_END = "</think>\n"
THOUGHT = f'root ::= "<think>\\n" reasoning "</think>\\n"\n{_REASONING}'
"""GBNF of the reasoning alone, up to ``THOUGHT_END``."""


def grammar(circuit: Circuit) -> str:
    """GBNF whose language is exactly what ``parse`` accepts and ``Circuit.snap`` takes.

    Every parameter stands once, in the circuit's order; each value is a three-digit number in
    SPICE notation between the parameter's bounds.
    """
    return f'root ::= "<think>\\n" reasoning "</think>\\n" call\n{_REASONING}{_call(circuit)}'


def call_grammar(circuit: Circuit, sizes: Mapping[str, str]) -> str:
    """GBNF of the call alone, with these sizes by name, as text, in it."""
    return f"root ::= call\n{_call(circuit, sizes)}"


def _call(circuit: Circuit, sizes: Mapping[str, str] | None = None) -> str:
    values = [
        f'"{sizes[p.name]}"' if sizes and p.name in sizes else f"v{i}"
        for i, p in enumerate(circuit.parameters)
    ]
    arguments = ' ", " '.join(
        rf'"\"{p.name}\": \"" {value} "\""'
        for p, value in zip(circuit.parameters, values, strict=True)
    )
    call = (
        rf'call ::= "<tool_call>\n{{\"name\": \"{TOOL_NAME}\", \"arguments\": {{" '
        rf'{arguments} "}}}}\n</tool_call>"'
    )
    rules = _values(circuit.parameters)
    free = [rules[i] for i, value in enumerate(values) if value == f"v{i}"]
    return "\n".join([call, *free]) + "\n"


@lru_cache(maxsize=64)
def _values(parameters: tuple[Parameter, ...]) -> tuple[str, ...]:
    return tuple(f"v{i} ::= {between(p.min, p.max)}" for i, p in enumerate(parameters))
