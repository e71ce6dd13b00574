"""A llama.cpp context, its batch, and samplers that obey a grammar."""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from acs_assistant.cancel import CancelledError
from acs_assistant.errors import InternalError, ModelError
from acs_assistant.llm.native import Interrupt, Weights, complaint, forget_log, lib
from acs_assistant.llm.port import Sampling

PREFILL: Final = 512
"""Prompt tokens per call of llama_decode."""

_CANDIDATE: Final = np.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
_ABORTED: Final = 2
_NO_CHOICE: Final = 0.95


class Context:
    """Keys and values of up to ``sequences`` texts, and the batch that extends them.

    Args:
        cells: Tokens that fit, over all sequences (``unified``) or in each of them.
        unified: One pool of cells in which sequences share a prefix at no cost. Otherwise each
            sequence owns its cells and attends to those alone.
    """

    def __init__(
        self, weights: Weights, *, cells: int, sequences: int, threads: int, unified: bool = True
    ) -> None:
        self.cells = cells
        self.sequences = sequences
        self.capacity = max(PREFILL, sequences)
        parameters = lib.llama_context_default_params()
        parameters.n_ctx = cells if unified else cells * sequences
        parameters.n_batch = parameters.n_ubatch = self.capacity
        parameters.n_seq_max = sequences
        parameters.n_outputs_max = sequences
        parameters.n_threads = parameters.n_threads_batch = threads
        # Twice to four times slower on a CPU.
        parameters.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        parameters.kv_unified = unified
        forget_log()
        self.handle: Any = lib.llama_init_from_model(weights.model, parameters)
        if not self.handle:
            raise ModelError(
                f"no memory for a context of {cells} tokens: {complaint()}",
                hint="Set a smaller context, or close other programs.",
                file=weights.path,
            )
        self._memory: Any = lib.llama_get_memory(self.handle)
        self._interrupt = Interrupt()
        self._token = np.zeros(self.capacity, np.int32)
        self._position = np.zeros(self.capacity, np.int32)
        self._sequence = np.zeros(self.capacity, np.int32)
        self._output = np.zeros(self.capacity, np.int8)
        self._one = np.ones(self.capacity, np.int32)
        # llama.cpp wants a pointer to each token's own list of sequences.
        first = self._sequence.ctypes.data
        self._lists = first + 4 * np.arange(self.capacity, dtype=np.uintp)
        self._batch = lib.llama_batch(
            n_tokens=0,
            token=self._token.ctypes.data_as(ctypes.POINTER(lib.llama_token)),
            embd=None,
            pos=self._position.ctypes.data_as(ctypes.POINTER(lib.llama_pos)),
            n_seq_id=self._one.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=self._lists.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(lib.llama_seq_id))),
            logits=self._output.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def interrupt_with(self, interrupt: Interrupt) -> None:
        """Evaluation stops soon after ``interrupt`` is set."""
        self._interrupt = interrupt  # the buffer has to outlive its use
        lib.llama_set_abort_callback(self.handle, Interrupt.callback, interrupt.address)

    def prefill(self, tokens: Sequence[int], *, start: int = 0, sequence: int = 0) -> int:
        """Evaluates a prompt from position ``start`` on.

        Returns:
            Row of the last token's logits, for ``Sampler.pick``.

        Raises:
            CancelledError: The interrupt was set; what was evaluated stays.
        """
        row = 0
        for begin in range(0, len(tokens), self.capacity):
            part = np.asarray(tokens[begin : begin + self.capacity], np.int32)
            count = len(part)
            self._token[:count] = part
            self._position[:count] = np.arange(start + begin, start + begin + count)
            self._sequence[:count] = sequence
            self._output[:count] = 0
            self._output[count - 1] = 1
            self._decode(count)
            row = count - 1
        return row

    def extend(
        self, tokens: Sequence[int], positions: Sequence[int], sequences: Sequence[int]
    ) -> None:
        """Evaluates one further token of each sequence; token ``i``'s logits are row ``i``."""
        count = len(tokens)
        self._token[:count] = tokens
        self._position[:count] = positions
        self._sequence[:count] = sequences
        self._output[:count] = 1
        self._decode(count)

    def _decode(self, count: int) -> None:
        self._batch.n_tokens = count
        status = lib.llama_decode(self.handle, self._batch)
        if status == _ABORTED or self._interrupt.is_set:
            raise CancelledError
        if status == 1:
            raise ModelError(
                "the conversation does not fit into the model's context.",
                hint="Start a new session, ask for fewer alternatives, or set a larger context.",
            )
        if status != 0:
            raise InternalError(f"llama_decode gave {status}: {complaint()}")

    def copy(self, source: int, target: int) -> None:
        """Sequence ``target`` goes on from all of ``source``."""
        lib.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def drop(self, sequence: int, start: int = 0) -> bool:
        """Forgets ``sequence`` from position ``start`` on; False if this memory cannot."""
        return bool(lib.llama_memory_seq_rm(self._memory, sequence, start, -1))

    def save(self, sequence: int) -> npt.NDArray[np.uint8]:
        """A copy of the keys and values of ``sequence``."""
        data = np.empty(int(lib.llama_state_seq_get_size(self.handle, sequence)), np.uint8)
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        lib.llama_state_seq_get_data(self.handle, pointer, len(data), sequence)
        return data

    def restore(self, state: npt.NDArray[np.uint8], sequence: int) -> bool:
        """Puts back what ``save`` gave; False, with nothing held, when there is no room."""
        pointer = state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        return bool(lib.llama_state_seq_set_data(self.handle, pointer, len(state), sequence))

    def evaluated(self, sequence: int) -> int:
        """Number of positions of ``sequence`` that are held."""
        return int(lib.llama_memory_seq_pos_max(self._memory, sequence)) + 1

    def clear(self) -> None:
        lib.llama_memory_clear(self._memory, False)

    def close(self) -> None:
        if self.handle:
            lib.llama_free(self.handle)
            self.handle = None


class Grammar:
    """A compiled GBNF grammar, from which each sampler takes a copy.

    Raises:
        ModelError: ``text`` does not parse.
    """

    def __init__(self, weights: Weights, text: str) -> None:
        forget_log()
        self.handle: Any = lib.llama_sampler_init_grammar(
            weights.vocab, text.encode("utf-8"), b"root"
        )
        if not self.handle:
            raise ModelError(
                f"the grammar does not parse: {complaint()}",
                hint="It needs GBNF with a rule named 'root'.",
            )

        # Freed with its last user: a text that waits for its lane may outlive a cache of grammars.
        weakref.finalize(self, lib.llama_sampler_free, self.handle)


class Sampler:
    """Draws tokens for one sequence.

    A grammar costs time in proportion to the vocabulary, so the token is drawn first and only
    that one is held against the grammar; the whole vocabulary is masked, and the draw repeated,
    only when it was refused (the scheme of llama.cpp's ``common_sampler``). For plain temperature
    sampling this gives the same distribution as masking first.

    Attributes:
        forced: Whether the last token was the grammar's: it refused what was drawn first, and of
            what it admits the model would all but surely draw this one.
    """

    def __init__(
        self, weights: Weights, sampling: Sampling, seed: int, grammar: Grammar | None = None
    ) -> None:
        self._weights = weights
        self._chain: Any = _chain(sampling, seed)
        self._grammar: Any = lib.llama_sampler_clone(grammar.handle) if grammar else None
        self.forced = False
        self._single: Any = lib.llama_token_data()
        self._single_array = lib.llama_token_data_array(
            data=ctypes.pointer(self._single), size=1, selected=-1, sorted=False
        )

    def follow(self, grammar: Grammar) -> None:
        """From here on the text is held against ``grammar``, from its beginning."""
        if self._grammar:
            lib.llama_sampler_free(self._grammar)
        self._grammar = lib.llama_sampler_clone(grammar.handle)

    def pick(self, context: Context, row: int) -> int | None:
        """The next token; None when the grammar admits no further one."""
        token = int(lib.llama_sampler_sample(self._chain, context.handle, row))
        self.forced = False
        if self._grammar is None:
            return token
        if not self._admits(token):
            drawn = self._draw_masked(context, row)
            if drawn is None:
                return None
            token = drawn
        if token not in self._weights.end_tokens:
            lib.llama_sampler_accept(self._grammar, token)
        return token

    def admit(self, token: int) -> bool:
        """Whether the grammar has ``token`` next; if so, the text goes on from it."""
        admitted = self._grammar is None or self._admits(token)
        if admitted and self._grammar is not None:
            lib.llama_sampler_accept(self._grammar, token)
        return admitted

    def _admits(self, token: int) -> bool:
        self._single.id, self._single.logit = token, 0.0
        lib.llama_sampler_apply(self._grammar, ctypes.byref(self._single_array))
        return math.isfinite(self._single.logit)

    def _draw_masked(self, context: Context, row: int) -> int | None:
        size = self._weights.vocab_size
        logits = np.ctypeslib.as_array(lib.llama_get_logits_ith(context.handle, row), shape=(size,))
        candidates = np.zeros(size, _CANDIDATE)
        candidates["id"] = np.arange(size, dtype=np.int32)
        candidates["logit"] = logits
        lib.llama_sampler_apply(self._grammar, ctypes.byref(_candidates(candidates)))
        admitted = candidates[np.isfinite(candidates["logit"])]
        if not len(admitted):
            return None
        array = _candidates(admitted)
        lib.llama_sampler_apply(self._chain, ctypes.byref(array))
        drawn = array.data[array.selected]
        self.forced = len(admitted) == 1 or drawn.p > _NO_CHOICE
        return int(drawn.id)

    def close(self) -> None:
        if self._chain:
            lib.llama_sampler_free(self._chain)
            self._chain = None
        if self._grammar:
            lib.llama_sampler_free(self._grammar)
            self._grammar = None


def _chain(sampling: Sampling, seed: int) -> Any:
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    if sampling.temperature <= 0:
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_greedy())
        return chain
    if sampling.top_k > 0:
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_k(sampling.top_k))
    if sampling.top_p < 1:
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_p(sampling.top_p, 1))
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_temp(sampling.temperature))
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_dist(seed))
    return chain


def _candidates(array: npt.NDArray[np.void]) -> Any:
    """A view on ``array``, which has to outlive it."""
    data = array.ctypes.data_as(ctypes.POINTER(lib.llama_token_data))
    return lib.llama_token_data_array(data=data, size=len(array), selected=-1, sorted=False)
