"""Parameter names inside SPICE expressions: found, replaced, and written out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from acs_assistant.errors import CircuitError
from acs_assistant.sim.expressions import ExpressionError, compile_expression, namespace
from acs_assistant.sim.spice import split_words

_NAME = re.compile(r"(?<![\w.])([a-z_]\w*)(?!\s*\()(?![\w.])")
_QUOTED = re.compile(r"\{([^{}]*)\}|'([^']*)'")
_MAX_DEPTH = 30


def bare(text: str) -> str:
    """An expression without its braces or quotes."""
    text = text.strip()
    if (text[:1], text[-1:]) in (("{", "}"), ("'", "'")):
        return text[1:-1].strip()
    return text


def names(text: str) -> set[str]:
    """Parameters that an expression reads; functions are none."""
    return set(_NAME.findall(bare(text)))


def replace_names(text: str, replacements: Mapping[str, str]) -> str:
    """The expression with names replaced; brackets are the replacement's own business."""
    return _NAME.sub(lambda match: replacements.get(match[1], match[1]), text)


def replace_in_line(text: str, change: Callable[[str], str], known: Mapping[str, str]) -> str:
    """A whole line with every expression in it changed.

    An expression is what stands in braces or quotes, or a bare value that is one of ``known``.
    """
    text = _QUOTED.sub(lambda m: "{" + change((m[1] or m[2] or "").strip()) + "}", text)
    words: list[str] = []
    for place, word in enumerate(split_words(text)):
        key, equals, value = word.partition("=")
        if equals and value in known:
            word = f"{key}={{{change(value)}}}"
        elif place >= 3 and word in known:
            word = f"{{{change(word)}}}"
        words.append(word)
    return " ".join(words)


def inlined(text: str, definitions: Mapping[str, str], keep: frozenset[str]) -> str:
    """The expression with every defined name written out, down to numbers and ``keep``.

    Raises:
        CircuitError: The definitions are circular.
    """
    text = bare(text)
    for _ in range(_MAX_DEPTH):
        open_names = names(text) & set(definitions) - keep
        if not open_names:
            return text
        text = replace_names(text, {name: f"({bare(definitions[name])})" for name in open_names})
    raise CircuitError(f"parameters define each other in a circle: {', '.join(sorted(open_names))}")


def value_of(text: str, definitions: Mapping[str, str]) -> float | None:
    """What an expression comes to; None when it depends on something unknown."""
    try:
        return compile_expression(inlined(text, definitions, frozenset()))({}, namespace())
    except ExpressionError:
        return None
