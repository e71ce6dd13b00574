"""Chat messages to token rows: one prefix per circuit, loss on the assistant's tokens only.

``chat_text`` is the model's chat template in Python; a test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from acs_assistant.prompting.render import SPECS
from acs_assistant.prompting.wording import DECIDED
from acs_assistant.training.tokenizer import IM_END, IM_START

THINK, EXPECT = "<think>\n", f"{DECIDED} "


@dataclass(frozen=True, slots=True)
class Example:
    """One session as tokens.

    Attributes:
        prefix: Everything up to the specs, the same for every session of a circuit.
        tokens: What follows, up to the last token that is to be predicted.
        learn: Per token of ``tokens``, whether it is to be predicted.
    """

    prefix: tuple[int, ...]
    tokens: NDArray[np.int32]
    learn: NDArray[np.bool_]


def message_text(message: Mapping[str, Any]) -> str:
    """The body of one message, as the template writes it between its markers."""
    if message["role"] != "assistant":
        return str(message["content"])
    text = ""
    if message.get("reasoning_content"):
        text += f"{THINK}{message['reasoning_content']}\n</think>\n"
    text += message.get("content") or ""
    for call in message.get("tool_calls") or []:
        function = call["function"]
        text += (
            f'<tool_call>\n{{"name": "{function["name"]}", "arguments": '
            f"{function['arguments']}}}\n</tool_call>"
        )
    return text


def chat_text(messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool) -> str:
    text = "".join(f"{IM_START}{m['role']}\n{message_text(m)}{IM_END}\n" for m in messages)
    return text + f"{IM_START}assistant\n" if add_generation_prompt else text


class Encoder:
    """Tokenizes sessions; prefixes are tokenized once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._prefixes: dict[str, tuple[int, ...]] = {}

    def encode(self, record: Mapping[str, Any], results: bool = False) -> Example:
        """``record`` is a line of chat JSONL; without "train" every assistant message counts.

        Args:
            results: Learn from turns that are not to be imitated too: what follows from their
                sizes, which is what they expect and the call.
        """
        chat = record["messages"]
        learned = record.get("train")
        unfinished = len(chat) - 1 if record.get("unfinished") else -1
        prefix, rest = "", []
        for index, message in enumerate(chat):
            role = message["role"]
            head, body = f"{IM_START}{role}\n", message_text(message) + IM_END
            learn = role == "assistant" and (learned is None or index in learned)
            chosen = ""
            if index == unfinished:
                body = f"{THINK}{message['reasoning_content']}"
            elif role == "assistant" and results and not learn and EXPECT in body:
                before, marker, body = body.partition(EXPECT)
                chosen, learn = before + marker, True
            rest += [(head + chosen, False), (body, learn), ("\n", False)]
            if role == "user" and not prefix:
                before, marker, specs = "".join(text for text, _ in rest).partition(f"\n{SPECS}\n")
                prefix, rest = before + marker, [(specs, False)]
        pieces = [(self._ids(text), learn) for text, learn in _merged(rest)]
        tokens = np.concatenate([np.array(ids, dtype=np.int32) for ids, _ in pieces])
        mask = np.concatenate([np.full(len(ids), learn) for ids, learn in pieces])
        end = int(np.flatnonzero(mask)[-1]) + 1 if mask.any() else 0
        return Example(self.prefix(prefix), tokens[:end], mask[:end])

    def prefix(self, text: str) -> tuple[int, ...]:
        if text not in self._prefixes:
            self._prefixes[text] = tuple(self._ids(text))
        return self._prefixes[text]

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)


def _merged(pieces: Sequence[tuple[str, bool]]) -> Iterator[tuple[str, bool]]:
    """Joins neighbours of one kind, so that fewer boundaries stand inside words."""
    held, kind = "", False
    for text, learn in pieces:
        if learn != kind and held:
            yield held, kind
            held = ""
        held, kind = held + text, learn
    if held:
        yield held, kind
