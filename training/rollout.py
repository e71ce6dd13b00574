"""Turns played by a model in the simulator, many tasks at once: for rewards and for evaluation.

Render, parse, simulate and score are the app's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from acs_assistant.domain import Decision, Evaluation, Measurement, Proposal, Task, Turn
from acs_assistant.llm.batch import BatchSampler, Sample
from acs_assistant.llm.port import Sampling
from acs_assistant.prompting.grammar import grammar
from acs_assistant.prompting.parse import parse
from acs_assistant.prompting.render import messages
from acs_assistant.scoring import reward, score
from acs_assistant.sim.port import SimulationRequest, Simulator
from acs_assistant.training.chat import chat_text


@dataclass(frozen=True, slots=True)
class Attempt:
    """One drawn response, what became of it, and what it was worth.

    ``turn`` holds the proposal and, when the call was valid, its evaluation.
    """

    prompt: str
    sample: Sample
    turn: Turn
    reward: float


History = tuple[Turn, ...]
Chooser = Callable[[Sequence[Attempt]], Attempt]


def best(attempts: Sequence[Attempt]) -> Attempt:
    """The attempt with the highest reward; the earliest of equals."""
    return max(attempts, key=lambda attempt: attempt.reward)


def play_turn(
    tasks: Sequence[Task],
    histories: Sequence[History],
    sampler: BatchSampler,
    simulator: Simulator,
    sampling: Sampling,
    count: int,
) -> list[list[Attempt]]:
    """Draws ``count`` responses for each task from its history and simulates every one.

    Returns:
        For each task its attempts.
    """
    prompts = [
        chat_text(messages(task, history), add_generation_prompt=True)
        for task, history in zip(tasks, histories, strict=True)
    ]
    grammars = [grammar(task.circuit) for task in tasks]
    groups = sampler.sample(prompts, count, sampling, grammars)
    replies = [
        [parse(sample.text, task.circuit) for sample in group]
        for task, group in zip(tasks, groups, strict=True)
    ]
    places, requests = [], []
    for row, (task, group) in enumerate(zip(tasks, replies, strict=True)):
        for column, reply in enumerate(group):
            if reply.sizing is not None:
                places.append((row, column))
                requests.append(SimulationRequest(task.circuit, reply.sizing, task.conditions))
    measured: dict[tuple[int, int], Measurement] = {
        places[index]: measurement for index, measurement in simulator.map(requests)
    }
    played = []
    for row, (task, history) in enumerate(zip(tasks, histories, strict=True)):
        attempts = []
        for column, sample in enumerate(groups[row]):
            reply, measurement = replies[row][column], measured.get((row, column))
            proposal = Proposal(
                reply.sizing or {},
                "model",
                reasoning=reply.reasoning,
                raw=sample.text,
                predictions=reply.predictions,
                error=reply.error,
            )
            index = len(history) + 1
            if measurement is None:
                turn = Turn(index, None, index, proposal, Decision("invalid"), None, task.specs)
                worth = reward(None)
            else:
                evaluation = Evaluation((measurement,), score(task.specs, [measurement]))
                decision = Decision("accepted", proposal.sizing)
                turn = Turn(index, None, index, proposal, decision, evaluation, task.specs)
                worth = reward(evaluation.score)
            attempts.append(Attempt(prompts[row], sample, turn, worth))
        played.append(attempts)
    return played
