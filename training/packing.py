"""Sessions packed behind one shared prefix: the prefix is evaluated once per row.

A row is the prefix, then whole sessions; each token sees the prefix and its own session only, and
positions go on from the prefix in every session, so a packed row gives exactly the losses of its
sessions alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from acs_assistant.training.chat import Example


@dataclass(frozen=True, slots=True)
class Batch:
    """R rows of T tokens.

    Attributes:
        tokens: (R, T) ids.
        positions: (R, T) positions for the rotary embedding.
        segment: (R, T) 0 for the prefix, 1.. for sessions, −1 for padding.
        targets: (R, T) the next token where it is to be learned, else −100.
    """

    tokens: Tensor
    positions: Tensor
    segment: Tensor
    targets: Tensor

    def attention(self, dtype: torch.dtype) -> Tensor:
        """(R, 1, T, T) additive mask: causal, and only the prefix or one's own session."""
        own = self.segment[:, :, None] == self.segment[:, None, :]
        prefix = (self.segment == 0)[:, None, :]
        causal = torch.ones(self.tokens.shape[1], self.tokens.shape[1]).tril().bool()
        seen = (own | prefix) & causal
        mask = torch.zeros(seen.shape, dtype=dtype)
        return mask.masked_fill(~seen, torch.finfo(dtype).min)[:, None]


def pack(examples: Sequence[Example], row_tokens: int) -> Batch:
    """One row from sessions of one circuit; those that do not fit any more are an error."""
    prefix = np.array(examples[0].prefix, dtype=np.int64)
    tokens, positions = [prefix], [np.arange(len(prefix))]
    segments, targets = [np.zeros(len(prefix))], [np.full(len(prefix), -100)]
    for number, example in enumerate(examples, start=1):
        ids = example.tokens.astype(np.int64)
        tokens.append(ids)
        positions.append(np.arange(len(prefix), len(prefix) + len(ids)))
        segments.append(np.full(len(ids), number))
        target = np.full(len(ids), -100)
        target[:-1] = np.where(example.learn[1:], ids[1:], -100)
        targets.append(target)
    used = sum(len(part) for part in tokens)
    if used > row_tokens:
        raise ValueError(f"{used} tokens do not fit a row of {row_tokens}")
    spare = row_tokens - used

    def row(parts: list[np.ndarray], fill: int) -> Tensor:
        return torch.tensor(np.concatenate([*parts, np.full(spare, fill)]).astype(np.int64))[None]

    return Batch(row(tokens, 0), row(positions, 0), row(segments, -1), row(targets, -100))


def rows(examples: Sequence[Example], row_tokens: int, seed: int) -> Iterator[Batch]:
    """Endless packed rows; each pass over the examples is shuffled anew, circuits interleaved."""
    rng = np.random.default_rng(seed)
    groups: dict[tuple[int, ...], list[Example]] = defaultdict(list)
    for example in examples:
        if len(example.prefix) + len(example.tokens) <= row_tokens:
            groups[example.prefix].append(example)
    while True:
        plan: list[list[Example]] = []
        for prefix, members in groups.items():
            held: list[Example] = []
            used = len(prefix)
            for index in rng.permutation(len(members)):
                length = len(members[index].tokens)
                if held and used + length > row_tokens:
                    plan.append(held)
                    held, used = [], len(prefix)
                held.append(members[index])
                used += length
            if held:
                plan.append(held)
        for index in rng.permutation(len(plan)):
            yield pack(plan[index], row_tokens)


def stack(batches: Sequence[Batch]) -> Batch:
    return Batch(
        *(
            torch.cat([getattr(b, name) for b in batches])
            for name in ("tokens", "positions", "segment", "targets")
        )
    )
