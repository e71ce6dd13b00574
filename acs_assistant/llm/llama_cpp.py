"""The language model on this machine: a GGUF through llama.cpp."""

from __future__ import annotations

import codecs
import queue
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

from acs_assistant.cancel import CancelToken
from acs_assistant.llm.batch import BatchSampler, Sample
from acs_assistant.llm.chat_template import ChatTemplate
from acs_assistant.llm.port import Completion, Message, ModelInfo, Rules, Sampling


class LlamaCppModel:
    """``LanguageModel`` over a GGUF.

    Every call runs on the model's own threads, so the caller's thread only waits; a turn that
    extends the last one's conversation evaluates what is new and nothing else.

    Args:
        info: What is recorded with each turn (``models.open_model`` fills it in).
        path: The GGUF.
        context: Tokens of prompt and answer; the model's own limit, at most 8192, by default.
        threads: Cores to use; all by default.

    Raises:
        ModelError: The file is damaged, llama.cpp cannot load it, or its template is broken.
    """

    def __init__(
        self,
        info: ModelInfo,
        path: Path,
        *,
        context: int | None = None,
        threads: int | None = None,
    ) -> None:
        self._info = info
        self._sampler = BatchSampler(path, context=context, threads=threads)
        weights = self._sampler.weights
        self._template = ChatTemplate(
            weights.chat_template,
            bos_text=weights.bos_text,
            eos_text=weights.eos_text,
            control_texts=weights.control_texts,
            name=path.name,
        )

    @property
    def info(self) -> ModelInfo:
        return self._info

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> str:
        """The prompt as text; ``BatchSampler.tokens`` gives its ids."""
        return self._template.render(messages, tools)

    def prompt_tokens(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> int:
        """How many tokens the model reads before it answers."""
        return len(self._sampler.tokens(self.render(messages, tools)))

    def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        grammar: str | Rules | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[str]:
        """See ``LanguageModel.stream``. Closing the iterator stops the model."""
        if cancel is not None:
            cancel.raise_if_cancelled()
        piece = self._sampler.weights.piece
        pieces: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        interrupt = self._sampler.interrupt(cancel)
        future: Future[list[Sample]] = self._sampler.stream(
            self.render(messages, tools),
            sampling,
            grammar,
            interrupt,
            lambda token: pieces.put(piece(token)),
        )
        future.add_done_callback(lambda _: pieces.put(None))
        characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
        try:
            while (data := pieces.get()) is not None:
                if text := characters.decode(data):
                    yield text
            future.result()
            if cancel is not None:
                cancel.raise_if_cancelled()
            if text := characters.decode(b"", final=True):
                yield text
        finally:
            interrupt.set()
            wait([future])

    def sample_group(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        count: int,
        grammar: str | Rules | None = None,
        cancel: CancelToken | None = None,
    ) -> list[Completion]:
        """See ``LanguageModel.sample_group``."""
        if cancel is not None:
            cancel.raise_if_cancelled()
        prompt = self.render(messages, tools)
        [group] = self._sampler.sample([prompt], count, sampling, grammar, cancel)
        return [Completion(s.text, len(s.tokens), s.finish) for s in group]

    def forget(self) -> None:
        """See ``LanguageModel.forget``."""
        self._sampler.forget()

    def close(self) -> None:
        self._sampler.close()
