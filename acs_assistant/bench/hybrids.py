"""Proposers that a designer would really use: a model and an optimizer together.

``model+OPTIMIZER``   the model proposes until it stops improving; the optimizer goes on from there.
``group+OPTIMIZER``   the optimizer's first points are a group of proposals drawn from the model.
``rank+OPTIMIZER``    the optimizer draws candidates; the one that the model finds likeliest is
                      simulated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from acs_assistant.cancel import CancelToken
from acs_assistant.domain import Proposal, Sizing, Task, Turn
from acs_assistant.engine.evaluate import best_turn
from acs_assistant.engine.proposers import ModelProposer, Prompted, Proposer, SamplingPolicy
from acs_assistant.engine.services import Services
from acs_assistant.errors import InputError, nearest
from acs_assistant.events import TextDelta
from acs_assistant.llm.port import LanguageModel, ModelInfo
from acs_assistant.optimizers.sobol import sobol_points
from acs_assistant.optimizers.space import DesignSpace

KINDS = ("model", "group", "rank")

_PATIENCE = 3  # proposals of the model in a row that may fail to improve
_IMPROVEMENT = 0.1  # of what the score lacks of 1 that a proposal has to bring to count as one
_NEAR = 0.9  # score from which on the neighbourhood of the model's best sizing is worth a look
_NEIGHBOURHOOD = 0.1  # of the unit cube, each way, around the model's best sizing
_GROUP = 8
_CANDIDATES = 16
_KERNEL = 0.1  # width of the model's density around each of its proposals, in the unit cube
_REFRESH = 5  # turns after which the model is asked for a new group
_AS_IT_IS = SamplingPolicy(first_temperature=1.0, temperature=1.0, top_p=1.0)

Items = Iterator[TextDelta | Prompted | Proposal]


def hybrid_names(optimizers: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{kind}+{optimizer}" for kind in KINDS for optimizer in optimizers)


def make_hybrid(name: str, services: Services, *, budget: int, model: str = "") -> Proposer:
    """Makes the hybrid called ``name``.

    Raises:
        InputError: Unknown name.
        ModelError: The model cannot be opened.
    """
    kind, _, optimizer = name.partition("+")
    if name not in hybrid_names(services.optimizers):
        raise InputError(
            f"unknown proposer '{name}'.", hint=nearest(name, hybrid_names(services.optimizers))
        )
    second = services.proposer(optimizer, budget=budget)
    if kind == "model":
        first = services.proposer("model", budget=budget, model=model)
        return HandOver(name, first, second, budget)
    language_model = services.model(model)
    if kind == "group":
        return SeededOptimizer(name, language_model, second)
    return RankedOptimizer(name, language_model, second)


class HandOver:
    """The model first, then the optimizer, which is told all that the model tried.

    The model proposes until ``_PATIENCE`` proposals in a row brought little, for at most half of
    the budget. Between the two come a few points around the best sizing, so that the optimizer's
    first look is at that neighbourhood and not at the whole box. They are left out where that
    sizing is far from the specs: a model that does not know the circuit found no way into it.
    """

    def __init__(self, name: str, model: Proposer, optimizer: Proposer, budget: int) -> None:
        self.name = name
        self._first = model
        self._second = optimizer
        self._most = max(1, budget // 2)
        self._known = max(10, budget // 5)
        self._handed_over_at: int | None = None
        self._around: Iterator[tuple[float, ...]] | None = None

    @property
    def model(self) -> ModelInfo | None:
        return self._first.model

    def propose(
        self,
        task: Task,
        turns: Sequence[Turn],
        seed: int,
        cancel: CancelToken,
        avoid: Sequence[Sizing] = (),
    ) -> Items:
        if self._handed_over_at is None and self._is_done(turns):
            self._handed_over_at = len(turns)
        if self._handed_over_at is None:
            yield from self._first.propose(task, turns, seed, cancel, avoid)
            return
        best = best_turn(turns, task)
        simulated = sum(turn.evaluation is not None for turn in turns)
        if best is None or best.decision is None or simulated >= self._known or not _near(best):
            yield from self._second.propose(task, turns, seed, cancel, avoid)
            return
        space = DesignSpace(task.circuit)
        if self._around is None:
            self._around = sobol_points(space.dimension, seed)
        centre = space.to_unit(best.decision.sizing)
        offsets = [(2 * x - 1) * _NEIGHBOURHOOD for x in next(self._around)]
        sizing = space.from_unit([c + o for c, o in zip(centre, offsets, strict=True)])
        yield Proposal(sizing, self.name)

    def _is_done(self, turns: Sequence[Turn]) -> bool:
        if len(turns) >= self._most:
            return True
        best, since = -1.0, 0
        for turn in turns:
            score = turn.evaluation.score.value if turn.evaluation is not None else -1.0
            enough = best + _IMPROVEMENT * (1.0 - best)
            since = 0 if score > best and score >= enough else since + 1
            best = max(best, score)
        return since >= _PATIENCE


def _near(turn: Turn) -> bool:
    return turn.evaluation is not None and turn.evaluation.score.value >= _NEAR


class SeededOptimizer:
    """A group of the model's proposals, drawn before anything is simulated; then the optimizer."""

    def __init__(self, name: str, model: LanguageModel, optimizer: Proposer) -> None:
        self.name = name
        self._model = model
        self._second = optimizer
        self._group: list[Sizing] | None = None

    @property
    def model(self) -> ModelInfo | None:
        return self._model.info

    def propose(
        self,
        task: Task,
        turns: Sequence[Turn],
        seed: int,
        cancel: CancelToken,
        avoid: Sequence[Sizing] = (),
    ) -> Items:
        started = time.monotonic()
        if self._group is None:
            self._group = draw_group(self._model, task, turns, _GROUP, seed, cancel)
        while self._group:
            sizing = self._group.pop(0)
            if sizing not in avoid:
                yield Proposal(sizing, self.name, seconds=time.monotonic() - started)
                return
        yield from self._second.propose(task, turns, seed, cancel, avoid)


class RankedOptimizer:
    """The optimizer's candidates, ranked by a density made of the model's own proposals.

    The model is sampled for a group now and then, with the history as it is; a candidate's rank is
    a Gaussian kernel density over that group in the unit cube of the parameters.
    """

    def __init__(self, name: str, model: LanguageModel, optimizer: Proposer) -> None:
        self.name = name
        self._model = model
        self._second = optimizer
        self._centres: list[tuple[float, ...]] = []
        self._drawn_at = -_REFRESH

    @property
    def model(self) -> ModelInfo | None:
        return self._model.info

    def propose(
        self,
        task: Task,
        turns: Sequence[Turn],
        seed: int,
        cancel: CancelToken,
        avoid: Sequence[Sizing] = (),
    ) -> Items:
        started = time.monotonic()
        space = DesignSpace(task.circuit)
        if len(turns) - self._drawn_at >= _REFRESH:
            group = draw_group(self._model, task, turns, _GROUP, seed, cancel)
            self._centres, self._drawn_at = [space.to_unit(s) for s in group], len(turns)
        candidates: list[Proposal] = []
        for number in range(_CANDIDATES):
            for item in self._second.propose(task, turns, seed + number, cancel, avoid):
                if isinstance(item, Proposal):
                    candidates.append(item)
        best = max(candidates, key=lambda c: self._density(space.to_unit(c.sizing)))
        yield replace(best, proposer=self.name, seconds=time.monotonic() - started)

    def _density(self, point: Sequence[float]) -> float:
        """Logarithm of the kernel density, up to a constant; 0 everywhere without proposals."""
        if not self._centres:
            return 0.0
        exponents = [
            -sum((x - c) ** 2 for x, c in zip(point, centre, strict=True)) / (2 * _KERNEL**2)
            for centre in self._centres
        ]
        most = max(exponents)
        return most + math.log(sum(math.exp(e - most) for e in exponents))


def draw_group(
    model: LanguageModel,
    task: Task,
    turns: Sequence[Turn],
    count: int,
    seed: int,
    cancel: CancelToken,
) -> list[Sizing]:
    """Usable proposals, each once, of ``count`` that the model draws from one history."""
    _, drawn = ModelProposer(model, _AS_IT_IS).group(task, turns, seed, count, 0, cancel)
    cancel.raise_if_cancelled()
    group: list[Sizing] = []
    for proposal in drawn:
        if not proposal.error and proposal.sizing not in group:
            group.append(proposal.sizing)
    return group
