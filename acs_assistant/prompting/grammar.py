"""GBNF for an assistant message: free reasoning, then one call with every size in bounds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from acs_assistant.domain import Circuit, Parameter
from acs_assistant.prompting.numbers import grid_range, suffix_of
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
    return tuple(f"v{i} ::= {_value(p)}" for i, p in enumerate(parameters))


def _value(parameter: Parameter) -> str:
    alternatives = []
    for decade, first, last in grid_range(parameter.min, parameter.max):
        whole, suffix = suffix_of(decade)
        for digits in _digit_ranges(f"{first:03d}", f"{last:03d}"):
            parts = list(digits)
            if whole < 3:
                parts.insert(whole, '"."')
            if suffix:
                parts.append(f'"{suffix}"')
            alternatives.append(" ".join(parts))
    return " | ".join(alternatives)


def _digit_ranges(first: str, last: str) -> list[tuple[str, ...]]:
    """Covers the integers first..last (equal lengths) with products of digit classes."""
    if not first:
        return [()]
    head_first, head_last = int(first[0]), int(last[0])
    rest = len(first) - 1
    if head_first == head_last:
        return [(_class(head_first, head_first), *r) for r in _digit_ranges(first[1:], last[1:])]
    covered: list[tuple[str, ...]] = []
    low, high = head_first, head_last
    if first[1:] != "0" * rest:
        tails = _digit_ranges(first[1:], "9" * rest)
        covered += [(_class(low, low), *r) for r in tails]
        low += 1
    upper: list[tuple[str, ...]] = []
    if last[1:] != "9" * rest:
        tails = _digit_ranges("0" * rest, last[1:])
        upper = [(_class(high, high), *r) for r in tails]
        high -= 1
    if low <= high:
        covered.append((_class(low, high), *("[0-9]",) * rest))
    return covered + upper


def _class(low: int, high: int) -> str:
    return f'"{low}"' if low == high else f"[{low}-{high}]"
