"""What the rest of the app needs of a language model: messages in, assistant text out.

Text is the assistant's message as one string in the model's own markup: ``<think>...</think>``,
free text, ``<tool_call>{...}</tool_call>``. An adapter to a server puts reasoning and tool calls
back into that form, so that ``prompting.parse`` serves every model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from acs_assistant.cancel import CancelToken

Message = Mapping[str, Any]
"""An OpenAI chat message: role, content, and tool_calls / tool_call_id where they apply."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is recorded with each turn and shown on the model card.

    Attributes:
        wording: The prompt version whose sentences the model was taught to think in; "" when it
            thinks in words of its own.
    """

    name: str
    path: Path | None
    sha256: str
    architecture: str
    parameters: int
    quantization: str
    context: int
    wording: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """``temperature`` 0 is greedy. ``seed`` makes a draw repeatable on one machine."""

    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 512
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """GBNF of an assistant text whose second part depends on its first.

    Attributes:
        opening: GBNF of the text up to and including ``marker``.
        marker: Where the first part ends: with the token that completes it.
        rest: From the first part, GBNF of what follows it; None when nothing does.
        worded: Whether the first part is in our sentences, with the facts of the record.
    """

    opening: str
    marker: str
    rest: Callable[[str], str] | None
    worded: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished assistant text. ``tokens`` counts what was generated."""

    text: str
    tokens: int
    finish: str  # "stop", "length" or "cancelled"


@dataclass(frozen=True, slots=True)
class Sample:
    """One drawn text, as training needs it.

    Attributes:
        tokens: Ids as drawn, the end token included when the model ended the text itself.
        text: Their text without the end token.
        finish: "stop" or "length".
        log_probabilities: Of each token, where what drew it says so; else empty.
        chosen: Of each token, whether the model had a choice, or the rules wrote it; empty when
            it always had.
    """

    tokens: tuple[int, ...]
    text: str
    finish: str
    log_probabilities: tuple[float, ...] = ()
    chosen: tuple[bool, ...] = ()


class LanguageModel(Protocol):
    """A chat model.

    Raises:
        ModelError: The file cannot be loaded, the context overflowed, the server refused.
        CancelledError: The token was cancelled.
    """

    @property
    def info(self) -> ModelInfo: ...

    def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        grammar: str | Rules | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[str]:
        """Yields pieces of one assistant text.

        ``grammar`` is GBNF for the assistant text, whole or in two parts; a server that has no
        grammar ignores it and the parser judges the call.
        """
        ...

    def sample_group(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        count: int,
        grammar: str | Rules | None = None,
        cancel: CancelToken | None = None,
    ) -> list[Completion]:
        """Draws ``count`` texts from one history; the prompt is evaluated once."""
        ...

    def forget(self) -> None:
        """Drops what earlier calls left evaluated, so that the next one depends on none of them.

        A prompt that is evaluated in parts gives other last digits than one in a piece.
        """
        ...

    def close(self) -> None: ...
