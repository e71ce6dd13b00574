"""Assistant text in, reasoning and one sizing out; whole, or piece by piece while it streams."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from acs_assistant.domain import Circuit, Sizing
from acs_assistant.errors import InputError
from acs_assistant.prompting.render import TOOL_NAME, size_text
from acs_assistant.units import parse_quantity

Channel = Literal["reasoning", "text", "call"]

_THINK = re.compile(r"<think>(.*?)(?:</think>|\Z)", re.DOTALL)
_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_EXPECTATION = re.compile(r"[Ee]xpect(?:ing)?\b")
_NUMBER = r"-?\d+(?:\.\d+)?(?:meg|[fpnumkg])?"

_DECISION = re.compile(r"\b(?:Take|So) (?:[^.]|\.\d)*")
_SIZE = re.compile(rf"\b(\w+) ({_NUMBER})(?!\w)")
_CHANGE = re.compile(rf"\b(?:raise|lower) (\w+) from {_NUMBER} to ({_NUMBER})(?!\w)")


@dataclass(frozen=True, slots=True)
class Reply:
    """What an assistant message says. ``sizing`` is None when ``error`` says why."""

    reasoning: str
    text: str
    sizing: Sizing | None
    predictions: Mapping[str, float] = field(default_factory=dict)
    error: str = ""


def parse(text: str, circuit: Circuit) -> Reply:
    """Reads a whole assistant message. Never raises: a wrong call has its reason in ``error``."""
    thought = _THINK.search(text)
    reasoning = thought.group(1).strip() if thought else ""
    rest = _CALL.sub("", _THINK.sub("", text)).strip()
    predictions = predicted_metrics(reasoning or rest, circuit)
    try:
        sizing = _sizing(text, circuit)
    except InputError as error:
        return Reply(reasoning, rest, None, predictions, f"{error.message} {error.hint}".strip())
    return Reply(reasoning, rest, sizing, predictions)


def predicted_metrics(reasoning: str, circuit: Circuit) -> dict[str, float]:
    """Metric values that follow "expect" in the reasoning: the last value named for each metric."""
    start = _EXPECTATION.search(reasoning)
    if start is None:
        return {}
    found: dict[str, float] = {}
    for metric in circuit.metrics:
        pattern = rf"\b{re.escape(metric.name)}\b[^,.;\d-]*?({_NUMBER})(?![\w])"
        for match in re.finditer(pattern, reasoning[start.start() :]):
            found[metric.name] = parse_quantity(match.group(1))
    return found


def named_changes(reasoning: str, parameters: Sequence[str]) -> dict[str, int]:
    """Directions that the reasoning announces, "raise w_in, lower c_c": +1 or −1 by parameter."""
    names = "|".join(re.escape(name) for name in parameters)
    found = re.findall(rf"\b([Rr]aise|[Ll]ower) ({names})\b", reasoning)
    return {name: 1 if verb.lower() == "raise" else -1 for verb, name in found}


def decided_sizes(reasoning: str, circuit: Circuit) -> tuple[dict[str, str], bool]:
    """The sizes that a reasoning in the small model's own words decides, as the call writes them.

    "Take w_in 20.0u and c_c 1.00p." names every size; "So raise w_in from 20.0u to 24.0u." names
    those that change. Sizes out of bounds decide nothing.

    Returns:
        Sizes by parameter, and whether the others are to stay as they were.
    """
    sentence = _DECISION.search(reasoning)
    if sentence is None:
        return {}, False
    changes = dict(_CHANGE.findall(sentence.group()))
    found = changes or dict(_SIZE.findall(sentence.group()))
    sizes = {}
    for p in circuit.parameters:
        if p.name in found and p.contains(parse_quantity(found[p.name])):
            sizes[p.name] = size_text(p, parse_quantity(found[p.name]))
    return sizes, bool(changes)


def named_sizes(reasoning: str, sizing: Sizing) -> dict[str, float]:
    """Sizes that the reasoning says it chose: "take w_in 20.0u", "lower c_c from 2p to 1.5p"."""
    start = _EXPECTATION.search(reasoning)
    chosen = reasoning[: start.start()] if start else reasoning
    found: dict[str, float] = {}
    for name in sizing:
        word = re.escape(name)
        patterns = (rf"\b{word} from {_NUMBER} to ({_NUMBER})", rf"\b{word} ({_NUMBER})(?!\w)")
        for pattern in patterns:
            for match in re.finditer(pattern, chosen):
                found[name] = parse_quantity(match.group(1))
    return found


def _sizing(text: str, circuit: Circuit) -> dict[str, float]:
    calls = _CALL.findall(_THINK.sub("", text) or text)
    if not calls:
        raise InputError("the message has no complete tool call.")
    if len(calls) > 1:
        raise InputError("the message calls the tool more than once.")
    try:
        call = json.loads(calls[0], object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise InputError(f"the tool call is not JSON: {error.msg}.") from error
    if not isinstance(call, dict) or call.get("name") != TOOL_NAME:
        raise InputError(f"the call is not to '{TOOL_NAME}'.")
    arguments = call.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments, object_pairs_hook=_unique)
        except json.JSONDecodeError as error:
            raise InputError(f"the arguments are not JSON: {error.msg}.") from error
    if not isinstance(arguments, dict):
        raise InputError("the call has no arguments.")
    return circuit.snap({name: _number(value) for name, value in arguments.items()})


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    seen: dict[str, object] = {}
    for name, value in pairs:
        if name in seen:
            raise InputError(f"'{name}' stands twice in the call.")
        seen[name] = value
    return seen


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise InputError(f"{json.dumps(value)} is not a number.")
    return parse_quantity(value) if isinstance(value, str) else float(value)


class StreamSplitter:
    """Splits streamed pieces into reasoning, text and call, holding back half-seen tags."""

    _TAGS: Mapping[str, Channel] = {
        "<think>": "reasoning",
        "</think>": "text",
        "<tool_call>": "call",
        "</tool_call>": "text",
    }

    def __init__(self) -> None:
        self._channel: Channel = "text"
        self._held = ""

    def feed(self, piece: str) -> list[tuple[Channel, str]]:
        """What became certain with this piece, in order; tags themselves are dropped."""
        self._held += piece
        out: list[tuple[Channel, str]] = []
        while self._held:
            start = self._held.find("<")
            if start < 0:
                out.append((self._channel, self._held))
                self._held = ""
            elif start > 0:
                out.append((self._channel, self._held[:start]))
                self._held = self._held[start:]
            else:
                tag = next((t for t in self._TAGS if self._held.startswith(t)), None)
                if tag is not None:
                    self._channel = self._TAGS[tag]
                    self._held = self._held[len(tag) :]
                elif any(t.startswith(self._held) for t in self._TAGS):
                    break
                else:
                    out.append((self._channel, "<"))
                    self._held = self._held[1:]
        return out

    def flush(self) -> list[tuple[Channel, str]]:
        """What was held back when the stream ended."""
        held, self._held = self._held, ""
        return [(self._channel, held)] if held else []
