"""Draws many texts at once: groups in the app, rollouts in reinforcement learning.

A prompt is evaluated once and its keys and values are shared by all texts of its group, which then
advance together, one token of each per call of ``llama_decode``. A small model gains little from
several threads per call (they wait for each other at every node of the graph, and badly so while
ngspice keeps a core busy), so it gets one *lane*, a thread with a context of its own, per core.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.errors import ModelError
from acs_assistant.llm.decoding import Context, Grammar, Sampler
from acs_assistant.llm.gguf_file import WORDING_KEY
from acs_assistant.llm.native import Interrupt, Weights
from acs_assistant.llm.port import Rules, Sampling
from acs_assistant.llm.port import Sample as Sample
from acs_assistant.llm.prefix_cache import PrefixCache, Tokens, shared_tokens

_SMALL_MODEL: Final = 100_000_000
_DEFAULT_CONTEXT: Final = 8192
_SHORTEST_ANSWER: Final = 32
_GRAMMARS_KEPT: Final = 32
_WIDEST_GROUP: Final = 64
_MOST_LANES: Final = 8
_WORTH_RESTORING: Final = 32
_NOTHING: Final[Tokens] = np.zeros(0, np.int32)


@dataclass(slots=True)
class _Strand:
    """A text while it is drawn. ``position`` is where its last drawn token will go."""

    sequence: int
    position: int
    limit: int
    sampler: Sampler
    rules: Rules | None = None
    tokens: list[int] = field(default_factory=list)
    chosen: list[bool] = field(default_factory=list)
    finish: str = ""

    def turn(self, weights: Weights) -> None:
        """Takes up the second part of the rules where the first one ends, or ends there."""
        if self.rules is None:
            return
        marker, rest = self.rules.marker, self.rules.rest
        if marker not in weights.text(self.tokens[-len(marker) :]):
            return
        if rest is None:
            self.finish = "stop"
        else:
            self.sampler.follow(Grammar(weights, rest(weights.text(self.tokens))))
        self.rules = None

    def draw(self, context: Context, row: int, ends: frozenset[int]) -> int | None:
        """Draws a token and returns it unless it ends the text."""
        token = self.sampler.pick(context, row)
        if token is not None:
            self.tokens.append(token)
            self.chosen.append(not self.sampler.forced)
        if token is None or token in ends:
            self.finish = "stop"
            return None
        if len(self.tokens) >= self.limit:
            self.finish = "length"
        return token


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a text is held against: a compiled grammar, and what may follow it."""

    first: Grammar | None = None
    parts: Rules | None = None


class _Lane:
    """A context with one thread that alone may use it, and what the context remembers."""

    def __init__(self, weights: Weights, threads: int) -> None:
        self._weights = weights
        self._threads = threads
        self._context: Context | None = None
        self._held = _NOTHING  # tokens of sequence 0 whose keys and values are kept
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="language-model")

    def submit(
        self,
        prompt: Sequence[int],
        seeds: Sequence[int],
        sampling: Sampling,
        limit: int,
        rules: _Rules,
        interrupt: Interrupt,
        cache: PrefixCache | None = None,
        on_token: Callable[[int], None] | None = None,
    ) -> Future[list[Sample]]:
        """Draws one text per seed. ``on_token`` hears the tokens of the first, as they come."""
        return self._executor.submit(
            self._draw, prompt, seeds, sampling, limit, rules, interrupt, cache, on_token
        )

    def _draw(
        self,
        prompt: Sequence[int],
        seeds: Sequence[int],
        sampling: Sampling,
        limit: int,
        rules: _Rules,
        interrupt: Interrupt,
        cache: PrefixCache | None,
        on_token: Callable[[int], None] | None,
    ) -> list[Sample]:
        if interrupt.is_set:
            raise CancelledError
        context = self._context_for(len(prompt) + len(seeds) * (limit + 1), len(seeds))
        context.interrupt_with(interrupt)
        strands = [
            _Strand(
                index,
                len(prompt),
                limit,
                Sampler(self._weights, sampling, seed, rules.first),
                rules.parts,
            )
            for index, seed in enumerate(seeds)
        ]
        try:
            row = self._evaluate(context, prompt, cache)
            self._advance(context, strands, row, on_token)
        except BaseException:
            self._held = _NOTHING
            context.clear()
            raise
        finally:
            for strand in strands:
                strand.sampler.close()
        for strand in strands[1:]:
            context.drop(strand.sequence)
        self._held = np.array([*prompt, *strands[0].tokens][: context.evaluated(0)], np.int32)
        if cache is not None:
            cache.put(self._held, context.save(0))
        return [
            Sample(tuple(s.tokens), self._weights.text(s.tokens), s.finish, chosen=tuple(s.chosen))
            for s in strands
        ]

    def _evaluate(self, context: Context, prompt: Sequence[int], cache: PrefixCache | None) -> int:
        """Evaluates what of ``prompt`` is new and returns the row of its last token's logits."""
        shared = shared_tokens(self._held, np.asarray(prompt, np.int32))
        self._held = _NOTHING
        if cache is not None:
            stored, entry = cache.longest(prompt)
            if entry is not None and stored > shared + _WORTH_RESTORING:
                context.drop(0)
                shared = stored if context.restore(entry.state, 0) else 0
        # The last token is always evaluated again: its logits are needed.
        shared = min(shared, len(prompt) - 1)
        if not context.drop(0, shared):  # a recurrent memory cannot be cut
            context.clear()
            shared = 0
        return context.prefill(prompt[shared:], start=shared)

    def _advance(
        self,
        context: Context,
        strands: Sequence[_Strand],
        row: int,
        on_token: Callable[[int], None] | None,
    ) -> None:
        ends = self._weights.end_tokens
        rows = [row] * len(strands)
        for strand in strands[1:]:
            context.copy(0, strand.sequence)
        live = list(strands)
        while live:
            for strand, logits in zip(live, rows, strict=False):
                token = strand.draw(context, logits, ends)
                if token is not None:
                    strand.turn(self._weights)
                    if on_token and strand is strands[0]:
                        on_token(token)
            live = [strand for strand in live if not strand.finish]
            if live:
                context.extend(
                    [strand.tokens[-1] for strand in live],
                    [strand.position for strand in live],
                    [strand.sequence for strand in live],
                )
                for strand in live:
                    strand.position += 1
                rows = list(range(len(live)))

    def _context_for(self, cells: int, sequences: int) -> Context:
        """The lane's context, made larger when it has to be."""
        context = self._context
        if context and context.cells >= cells and context.sequences >= sequences:
            return context
        if context:
            cells = max(cells, context.cells)
            sequences = max(sequences, context.sequences)
            context.close()
        self._context, self._held = None, _NOTHING
        room = 1 << max(10, (cells - 1).bit_length())
        self._context = Context(
            self._weights, cells=room, sequences=sequences, threads=self._threads
        )
        return self._context

    def forget(self) -> None:
        self._executor.submit(self._clear).result()

    def _clear(self) -> None:
        self._held = _NOTHING
        if self._context:
            self._context.clear()

    def close(self) -> None:
        self._executor.shutdown(wait=True)
        if self._context:
            self._context.close()
            self._context = None


class BatchSampler:
    """A GGUF that draws groups of texts for many prompts at once. Use it from one thread.

    Args:
        path: The GGUF.
        context: Tokens that prompt and answer may have together; what the model was trained for,
            and at most 8192, by default.
        threads: Cores to use; all by default.
        lanes: Threads with a context each, over which the cores are divided; by default one per
            core (at most 8) for a model under 100 million parameters, and one otherwise.
        cache: Bytes of evaluated prompts that are kept between calls for several prompts.

    Raises:
        ModelError: The file is damaged or llama.cpp cannot load it.
    """

    def __init__(
        self,
        path: Path,
        *,
        context: int | None = None,
        threads: int | None = None,
        lanes: int | None = None,
        cache: int = 1 << 30,
    ) -> None:
        self.weights = Weights(path)
        cores = threads or _cores()
        small = self.weights.header.parameters < _SMALL_MODEL
        count = lanes or (min(cores, _MOST_LANES) if small else 1)
        self.context = context or min(self.weights.trained_context, _DEFAULT_CONTEXT)
        self.wording = self.weights.header.text(WORDING_KEY)
        self._lanes = [_Lane(self.weights, max(1, cores // count)) for _ in range(count)]
        self._cache = PrefixCache(cache)
        self._grammars: dict[str, Grammar] = {}
        self._interrupts: weakref.WeakSet[Interrupt] = weakref.WeakSet()

    def sample(
        self,
        prompts: Sequence[str | Sequence[int]],
        count: int,
        sampling: Sampling,
        grammars: str | Rules | Sequence[str | Rules | None] | None = None,
        cancel: CancelToken | None = None,
    ) -> list[list[Sample]]:
        """Draws ``count`` texts for each prompt.

        Args:
            prompts: Rendered text, its markers as the chat template writes them, or token ids.
            grammars: GBNF or rules for all prompts, or one (or None) for each.

        Returns:
            For each prompt its samples. The same call with the same history of calls gives the
            same samples on one machine.

        Raises:
            ModelError: A prompt leaves no room for an answer, or a grammar does not parse.
            CancelledError: ``cancel`` was cancelled; nothing is returned.
        """
        if grammars is None or isinstance(grammars, (str, Rules)):
            grammars = [grammars] * len(prompts)
        interrupt = self.interrupt(cancel)
        ids = [self.tokens(prompt) for prompt in prompts]
        # A group is divided only where a lane would idle: each part evaluates the prompt again.
        uneven = len(ids) < 2 * len(self._lanes) and len(ids) % len(self._lanes) != 0
        parts = min(len(self._lanes), count) if uneven else 1
        parts = max(parts, -(-count // _WIDEST_GROUP))
        cache = self._cache if len(ids) > 1 else None
        jobs: list[list[Future[list[Sample]]]] = []
        for number, (prompt, text) in enumerate(zip(ids, grammars, strict=True)):
            limit = self.limit(prompt, sampling)
            seeds = [seed_of(sampling.seed, number * count + index) for index in range(count)]
            bounds = [count * part // parts for part in range(parts + 1)]
            jobs.append(
                [
                    self._lanes[(number * parts + part) % len(self._lanes)].submit(
                        prompt,
                        seeds[low:high],
                        sampling,
                        limit,
                        self._rules(text),
                        interrupt,
                        cache,
                    )
                    for part, (low, high) in enumerate(pairwise(bounds))
                ]
            )
        return [[sample for part in group for sample in part] for group in _gather(jobs, interrupt)]

    def stream(
        self,
        prompt: str | Sequence[int],
        sampling: Sampling,
        grammar: str | Rules | None,
        interrupt: Interrupt,
        on_token: Callable[[int], None],
    ) -> Future[list[Sample]]:
        """Draws one text on the first lane; ``on_token`` is called there with each token."""
        ids = self.tokens(prompt)
        limit = self.limit(ids, sampling)
        seeds = [seed_of(sampling.seed, 0)]
        rules = self._rules(grammar)
        return self._lanes[0].submit(
            ids, seeds, sampling, limit, rules, interrupt, on_token=on_token
        )

    def tokens(self, prompt: str | Sequence[int]) -> list[int]:
        return self.weights.tokenize(prompt) if isinstance(prompt, str) else list(prompt)

    def limit(self, prompt: Sequence[int], sampling: Sampling) -> int:
        """Tokens that the answer to ``prompt`` may have.

        Raises:
            ModelError: Too few are left for an answer, or the prompt is empty.
        """
        if not prompt:
            raise ModelError("the prompt is empty.", file=self.weights.path)
        left = self.context - len(prompt)
        if left < min(_SHORTEST_ANSWER, sampling.max_tokens):
            raise ModelError(
                f"the conversation has {len(prompt)} tokens and the model's context is "
                f"{self.context}: no room is left for an answer.",
                hint="Start a new session from the best sizing, or use a model that reads more.",
                file=self.weights.path,
            )
        return min(left, sampling.max_tokens)

    def _rules(self, grammar: str | Rules | None) -> _Rules:
        if grammar is None:
            return _Rules()
        if isinstance(grammar, Rules):
            return _Rules(self._compiled(grammar.opening), grammar)
        return _Rules(self._compiled(grammar))

    def _compiled(self, text: str) -> Grammar:
        if text not in self._grammars:
            if len(self._grammars) >= _GRAMMARS_KEPT:
                self._grammars.pop(next(iter(self._grammars)))
            self._grammars[text] = Grammar(self.weights, text)
        return self._grammars[text]

    def interrupt(self, cancel: CancelToken | None = None) -> Interrupt:
        """A switch for one call, thrown by ``cancel`` and by ``close``."""
        interrupt = Interrupt()
        self._interrupts.add(interrupt)
        if cancel is not None:
            cancel.on_cancel(interrupt.set)
        return interrupt

    def forget(self) -> None:
        """Drops every prompt that is kept evaluated."""
        for lane in self._lanes:
            lane.forget()
        self._cache.clear()

    def close(self) -> None:
        """Stops what is being drawn and frees the model."""
        for interrupt in list(self._interrupts):
            interrupt.set()
        for lane in self._lanes:
            lane.close()
        self._grammars.clear()
        self.weights.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def seed_of(seed: int, index: int) -> int:
    """A seed per text of a group; 0xFFFFFFFF is llama.cpp's word for "any" and is left out."""
    return (seed * 1_000_003 + index * 7_919) % 0xFFFFFFFF


def _gather(
    jobs: Sequence[Sequence[Future[list[Sample]]]], interrupt: Interrupt
) -> list[list[list[Sample]]]:
    """Results in order. A fault in one stops the others before it is raised."""
    try:
        return [[part.result() for part in group] for group in jobs]
    except BaseException:
        interrupt.set()
        wait([part for group in jobs for part in group])
        raise


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
