"""Who proposes the next sizing: a language model or a black-box optimizer, behind one port."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from acs_assistant.cancel import CancelToken
from acs_assistant.domain import SHOWN, Proposal, Sizing, Task, Turn
from acs_assistant.engine.evaluate import rescored
from acs_assistant.errors import InputError, ModelError
from acs_assistant.events import TextDelta
from acs_assistant.llm.port import LanguageModel, ModelInfo, Rules, Sampling
from acs_assistant.optimizers.port import Optimizer

if TYPE_CHECKING:
    from acs_assistant.engine.critic import Critic


_CONTENT = 1.01
"""Merit from which on a critic looks no further: every spec met, with 1 % to spare."""


@dataclass(frozen=True, slots=True)
class Prompted:
    """The model starts to answer these messages. A second one in a turn is a fresh draw.

    ``critic`` is the digest of the critic that chose the draw; empty without one.
    """

    messages: Sequence[Mapping[str, Any]]
    temperature: float
    critic: str = ""


class Proposer(Protocol):
    """Proposes one sizing from a task and its history.

    Raises:
        ModelError: The model failed.
        CancelledError: The token was cancelled.
    """

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> ModelInfo | None:
        """None when no language model is involved."""
        ...

    def propose(
        self,
        task: Task,
        turns: Sequence[Turn],
        seed: int,
        cancel: CancelToken,
        avoid: Sequence[Sizing] = (),
    ) -> Iterator[TextDelta | Prompted | Proposal]:
        """Yields text while it comes and ends with exactly one Proposal.

        Args:
            turns: From the root of the session to its head, each scored against its own specs.
            avoid: Sizings that were proposed before; another one is worth more.
        """
        ...


@dataclass(frozen=True, slots=True)
class SamplingPolicy:
    """How a model is sampled over a session.

    The first proposal is greedy, because it is the likeliest one; later ones are drawn, because a
    repeat would waste a simulation. A draw that repeats or cannot be used is drawn again, hotter.

    Attributes:
        history: Turns that the model is shown: the best and the latest ones; 0 shows all.
        candidates: Draws among which a critic chooses when it does not believe in the first one.
        groups: How often it may ask for that many, each time hotter.
    """

    first_temperature: float = 0.0
    temperature: float = 0.6
    step: float = 0.3
    top_p: float = 0.95
    max_tokens: int = 1024
    resamples: int = 2
    history: int = SHOWN
    candidates: int = 8
    groups: int = 2

    def sampling(self, seed: int, attempt: int, first: bool) -> Sampling:
        if attempt == 0:
            temperature = self.first_temperature if first else self.temperature
        else:
            temperature = self.temperature + self.step * (attempt - 1 if first else attempt)
        return Sampling(
            temperature=temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            seed=(seed + 7919 * attempt) & 0x7FFFFFFF,
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What a model was asked in one turn, to ask it again."""

    task: Task
    turns: Sequence[Turn]
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]]
    rules: Rules
    seen: set[tuple[tuple[str, str], ...]]


class ModelProposer:
    """A language model that reads the history, reasons aloud and calls the tool.

    Args:
        critic: Finds the critic of a task, if there is one. Where it foretells that a draw will
            miss a spec, it chooses the best of a group drawn from the same history.
    """

    name = "model"

    def __init__(
        self,
        model: LanguageModel,
        policy: SamplingPolicy | None = None,
        critic: Callable[[Task], Critic | None] = lambda task: None,
    ) -> None:
        self._model = model
        self._policy = policy or SamplingPolicy()
        self._find_critic = critic

    @property
    def model(self) -> ModelInfo:
        return self._model.info

    def propose(
        self,
        task: Task,
        turns: Sequence[Turn],
        seed: int,
        cancel: CancelToken,
        avoid: Sequence[Sizing] = (),
    ) -> Iterator[TextDelta | Prompted | Proposal]:
        from acs_assistant.engine.rules import rules
        from acs_assistant.prompting import render
        from acs_assistant.prompting.history import select

        shown = select(turns, self._policy.history)
        messages, tools = render.messages(task, shown), render.tools(task.circuit)
        held = rules(task, shown, self.model.wording)
        seen = {sizing_key(sizing) for sizing in avoid}
        critic = self._find_critic(task)
        digest = critic.digest if critic is not None else ""
        started = time.monotonic()
        proposal = Proposal({}, self.name, error="the model gave no proposal.")
        for attempt in range(self._policy.resamples + 1):
            sampling = self._policy.sampling(seed, attempt, first=not turns and not avoid)
            yield Prompted(messages, sampling.temperature, digest)
            pieces: list[str] = []
            try:
                yield from self._stream(messages, tools, sampling, held, cancel, pieces)
            except ModelError:
                # What does not fit into the model's context may still do so without its past.
                shown = select(turns, 1)
                shorter = render.messages(task, shown)
                if pieces or len(shorter) >= len(messages):
                    raise
                messages, held = shorter, rules(task, shown, self.model.wording)
                yield Prompted(messages, sampling.temperature, digest)
                yield from self._stream(messages, tools, sampling, held, cancel, pieces)
            drawn = self._read("".join(pieces), task)
            if proposal.error or not drawn.error:
                proposal = drawn
            if critic is not None or (not drawn.error and sizing_key(drawn.sizing) not in seen):
                break
        if critic is not None:
            asked = Asked(task, turns, messages, tools, held, seen)
            better = self._choose(asked, critic, proposal, seed, cancel)
            if better is not proposal:
                proposal = better
                yield Prompted(messages, self._policy.temperature, digest)
                yield from told(proposal.raw)
        yield replace(proposal, seconds=time.monotonic() - started)

    def group(
        self,
        task: Task,
        turns: Sequence[Turn],
        seed: int,
        count: int,
        attempt: int,
        cancel: CancelToken,
    ) -> tuple[Sequence[Mapping[str, Any]], list[Proposal]]:
        """Draws ``count`` proposals from one history; the messages, and what was drawn.

        Args:
            attempt: From 1; a later one is drawn hotter.
        """
        from acs_assistant.engine.rules import rules
        from acs_assistant.prompting import render
        from acs_assistant.prompting.history import select

        started = time.monotonic()
        shown = select(turns, self._policy.history)
        messages = render.messages(task, shown)
        completions = self._model.sample_group(
            messages,
            render.tools(task.circuit),
            self._policy.sampling(seed, attempt, first=not turns),
            count,
            grammar=rules(task, shown, self.model.wording),
            cancel=cancel,
        )
        seconds = time.monotonic() - started
        drawn = [self._read(completion.text, task) for completion in completions]
        return messages, [replace(proposal, seconds=seconds) for proposal in drawn]

    def _choose(
        self, asked: Asked, critic: Critic, first: Proposal, seed: int, cancel: CancelToken
    ) -> Proposal:
        """The draw that the critic expects most of; ``first`` when it is content with that."""
        from acs_assistant.engine.critic import merit

        def worth(proposal: Proposal) -> float:
            if proposal.error or sizing_key(proposal.sizing) in asked.seen:
                return -1.0
            return merit(critic, asked.task, proposal.sizing, asked.turns)

        best, most = first, worth(first)
        for group in range(1, self._policy.groups + 1):
            if most >= _CONTENT:
                break
            completions = self._model.sample_group(
                asked.messages,
                asked.tools,
                self._policy.sampling(seed, group, first=not asked.turns),
                self._policy.candidates,
                grammar=asked.rules,
                cancel=cancel,
            )
            for completion in completions:
                drawn = self._read(completion.text, asked.task)
                if worth(drawn) > most:
                    best, most = drawn, worth(drawn)
        return best

    def _stream(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        held: Rules,
        cancel: CancelToken,
        pieces: list[str],
    ) -> Iterator[TextDelta]:
        from acs_assistant.prompting.parse import StreamSplitter

        splitter = StreamSplitter()
        for piece in self._model.stream(messages, tools, sampling, grammar=held, cancel=cancel):
            pieces.append(piece)
            for channel, text in splitter.feed(piece):
                yield TextDelta(channel, text)
        for channel, text in splitter.flush():
            yield TextDelta(channel, text)
        cancel.raise_if_cancelled()

    def _read(self, text: str, task: Task) -> Proposal:
        from acs_assistant.prompting.parse import parse

        reply = parse(text, task.circuit)
        error, sizing = reply.error, {}
        if reply.sizing is not None and not error:
            try:
                sizing = task.circuit.snap(reply.sizing)
            except InputError as fault:
                error = f"{fault.message} {fault.hint}".strip()
        elif not error:
            error = "the answer holds no call of the tool 'simulate'."
        return Proposal(
            sizing,
            self.name,
            reasoning=reply.reasoning or reply.text,
            raw=text,
            predictions=reply.predictions,
            error=error,
        )


class OptimizerProposer:
    """A black-box optimizer. It is told the history that it has not seen, then asked.

    A change of the specs changes every score, so the optimizer is made anew then.
    """

    model = None

    def __init__(self, name: str, make: Callable[[Task, int], Optimizer]) -> None:
        self.name = name
        self._make = make
        self._optimizer: Optimizer | None = None
        self._specs: object = None
        self._told: set[int] = set()

    def propose(
        self,
        task: Task,
        turns: Sequence[Turn],
        seed: int,
        cancel: CancelToken,
        avoid: Sequence[Sizing] = (),
    ) -> Iterator[TextDelta | Prompted | Proposal]:
        started = time.monotonic()
        if self._optimizer is None or self._specs != task.specs:
            self._optimizer, self._specs, self._told = self._make(task, seed), task.specs, set()
        for turn in rescored(turns, task):
            decided, evaluation = turn.decision, turn.evaluation
            if decided is not None and evaluation is not None and turn.id not in self._told:
                self._optimizer.tell(decided.sizing, evaluation)
                self._told.add(turn.id)
        cancel.raise_if_cancelled()
        sizing = task.circuit.snap(self._optimizer.ask())
        yield Proposal(sizing, self.name, seconds=time.monotonic() - started)


class FixedProposer:
    """One sizing that a person gave: typed by hand, or the circuit's reference to start from."""

    model = None

    def __init__(self, sizing: Sizing, name: str = "engineer") -> None:
        self.name = name
        self._sizing = sizing

    def propose(
        self,
        task: Task,
        turns: Sequence[Turn],
        seed: int,
        cancel: CancelToken,
        avoid: Sequence[Sizing] = (),
    ) -> Iterator[TextDelta | Prompted | Proposal]:
        yield Proposal(task.circuit.snap(self._sizing), self.name)


def told(text: str) -> Iterator[TextDelta]:
    """A finished text, as if it were streamed."""
    from acs_assistant.prompting.parse import StreamSplitter

    splitter = StreamSplitter()
    for channel, piece in (*splitter.feed(text), *splitter.flush()):
        yield TextDelta(channel, piece)


def sizing_key(sizing: Sizing) -> tuple[tuple[str, str], ...]:
    """Equal for sizings that are the same to nine digits."""
    return tuple(sorted((name, f"{value:.9g}") for name, value in sizing.items()))
