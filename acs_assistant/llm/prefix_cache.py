"""Evaluated beginnings of prompts, kept outside the context for when they come again.

In a rollout or an evaluation many conversations grow by turns, in rotation. Copying keys and values
back takes milliseconds; evaluating them again takes longer than drawing the answer.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]
State = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Entry:
    """``state`` holds the keys and values of ``tokens``, as ``Context.save`` gives them."""

    tokens: Tokens
    state: State


class PrefixCache:
    """The entries used last, within ``limit`` bytes. Safe to share between threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._lock = threading.Lock()

    def longest(self, prompt: Sequence[int]) -> tuple[int, Entry | None]:
        """The entry that shares most leading tokens with ``prompt``, and how many they are."""
        wanted = np.asarray(prompt, np.int32)
        with self._lock:
            best, key = 0, b""
            for name, entry in self._entries.items():
                shared = shared_tokens(entry.tokens, wanted)
                if shared > best:
                    best, key = shared, name
            if not best:
                return 0, None
            self._entries.move_to_end(key)
            return best, self._entries[key]

    def put(self, tokens: Tokens, state: State) -> None:
        """Keeps a state. Entries that are a beginning of ``tokens`` are superseded."""
        added = Entry(tokens, state)
        with self._lock:
            for name, entry in list(self._entries.items()):
                if shared_tokens(entry.tokens, added.tokens) == len(entry.tokens):
                    self._drop(name)
            self._entries[added.tokens.tobytes()] = added
            self._size += state.nbytes
            while self._size > self._limit:
                self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Drops everything."""
        with self._lock:
            self._entries.clear()
            self._size = 0

    def _drop(self, name: bytes) -> None:
        self._size -= self._entries.pop(name).state.nbytes


def shared_tokens(first: Tokens, second: Tokens) -> int:
    """Length of the common beginning."""
    length = min(len(first), len(second))
    differing = np.flatnonzero(first[:length] != second[:length])
    return int(differing[0]) if len(differing) else length
