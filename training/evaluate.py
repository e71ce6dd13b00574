"""How good a GGUF is: share of tasks met, honesty of its reasoning, use of its history."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acs_assistant.cancel import CancelToken
from acs_assistant.domain import Decision, Proposal, Task, Turn, best_turn
from acs_assistant.engine.evaluate import evaluate as simulated
from acs_assistant.engine.evaluate import worst_metrics
from acs_assistant.engine.proposers import Proposer
from acs_assistant.llm.port import Sampling
from acs_assistant.prompting.parse import named_changes, named_sizes
from acs_assistant.scoring import reward
from acs_assistant.sim.port import Simulator
from acs_assistant.training.rollout import (
    GroupSampler,
    History,
    Render,
    own_prompt,
    play_turn,
)


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of one model on one set of tasks.

    Attributes:
        met_at: Share of tasks met within k simulations, for each k up to the budget.
        independent_at: The same for k first proposals without history, where it was asked for.
        sign_right: Of predicted changes of a metric, the share with the right sign.
        relative_error: Median of |measured − predicted| / |measured| over predicted metrics.
        named_sizes_kept: Of sizes and changes that the reasoning names, the share in the call.
    """

    tasks: int
    met_at: dict[int, float]
    independent_at: dict[int, float]
    sign_right: float
    relative_error: float
    named_sizes_kept: float

    def as_json(self) -> dict[str, Any]:
        """Plain values; a figure of which there was nothing to measure is null."""
        document = asdict(self)
        for name in ("sign_right", "relative_error", "named_sizes_kept"):
            if math.isnan(document[name]):
                document[name] = None
        return document


def evaluate(
    tasks: Sequence[Task],
    sampler: GroupSampler,
    simulator: Simulator,
    *,
    budget: int = 10,
    temperature: float = 0.6,
    independent: int = 0,
    max_tokens: int = 512,
    seed: int = 1,
    render: Render = own_prompt,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Report, list[History]]:
    """Plays every task to its budget: greedy first, then drawn at ``temperature`` with history.

    A session that outgrows the model's context ends there.

    Args:
        independent: Also draw this many first proposals per task, as the yardstick for history.
        progress: Called with (turn, tasks still open).
    """
    histories: list[History] = [() for _ in tasks]
    solved: dict[int, int] = {}
    for number in range(1, budget + 1):
        open_tasks = [i for i in range(len(tasks)) if i not in solved]
        if not open_tasks:
            break
        sampling = Sampling(
            temperature=0.0 if number == 1 else temperature,
            max_tokens=max_tokens,
            seed=seed * 1000 + number,
        )
        played = play_turn(
            [tasks[i] for i in open_tasks],
            [histories[i] for i in open_tasks],
            sampler,
            simulator,
            sampling,
            1,
            render,
        )
        for i, attempts in zip(open_tasks, played, strict=True):
            for attempt in attempts:
                histories[i] = (*histories[i], attempt.turn)
                if attempt.met:
                    solved[i] = number
        if progress is not None:
            progress(number, len(tasks) - len(solved))
    met_at = {k: _share(solved, k, len(tasks)) for k in range(1, budget + 1)}
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens, seed=seed)
    alone = _independent(tasks, sampler, simulator, independent, sampling, render)
    honesty = honesty_of(histories)
    return Report(len(tasks), met_at, alone, *honesty), histories


def evaluate_in_use(
    tasks: Sequence[Task],
    proposer: Proposer,
    simulator: Simulator,
    *,
    budget: int = 10,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Report, list[History]]:
    """Plays every task as the app does: one proposal a turn, a critic choosing where there is one.

    Args:
        progress: Called with (tasks played, tasks left).
    """
    histories, solved = [], {}
    for i, task in enumerate(tasks):
        history: History = ()
        for number in range(1, budget + 1):
            turn = _played(task, history, proposer, simulator, seed * 1000 + number)
            history = (*history, turn)
            if turn.evaluation is not None and turn.evaluation.score.met:
                solved[i] = number
                break
        histories.append(history)
        if progress is not None:
            progress(i + 1, len(tasks) - i - 1)
    met_at = {k: _share(solved, k, len(tasks)) for k in range(1, budget + 1)}
    return Report(len(tasks), met_at, {}, *honesty_of(histories)), histories


def _played(
    task: Task, history: History, proposer: Proposer, simulator: Simulator, seed: int
) -> Turn:
    number, cancel = len(history) + 1, CancelToken()
    before = [turn.proposal.sizing for turn in history if turn.proposal.sizing]
    *_, proposal = proposer.propose(task, history, seed, cancel, before)
    assert isinstance(proposal, Proposal)
    parent = number - 1 or None
    if proposal.error:
        return Turn(number, parent, number, proposal, Decision("invalid"), None, task.specs)
    evaluation = simulated(task, proposal.sizing, simulator)
    decision = Decision("accepted", proposal.sizing)
    return Turn(number, parent, number, proposal, decision, evaluation, task.specs)


def best_rewards(histories: Sequence[History]) -> NDArray[np.float64]:
    """(tasks,) the highest reward of each session."""
    return np.array(
        [
            max((reward(t.evaluation.score if t.evaluation else None) for t in history), default=0)
            for history in histories
        ],
        dtype=np.float64,
    )


def _share(solved: dict[int, int], within: int, total: int) -> float:
    return sum(1 for number in solved.values() if number <= within) / max(total, 1)


def _independent(
    tasks: Sequence[Task],
    sampler: GroupSampler,
    simulator: Simulator,
    count: int,
    sampling: Sampling,
    render: Render,
) -> dict[int, float]:
    if not count:
        return {}
    played = play_turn(tasks, [()] * len(tasks), sampler, simulator, sampling, count, render)
    solved = {}
    for i, attempts in enumerate(played):
        for k, attempt in enumerate(attempts, start=1):
            if attempt.met:
                solved[i] = k
                break
    return {k: _share(solved, k, len(tasks)) for k in range(1, count + 1)}


def honesty_of(histories: Sequence[History]) -> tuple[float, float, float]:
    """(signs right, median relative error, named sizes kept) over all turns that were simulated."""
    signs, errors, kept = [], [], []
    for history in histories:
        for number, turn in enumerate(history):
            if turn.evaluation is None:
                continue
            measured = worst_metrics(turn.evaluation)
            before = _best_metrics(history[:number])
            for name, predicted in turn.proposal.predictions.items():
                value = measured.get(name)
                if not value:
                    continue
                errors.append(abs(value - predicted) / abs(value))
                old = before.get(name)
                if old is not None and abs(predicted - old) > 0.01 * abs(old):
                    signs.append((predicted - old) * (value - old) > 0)
            named = named_sizes(turn.proposal.reasoning, turn.proposal.sizing)
            for name, size in named.items():
                kept.append(abs(size - turn.proposal.sizing[name]) <= 0.011 * abs(size))
            kept += _directions_kept(turn, history[:number])
    return (
        float(np.mean(signs)) if signs else float("nan"),
        float(np.median(errors)) if errors else float("nan"),
        float(np.mean(kept)) if kept else float("nan"),
    )


def _directions_kept(turn: Turn, before: History) -> list[bool]:
    """Whether each "raise" or "lower" of the reasoning is what the call does to the best turn."""
    scored = [t for t in before if t.evaluation is not None and t.decision is not None]
    base = best_turn(scored)
    if base is None or base.decision is None:
        return []
    old = base.decision.sizing
    return [
        (turn.proposal.sizing[name] - old[name]) * direction > 0
        for name, direction in named_changes(turn.proposal.reasoning, tuple(old)).items()
    ]


def _best_metrics(history: History) -> dict[str, float]:
    scored = [t.evaluation for t in history if t.evaluation is not None]
    if not scored:
        return {}
    return worst_metrics(max(scored, key=lambda e: e.score.value))
