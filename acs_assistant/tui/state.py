"""What a design screen knows: the fold of the engine's events over what the store held."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from acs_assistant.domain import (
    SHOWN,
    Evaluation,
    Proposal,
    Sizing,
    Spec,
    SpecResult,
    Task,
    Turn,
    Waveform,
)
from acs_assistant.engine.evaluate import best_turn, rescored
from acs_assistant.events import (
    Answered,
    Decided,
    Event,
    ProposalReady,
    SimulationFinished,
    SimulationStarted,
    Stopped,
    TextDelta,
    TurnStarted,
    TurnStored,
)
from acs_assistant.storage.records import Exchange


class Phase(Enum):
    """What happens now; the value is the word that the status line shows."""

    IDLE = "ready"
    OPENING = "opening"
    THINKING = "thinking"
    ASKING = "your decision"
    SIMULATING = "simulating"
    STOPPING = "stopping"

    @property
    def busy(self) -> bool:
        return self is not Phase.IDLE


@dataclass(frozen=True, slots=True)
class Prediction:
    """A metric that the reasoning expected, held against what was measured.

    ``right`` is None before the simulation.
    """

    metric: str
    predicted: float
    measured: float | None
    right: bool | None


RIGHT_WITHIN = 0.10


WAVEFORMS_KEPT = 8


FAILED = "This turn's simulation failed; Enter on another turn in History shows that one."


@dataclass(slots=True)
class SessionState:
    """Folds events. Holds no widget and no thread; the design screen draws it.

    Attributes:
        turns: Every turn of the tree by id.
        head: The turn that the next one continues.
        thoughts: Reasoning of the turn in flight, as streamed so far.
        shown: A turn that the engineer looks at instead of the newest; None follows the head.
        axes: Metrics that the trade-off plot has across and up; None for the first two specs'.
        exchanges: What the model was asked about a turn, and its answers, by turn.
        memory: Turns that the model is shown; 0 is all.
    """

    task: Task
    budget: int
    turns: dict[int, Turn] = field(default_factory=dict)
    head: int | None = None
    simulations: int = 0
    phase: Phase = Phase.IDLE
    current: int | None = None
    thoughts: str = ""
    proposal: Proposal | None = None
    stopped: Stopped | None = None
    shown: int | None = None
    waveforms: dict[int, tuple[Waveform, ...]] = field(default_factory=dict)
    exchanges: dict[int, list[Exchange]] = field(default_factory=dict)
    axes: tuple[str, str] | None = None
    memory: int = SHOWN

    def load(self, turns: Iterable[Turn], head: int | None, simulations: int) -> None:
        """Takes over what the store holds."""
        self.turns = {}
        for turn in turns:
            self.keep(turn)
        self.head = head
        self.simulations = simulations
        self.shown = None
        waiting = self.turns.get(head) if head is not None else None
        self.current = waiting.id if waiting is not None and waiting.decision is None else None

    def fold(self, event: Event) -> None:
        match event:
            case TurnStarted():
                self.phase = Phase.THINKING
                self.current = None
                self.thoughts = ""
                self.proposal = None
                self.stopped = None
            case TextDelta(channel="call"):
                pass
            case TextDelta(text=text):
                self.thoughts += text
            case ProposalReady(turn=turn, proposal=proposal):
                self.current = turn
                self.proposal = proposal
                self.phase = Phase.ASKING
                self.stopped = None
            case Decided():
                self.proposal = None
                self.phase = Phase.THINKING
            case SimulationStarted():
                self.phase = Phase.SIMULATING
            case SimulationFinished(turn=turn_id, evaluation=evaluation):
                if evaluation.measurements and evaluation.nominal.waveforms:
                    self.keep_waveforms(turn_id, evaluation.nominal.waveforms)
                self.phase = Phase.THINKING
            case TurnStored(turn=turn, simulations=simulations, budget=budget):
                self.keep(turn)
                # a proposal that was set aside leaves the head where it was
                self.head = turn.parent if verdict(turn) == "regenerated" else turn.id
                self.simulations = simulations
                self.budget = budget
            case Stopped():
                self.stopped = event
                self.phase = Phase.IDLE
                self.proposal = None

    def keep(self, turn: Turn) -> None:
        """Takes a turn in. Its vectors go to a small store of their own, so memory stays flat."""
        evaluation = turn.evaluation
        if evaluation is not None and any(m.waveforms for m in evaluation.measurements):
            self.keep_waveforms(turn.id, evaluation.nominal.waveforms)
            bare = tuple(replace(m, waveforms=()) for m in evaluation.measurements)
            turn = replace(turn, evaluation=replace(evaluation, measurements=bare))
        self.turns[turn.id] = turn

    def keep_waveforms(self, turn: int, waveforms: tuple[Waveform, ...]) -> None:
        """Vectors of a turn for the plots; only the latest few turns' stay in memory."""
        self.waveforms.pop(turn, None)
        self.waveforms[turn] = waveforms
        while len(self.waveforms) > WAVEFORMS_KEPT:
            del self.waveforms[next(iter(self.waveforms))]

    def asked(self, event: Answered) -> None:
        """Takes an answer in."""
        answered = Exchange(event.question, event.text, event.sizing)
        self.exchanges.setdefault(event.turn, []).append(answered)

    def set_specs(self, specs: Sequence[Spec]) -> None:
        self.task = replace(self.task, specs=tuple(specs))

    # -- what widgets ask -------------------------------------------------------------------

    def path(self, leaf: int | None = None) -> list[Turn]:
        """Root to ``leaf``, or to the head."""
        turns: list[Turn] = []
        at = self.head if leaf is None else leaf
        while at is not None and at in self.turns:
            turns.append(self.turns[at])
            at = self.turns[at].parent
        return turns[::-1]

    def measured(self, leaf: int | None = None) -> list[Turn]:
        """Turns of the path that were simulated."""
        return [turn for turn in self.path(leaf) if turn.evaluation is not None]

    def before(self, turn: Turn) -> Turn | None:
        """The last turn above that was simulated."""
        above = self.measured(turn.parent) if turn.parent is not None else []
        return above[-1] if above else None

    def start_of(self, turn: Turn | None) -> Turn | None:
        """The simulated turn whose sizes a proposal starts from; None when there is none.

        A model starts from what its history shows it last, the best turn as a rule; who has no
        such history is compared with the last simulation.

        Args:
            turn: None for the proposal that waits and is not stored yet.
        """
        from acs_assistant.prompting.history import select

        parent = self.head if turn is None else turn.parent
        proposal = self.proposal if turn is None else turn.proposal
        above = self.path(parent) if parent is not None else []
        if proposal is not None and proposal.proposer.startswith("model"):
            above = select(above, self.memory)
        last = next((t for t in reversed(above) if t.evaluation is not None), None)
        return None if last is None else self.turns[last.id]

    @property
    def waiting_start(self) -> Turn | None:
        """The turn that the waiting proposal starts from."""
        return self.start_of(self.turns.get(self.current) if self.current is not None else None)

    def in_order(self) -> list[Turn]:
        """Every turn of the tree, oldest first."""
        return sorted(self.turns.values(), key=lambda turn: turn.id)

    @property
    def best(self) -> Turn | None:
        """The turn that ranks first under the specs in force."""
        return best_turn(self.turns.values(), self.task)

    def met_on_path(self) -> bool:
        """Some turn of the path meets every spec in force."""
        return any(
            turn.evaluation is not None and turn.evaluation.score.met
            for turn in rescored(self.path(), self.task)
        )

    @property
    def viewed(self) -> Turn | None:
        """The turn whose figures are on the boards: the chosen one, or the path's last measured."""
        if self.shown is not None and self.shown in self.turns:
            return self.turns[self.shown]
        measured = self.measured()
        return measured[-1] if measured else None

    @property
    def viewed_failed(self) -> bool:
        """Whether there is nothing to see of that turn, because its simulation failed."""
        evaluation = self.viewed.evaluation if self.viewed is not None else None
        return evaluation is not None and evaluation.status == "failed"

    def results(self) -> list[tuple[Spec, SpecResult | None]]:
        """Every spec in force with its result in the viewed turn, judged afresh when it changed."""
        from acs_assistant.scoring import judge

        turn = self.viewed
        evaluation = turn.evaluation if turn else None
        if evaluation is None:
            return [(spec, None) for spec in self.task.specs]
        return [(spec, judge(spec, evaluation.measurements)) for spec in self.task.specs]

    def values(self, metric: str) -> list[float | None]:
        """The metric over the measured turns of the path."""
        return [value_of(turn.evaluation, metric) for turn in self.measured()]

    def best_so_far(self) -> list[float]:
        """Highest score after each simulation of the session, in the order they were made."""
        best, curve = 0.0, []
        for turn in self.in_order():
            if turn.evaluation is not None:
                best = max(best, turn.evaluation.score.value)
                curve.append(best)
        return curve

    def predictions(self, turn: Turn) -> list[Prediction]:
        rows = []
        for metric, predicted in turn.proposal.predictions.items():
            measured = value_of(turn.evaluation, metric)
            right = None
            if measured is not None:
                right = is_right(predicted, measured)
            rows.append(Prediction(metric, predicted, measured, right))
        return rows


def is_right(predicted: float, measured: float) -> bool:
    """A prediction counts as right within 10 % of the measured value."""
    return abs(predicted - measured) <= RIGHT_WITHIN * max(abs(measured), 1e-30)


def value_of(evaluation: Evaluation | None, metric: str) -> float | None:
    """Nominal value of a metric; None when it was not measured."""
    if evaluation is None or not evaluation.measurements:
        return None
    return evaluation.nominal.metrics.get(metric)


def sizing_of(turn: Turn) -> Sizing:
    """What was simulated, or what was proposed when it was not."""
    if turn.decision is not None and turn.decision.sizing:
        return turn.decision.sizing
    return turn.proposal.sizing


def verdict(turn: Turn) -> str:
    """One word for what became of a turn."""
    if turn.decision is None:
        return "waiting"
    if turn.evaluation is None:
        return turn.decision.kind
    if turn.evaluation.status == "failed":
        return "failed"
    return "met" if turn.evaluation.score.met else turn.decision.kind


def cut_off(turn: Turn) -> bool:
    """The model was stopped before its proposal was complete."""
    return verdict(turn) == "regenerated" and bool(turn.proposal.error)
