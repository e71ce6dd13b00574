"""A language model that says what it is told to: for tests and demonstrations without weights."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.errors import ModelError
from acs_assistant.llm.port import Completion, Message, ModelInfo, Rules, Sampling


@dataclass(frozen=True, slots=True)
class Request:
    """What one call asked for."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...]
    sampling: Sampling
    grammar: str | Rules | None


Reply = str | Exception | Callable[[Request], str]
"""A text, an exception to raise, or a function that makes the text from the request."""


class ScriptedModel:
    """``LanguageModel`` over a queue of replies, each used once and in order.

    Args:
        delay: Seconds before each piece; a cancelled token ends the wait at once.

    Attributes:
        requests: Every call so far, oldest first.
    """

    def __init__(self, *replies: Reply, name: str = "scripted", delay: float = 0.0) -> None:
        self._replies: deque[Reply] = deque(replies)
        self._delay = delay
        self._info = ModelInfo(
            name=name,
            path=None,
            sha256="",
            architecture="script",
            parameters=0,
            quantization="",
            context=0,
        )
        self.requests: list[Request] = []
        self.closed = False

    @property
    def info(self) -> ModelInfo:
        return self._info

    def queue(self, *replies: Reply) -> None:
        """Adds replies after those that wait."""
        self._replies.extend(replies)

    def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        grammar: str | Rules | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[str]:
        """Yields the next reply word by word."""
        stopped = threading.Event()
        if cancel is not None:
            cancel.raise_if_cancelled()
            cancel.on_cancel(stopped.set)
        text = self._next(Request(tuple(messages), tuple(tools), sampling, grammar))
        for count, piece in enumerate(re.findall(r"\s*\S+\s*$|\s*\S+|\s+", text)):
            if count >= sampling.max_tokens:
                return
            if stopped.wait(self._delay):
                raise CancelledError
            yield piece

    def sample_group(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        count: int,
        grammar: str | Rules | None = None,
        cancel: CancelToken | None = None,
    ) -> list[Completion]:
        """Takes the next ``count`` replies; each counts as one request."""
        completions = []
        for _ in range(count):
            pieces = list(self.stream(messages, tools, sampling, grammar, cancel))
            finish = "length" if len(pieces) >= sampling.max_tokens else "stop"
            completions.append(Completion("".join(pieces), len(pieces), finish))
        return completions

    def _next(self, request: Request) -> str:
        self.requests.append(request)
        if not self._replies:
            raise ModelError(
                f"the script has no reply left for request {len(self.requests)}.",
                hint="Queue one with ScriptedModel.queue.",
            )
        reply = self._replies.popleft()
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, str) else reply(request)

    def forget(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        self.closed = True
