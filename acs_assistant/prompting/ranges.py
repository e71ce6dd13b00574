"""GBNF of the three-digit numbers between two bounds."""

from __future__ import annotations

from functools import lru_cache

from acs_assistant.prompting.numbers import grid_range, suffix_of


@lru_cache(maxsize=4096)
def between(low: float, high: float) -> str:
    """GBNF of the numbers in SPICE notation in positive bounds; "" when there is none."""
    alternatives = []
    for decade, first, last in grid_range(low, high):
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
