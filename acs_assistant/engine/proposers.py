"""Who proposes the next sizing: a language model or a black-box optimizer, behind one port."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
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


_CONTENT = 1.95
"""Merit from which on a critic looks no further: 19 in 20 such sizings meet every spec."""


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
        rehearsals: How often, after one such group, a model that was taught our sentences may go on
            from the best draw so far and what the critic foretells of it.
        rehearsing: Temperature of these.
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
    rehearsals: int = 6
    rehearsing: float = 0.9

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
    """What a model is asked in one turn, to ask it again.

    Attributes:
        shown: The turns that it sees.
        rules: What its answer is held to.
    """

    task: Task
    shown: Sequence[Turn]
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]]
    rules: Rules


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
        critic = self._find_critic(task)
        asked = self._asked(task, turns, critic)
        seen = {sizing_key(sizing) for sizing in avoid}
        digest = critic.digest if critic is not None else ""
        started = time.monotonic()
        proposal = Proposal({}, self.name, error="the model gave no proposal.")
        for attempt in range(self._policy.resamples + 1):
            sampling = self._policy.sampling(seed, attempt, first=not turns and not avoid)
            yield Prompted(asked.messages, sampling.temperature, digest)
            pieces: list[str] = []
            try:
                yield from self._stream(asked, sampling, cancel, pieces)
            except ModelError:
                # What does not fit into the model's context may still do so without its past.
                shorter = self._asked(task, turns, critic, most=1)
                if pieces or len(shorter.messages) >= len(asked.messages):
                    raise
                asked = shorter
                yield Prompted(asked.messages, sampling.temperature, digest)
                yield from self._stream(asked, sampling, cancel, pieces)
            drawn = self._read("".join(pieces), task)
            if proposal.error or not drawn.error:
                proposal = drawn
            if critic is not None or (not drawn.error and sizing_key(drawn.sizing) not in seen):
                break
        if critic is not None:
            proposal = yield from self._chosen(asked, turns, critic, proposal, seen, seed, cancel)
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
        started = time.monotonic()
        asked = self._asked(task, turns, self._find_critic(task))
        sampling = self._policy.sampling(seed, attempt, first=not turns)
        drawn = self._draws(asked, sampling, count, cancel)
        seconds = time.monotonic() - started
        return asked.messages, [replace(proposal, seconds=seconds) for proposal in drawn]

    def _chosen(
        self,
        asked: Asked,
        turns: Sequence[Turn],
        critic: Critic,
        first: Proposal,
        seen: set[tuple[tuple[str, str], ...]],
        seed: int,
        cancel: CancelToken,
    ) -> Generator[TextDelta | Prompted, None, Proposal]:
        """The draw that the critic expects most of; ``first`` when it is content with that.

        A model that was taught our sentences rehearses: it goes on from the best draw so far and
        what is foretold of that. The sizes are then said anew, from what was measured.
        """
        from acs_assistant.engine.critic import merit, rehearsed, tightened

        def worth(proposal: Proposal) -> float:
            if proposal.error or sizing_key(proposal.sizing) in seen:
                return -1.0
            return merit(critic, asked.task, proposal.sizing, turns)

        best, most = first, worth(first)
        harder = tightened(critic, asked.task)
        groups = 1 + self._policy.rehearsals if asked.rules.worded else self._policy.groups
        for group in range(1, groups + 1):
            if most >= _CONTENT:
                break
            sampling = self._policy.sampling(seed, group, first=not turns)
            if not asked.rules.worded:
                drawn = self._draws(asked, sampling, self._policy.candidates, cancel)
            elif group == 1 or not best.sizing:
                drawn = self._drafts(asked, sampling, self._policy.candidates, cancel)
            else:
                step = rehearsed(critic, harder, best.sizing, turns)
                past = [replace(turn, specs=harder.specs) for turn in rescored(turns, harder)]
                said = self._asked(harder, [*past, step], None)
                sampling = replace(sampling, temperature=self._policy.rehearsing)
                drawn = self._drafts(said, sampling, self._policy.candidates, cancel)
            for proposal in drawn:
                if (value := worth(proposal)) > most:
                    best, most = proposal, value
        if best is first:
            return first
        sampling = self._policy.sampling(seed, 0, first=True)
        yield Prompted(asked.messages, sampling.temperature, critic.digest)
        if best.raw:
            yield from told(best.raw)
            return best
        pieces: list[str] = []
        said = replace(
            asked, rules=self._rules(asked.task, asked.shown, critic, turns, best.sizing)
        )
        yield from self._stream(said, sampling, cancel, pieces)
        return self._read("".join(pieces), asked.task)

    def _asked(
        self, task: Task, turns: Sequence[Turn], critic: Critic | None, most: int | None = None
    ) -> Asked:
        """What the model is asked after ``turns``; it is shown at most ``most`` of them."""
        from acs_assistant.prompting import render
        from acs_assistant.prompting.history import select

        shown = select(turns, self._policy.history if most is None else most)
        messages, tools = render.messages(task, shown), render.tools(task.circuit)
        return Asked(task, shown, messages, tools, self._rules(task, shown, critic, turns))

    def _rules(
        self,
        task: Task,
        shown: Sequence[Turn],
        critic: Critic | None,
        turns: Sequence[Turn],
        sizing: Sizing | None = None,
    ) -> Rules:
        """What an answer is held to; where there is a critic, it expects what that foretells."""
        from acs_assistant.engine.rules import rules

        def foretell(sizing: Sizing) -> Mapping[str, float]:
            assert critic is not None
            return critic.foretell(task.circuit, sizing, turns).metrics

        foretelling = foretell if critic is not None else None
        return rules(task, shown, self.model.wording, sizing, foretelling)

    def _draws(
        self, asked: Asked, sampling: Sampling, count: int, cancel: CancelToken
    ) -> list[Proposal]:
        completions = self._model.sample_group(
            asked.messages, asked.tools, sampling, count, grammar=asked.rules, cancel=cancel
        )
        return [self._read(completion.text, asked.task) for completion in completions]

    def _drafts(
        self, asked: Asked, sampling: Sampling, count: int, cancel: CancelToken
    ) -> list[Proposal]:
        """Draws that end with their sizes: half of the tokens, and no text to show."""
        from acs_assistant.engine.rules import draft, settled

        completions = self._model.sample_group(
            asked.messages, asked.tools, sampling, count, grammar=draft(asked.rules), cancel=cancel
        )
        sizings = [settled(c.text, asked.task, asked.shown) for c in completions]
        return [Proposal(sizing, self.name) for sizing in sizings if sizing]

    def _stream(
        self, asked: Asked, sampling: Sampling, cancel: CancelToken, pieces: list[str]
    ) -> Iterator[TextDelta]:
        from acs_assistant.prompting.parse import StreamSplitter

        splitter = StreamSplitter()
        for piece in self._model.stream(
            asked.messages, asked.tools, sampling, grammar=asked.rules, cancel=cancel
        ):
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
