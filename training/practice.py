"""Sessions that begin with the model's own turns: what it got right, and corrections of the rest.

A model that imitates ready-made histories never meets its own mistakes. Here it plays, ngspice
measures, a turn that meets the specs is kept as it was, and one that does not is followed by the
correction that a designer would make from it (dataset aggregation, arXiv 1011.0686).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from acs_assistant.domain import Spec, Task
from acs_assistant.llm.batch import BatchSampler
from acs_assistant.llm.port import Sampling
from acs_assistant.sim.port import Simulator
from acs_assistant.training.archive import position_of
from acs_assistant.training.rollout import Attempt, History, play_turn
from acs_assistant.training.sessions import Draft, Step, Workshop


def practice(
    workshop: Workshop,
    tasks: Sequence[tuple[Spec, ...]],
    sampler: BatchSampler,
    simulator: Simulator,
    *,
    turns: int = 3,
    temperature: float = 0.7,
    seed: int = 1,
) -> list[dict[str, Any]]:
    """Plays up to ``turns`` turns of every task, then corrects what is still short.

    Returns:
        Chat records; a turn is to be imitated when it met the specs.
    """
    whole = [Task(workshop.circuit, specs, workshop.circuit.conditions) for specs in tasks]
    drafts = [Draft(specs) for specs in tasks]
    histories: list[History] = [() for _ in tasks]
    playing = list(range(len(tasks)))
    for turn in range(turns):
        sampling = Sampling(
            temperature=0.0 if turn == 0 else temperature, max_tokens=512, seed=seed + turn
        )
        played = play_turn(
            [whole[i] for i in playing],
            [histories[i] for i in playing],
            sampler,
            simulator,
            sampling,
            1,
        )
        valid = [
            (i, attempt)
            for i, attempts in zip(playing, played, strict=True)
            for attempt in attempts
            if attempt.valid
        ]
        _add(workshop, drafts, valid)
        for i, attempt in valid:
            histories[i] = (*histories[i], attempt.turn)
        missed = [i for i, _ in valid if not workshop.meets(drafts[i])]
        # Some stop here, so that corrections follow histories of every length.
        keep = workshop.random(len(missed)) < 0.6
        playing = [i for i, stays in zip(missed, keep, strict=True) if stays]
    missed_drafts = [d for d in drafts if d.turns and not workshop.meets(d)]
    workshop.correct(missed_drafts, learn=True)
    again = [d for d in missed_drafts if not workshop.meets(d)]
    workshop.correct(again, learn=True)
    return [workshop.record(d) for d in drafts if workshop.meets(d)]


def _add(workshop: Workshop, drafts: Sequence[Draft], valid: Sequence[tuple[int, Attempt]]) -> None:
    if not valid:
        return
    positions = np.array([position_of(workshop.circuit, a.turn.proposal.sizing) for _, a in valid])
    rows = workshop.simulate(positions)
    for (i, attempt), position, row in zip(valid, positions, rows, strict=True):
        evaluation = attempt.turn.evaluation
        learn = evaluation is not None and evaluation.score.met
        thought = attempt.turn.proposal.reasoning
        drafts[i].turns.append(Step(position, int(row), thought, learn=learn))
