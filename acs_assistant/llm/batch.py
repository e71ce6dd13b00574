"""Many texts at once: the loop behind groups and reinforcement-learning rollouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.errors import ModelError
from acs_assistant.llm.decoding import Context, Sampler, seed_of
from acs_assistant.llm.native import Interrupt, Weights, default_threads
from acs_assistant.llm.port import Sampling

_CELL_STEP: Final = 256


@dataclass(frozen=True, slots=True)
class Sample:
    """One drawn text.

    Attributes:
        tokens: Ids as drawn, the end token included when ``finish`` is "stop".
        text: Their text without the end token.
        finish: "stop" or "length".
    """

    tokens: tuple[int, ...]
    text: str
    finish: str


@dataclass(slots=True)
class Strand:
    """A sequence while it is being drawn. ``position`` is where its next token goes."""

    sequence: int
    position: int
    limit: int
    sampler: Sampler
    tokens: list[int] = field(default_factory=list)
    finish: str = ""

    def draw(self, weights: Weights, context: Context, row: int) -> None:
        token = self.sampler.pick(context, row)
        if token is None:
            self.finish = "stop"
            return
        self.tokens.append(token)
        if token in weights.end_tokens:
            self.finish = "stop"
        elif len(self.tokens) >= self.limit:
            self.finish = "length"


def run(
    weights: Weights,
    context: Context,
    strands: Sequence[Strand],
    on_token: Callable[[int], None] | None = None,
) -> None:
    """Extends strands that hold one drawn token each until every one is finished.

    ``on_token`` hears of every token that is not an end token; for a single strand.
    """
    live = [strand for strand in strands if not strand.finish]
    while live:
        context.extend(
            [strand.tokens[-1] for strand in live],
            [strand.position for strand in live],
            [strand.sequence for strand in live],
        )
        for row, strand in enumerate(live):
            strand.position += 1
            strand.draw(weights, context, row)
            if on_token and strand.tokens[-1] not in weights.end_tokens:
                on_token(strand.tokens[-1])
        live = [strand for strand in live if not strand.finish]
