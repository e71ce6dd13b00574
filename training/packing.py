"""Texts that begin alike, evaluated as one prefix and a batch of what follows it.

The prefix runs once, its keys and values are shared by every row, and gradients flow back through
them, so a batch gives exactly the losses of its texts alone at a fraction of the work. Supervised
batches share a circuit's description, groups of responses share their whole history.
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
    """S texts behind one prefix of P tokens, padded to L.

    Attributes:
        prefix: (P,) ids.
        tokens: (S, L) ids of what follows.
        targets: (S, L) the next token where it is to be learned, else −100.
    """

    prefix: Tensor
    tokens: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(self.prefix.to(device), self.tokens.to(device), self.targets.to(device))

    def attention(self, dtype: torch.dtype) -> Tensor:
        """(1, 1, L, P + L) additive mask: the whole prefix, then causal. Padding comes last."""
        length, before = self.tokens.shape[1], len(self.prefix)
        device = self.tokens.device
        seen = torch.ones(length, before + length, dtype=torch.bool, device=device)
        seen = seen.tril(diagonal=before)
        mask = torch.zeros(seen.shape, dtype=dtype, device=device)
        return mask.masked_fill(~seen, torch.finfo(dtype).min)[None, None]


def pack(examples: Sequence[Example]) -> Batch:
    """One batch from texts that share their prefix.

    Raises:
        ValueError: They do not.
    """
    if len({example.prefix for example in examples}) != 1:
        raise ValueError("texts of one batch share their prefix")
    longest = max(len(example.tokens) for example in examples)
    tokens = np.zeros((len(examples), longest), dtype=np.int64)
    targets = np.full((len(examples), longest), -100, dtype=np.int64)
    for row, example in enumerate(examples):
        count = len(example.tokens)
        tokens[row, :count] = example.tokens
        targets[row, : count - 1] = np.where(example.learn[1:], example.tokens[1:], -100)
    prefix = torch.tensor(examples[0].prefix, dtype=torch.int64)
    return Batch(prefix, torch.from_numpy(tokens), torch.from_numpy(targets))


def batches(examples: Sequence[Example], tokens: int, seed: int) -> Iterator[Batch]:
    """Endless batches of at most ``tokens`` padded tokens, texts of like length together.

    Each pass goes over every example once, in a new order, circuits interleaved.
    """
    rng = np.random.default_rng(seed)
    groups: dict[tuple[int, ...], list[Example]] = defaultdict(list)
    for example in examples:
        groups[example.prefix].append(example)
    while True:
        plan: list[list[Example]] = []
        for members in groups.values():
            noise = rng.uniform(0.9, 1.1, len(members))
            order = np.argsort([len(e.tokens) * n for e, n in zip(members, noise, strict=True)])
            held: list[Example] = []
            longest = 0
            for index in order:
                longest = max(longest, len(members[index].tokens))
                if held and longest * (len(held) + 1) > tokens:
                    plan.append(held)
                    held, longest = [], len(members[index].tokens)
                held.append(members[index])
            plan.append(held)
        for index in rng.permutation(len(plan)):
            yield pack(plan[index])
