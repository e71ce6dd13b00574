"""Turns played by a model in the simulator, many tasks at once: for rewards and for evaluation.

Render, parse, simulate and score are the app's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from acs_assistant.domain import Decision, Evaluation, Measurement, Proposal, Task, Turn
from acs_assistant.engine.rules import draft, rules, settled
from acs_assistant.llm.port import Rules, Sample, Sampling
from acs_assistant.prompting.history import SHOWN, select
from acs_assistant.prompting.parse import Reply, parse
from acs_assistant.prompting.render import messages
from acs_assistant.scoring import reward, score
from acs_assistant.sim.port import SimulationRequest, Simulator
from acs_assistant.training.chat import chat_text


class GroupSampler(Protocol):
    """What a rollout needs of a model (``llm.batch.BatchSampler``).

    Attributes:
        context: Tokens of prompt and answer together.
        wording: As in ``llm.port.ModelInfo``.
    """

    context: int
    wording: str

    def tokens(self, prompt: str | Sequence[int]) -> list[int]: ...

    def limit(self, prompt: Sequence[int], sampling: Sampling) -> int:
        """Tokens that the answer may have; raises ModelError when too few are left for one."""
        ...

    def sample(
        self,
        prompts: Sequence[str | Sequence[int]],
        count: int,
        sampling: Sampling,
        grammars: str | Rules | Sequence[str | Rules | None] | None = None,
    ) -> list[list[Sample]]: ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """One drawn response, what became of it, and what it was worth.

    Attributes:
        prompt: Tokens of the history that it was drawn from.
        turn: The proposal and, when the call was valid, its evaluation.
    """

    prompt: tuple[int, ...]
    sample: Sample
    turn: Turn
    reward: float

    @property
    def valid(self) -> bool:
        return self.turn.evaluation is not None

    @property
    def met(self) -> bool:
        return self.turn.evaluation is not None and self.turn.evaluation.score.met


History = tuple[Turn, ...]
Render = Callable[[Task, Sequence[Turn]], str]
"""What a model is shown of a task and the chosen turns (``language.Language.prompt``)."""


def own_prompt(task: Task, turns: Sequence[Turn]) -> str:
    """As the small model's chat template writes it."""
    return chat_text(messages(task, turns), add_generation_prompt=True)


def best(attempts: Sequence[Attempt]) -> Attempt:
    """The attempt with the highest reward; the earliest of equals."""
    return max(attempts, key=lambda attempt: attempt.reward)


def play_turn(
    tasks: Sequence[Task],
    histories: Sequence[History],
    sampler: GroupSampler,
    simulator: Simulator,
    sampling: Sampling,
    count: int,
    render: Render = own_prompt,
    *,
    drafts: bool = False,
) -> list[list[Attempt]]:
    """Draws ``count`` responses for each task from its history and simulates every one.

    Args:
        drafts: Draw only as far as a text decides its sizes, where the rules know that place: what
            it then expects of them, and the call that repeats them, cannot change their worth.

    Returns:
        For each task its attempts; none where the history has outgrown the model's context.

    Raises:
        ModelError: A task does not fit the context even without a history.
    """
    shown = [select(history, SHOWN) for history in histories]
    prompts = [
        _prompt(render(task, turns), bool(turns), sampler, sampling)
        for task, turns in zip(tasks, shown, strict=True)
    ]
    rows = [row for row, prompt in enumerate(prompts) if prompt]
    held = [rules(tasks[row], shown[row], sampler.wording) for row in rows]
    grammars = [draft(one) if drafts and one.worded else one for one in held]
    groups = sampler.sample([prompts[row] for row in rows], count, sampling, grammars)
    drawn = [
        (row, sample, _read(sample, tasks[row], shown[row], rule))
        for row, group, rule in zip(rows, groups, grammars, strict=True)
        for sample in group
    ]
    measured = _simulate([(tasks[row], reply) for row, _, reply in drawn], simulator)
    played: list[list[Attempt]] = [[] for _ in tasks]
    for (row, sample, reply), measurements in zip(drawn, measured, strict=True):
        turn = _turn(tasks[row], len(histories[row]) + 1, sample, reply, measurements)
        worth = reward(turn.evaluation.score if turn.evaluation is not None else None)
        played[row].append(Attempt(prompts[row], sample, turn, worth))
    return played


def _prompt(text: str, later: bool, sampler: GroupSampler, sampling: Sampling) -> tuple[int, ...]:
    """Empty when a whole answer would not fit behind the history of a later turn."""
    tokens = tuple(sampler.tokens(text))
    if later and sampler.context - len(tokens) < sampling.max_tokens:
        return ()
    sampler.limit(tokens, sampling)
    return tokens


def _read(sample: Sample, task: Task, shown: Sequence[Turn], held: Rules) -> Reply:
    if held.rest is not None:
        return parse(sample.text, task.circuit)
    sizing = settled(sample.text, task, shown)
    return Reply(sample.text, "", sizing or None, error="" if sizing else "No sizes were decided.")


def _simulate(
    replies: Sequence[tuple[Task, Reply]], simulator: Simulator
) -> list[tuple[Measurement, ...]]:
    """Every valid sizing at every corner of its task; nothing for an invalid one."""
    places, requests = [], []
    for index, (task, reply) in enumerate(replies):
        if reply.sizing is not None:
            for corner in task.corners:
                places.append(index)
                conditions = replace(task.conditions, corner=corner)
                requests.append(SimulationRequest(task.circuit, reply.sizing, conditions))
    results = dict(simulator.map(requests))
    measured: list[list[Measurement]] = [[] for _ in replies]
    for number, index in enumerate(places):
        measured[index].append(results[number])
    return [tuple(measurements) for measurements in measured]


def _turn(
    task: Task, index: int, sample: Sample, reply: Reply, measurements: Sequence[Measurement]
) -> Turn:
    proposal = Proposal(
        reply.sizing or {},
        "model",
        reasoning=reply.reasoning,
        raw=sample.text,
        predictions=reply.predictions,
        error=reply.error,
    )
    if not measurements:
        return Turn(index, None, index, proposal, Decision("invalid"), None, task.specs)
    evaluation = Evaluation(tuple(measurements), score(task.specs, measurements))
    decision = Decision("accepted", proposal.sizing)
    return Turn(index, None, index, proposal, decision, evaluation, task.specs)
