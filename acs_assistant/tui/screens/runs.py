"""Two runs side by side: who proposed, what was met and when, the best sizings, scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Select, Static

from acs_assistant.domain import Spec, Turn, Waveform
from acs_assistant.engine.evaluate import rescored
from acs_assistant.errors import AcsError
from acs_assistant.storage.records import SessionRecord, SessionSummary
from acs_assistant.storage.store import Store
from acs_assistant.tui.screens.pair import PairScreen
from acs_assistant.tui.state import SessionState, sizing_of, value_of
from acs_assistant.tui.text import MISSING, change_percent, change_text, first_line, plain, quantity
from acs_assistant.tui.widgets.columns import Cell, Column, columns
from acs_assistant.tui.widgets.key_bar import KeyBar
from acs_assistant.tui.widgets.plot import Chart, Plot
from acs_assistant.tui.widgets.plots import responses_chart, scores_chart, vectors_chart


@dataclass(frozen=True, slots=True)
class Run:
    """One session as it is compared.

    Attributes:
        best: The turn that ranks first under the specs in force.
        met_after: Simulations until every spec was met; None when none met them.
        waves: Vectors of ``best``.
    """

    record: SessionRecord
    state: SessionState
    best: Turn | None
    met_after: int | None
    waves: tuple[Waveform, ...] = ()

    @property
    def name(self) -> str:
        return f"#{self.record.id} {plain(who(self.record))}"


def who(session: SessionRecord | SessionSummary) -> str:
    """The proposer, or the name of the model that proposed."""
    name = session.proposer if session.proposer != "model" else session.model or "model"
    return name.rsplit("/", 1)[-1]


def read_run(store: Store, session: int) -> Run:
    """Reads one session. From the disk: not for the thread that draws.

    Raises:
        InputError: No such session.
    """
    record = store.session(session)
    state = SessionState(record.task, record.budget)
    state.load(store.turns(session), record.head, 0)
    simulated = [turn for turn in state.in_order() if turn.evaluation is not None]
    scores = [turn.evaluation for turn in rescored(simulated, record.task)]
    met = [n for n, found in enumerate(scores, start=1) if found is not None and found.score.met]
    best = state.best
    run = Run(record, state, best, met[0] if met else None)
    return replace(run, waves=store.waveforms(best.id)) if best is not None else run


class RunsScreen(PairScreen):
    """Any two sessions can be chosen."""

    PLOTS: ClassVar[Mapping[str, str]] = {
        "score": "Best score",
        "bode": "Bode of the best",
        "tran": "Transient of the best",
    }

    def __init__(self, summaries: Sequence[SessionSummary], first: SessionSummary) -> None:
        """``summaries`` are two at least."""
        super().__init__()
        self._options = [(_label(summary), summary.id) for summary in summaries]
        others = [summary for summary in summaries if summary.id != first.id]
        alike = [summary for summary in others if summary.circuit == first.circuit]
        self._chosen = {"one": first.id, "two": (alike or others)[0].id}
        self._runs: dict[int, Run] = {}

    def compose(self) -> ComposeResult:
        yield Static("Compare two runs", classes="page-title", markup=False)
        with Horizontal(id="pair"):
            for side, session in self._chosen.items():
                yield Select(self._options, value=session, allow_blank=False, id=side, compact=True)
        with VerticalScroll(classes="panel"):
            yield Static("Reading both sessions…", markup=False, id="comparison")
        yield Plot(id="pair-plot", classes="panel")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(Plot).display = False
        self.query_one("#one").focus()
        self._fetch()

    @work(group="load", exclusive=True)
    async def _fetch(self) -> None:
        store = self.acs.services.store
        try:
            for session in self._chosen.values():
                if session not in self._runs:
                    self._runs[session] = await self.acs.offload(read_run, store, session)
        except AcsError as error:
            self.acs.fail(error)
            return
        self._draw()

    def on_select_changed(self, event: Select.Changed) -> None:
        self._chosen[str(event.select.id)] = int(str(event.value))
        self._fetch()

    def _draw(self) -> None:
        found = [self._runs.get(session) for session in self._chosen.values()]
        runs = [run for run in found if run is not None]
        if len(runs) < 2 or not self.is_mounted:
            return
        shown, plot = self._placed()
        if shown:
            plot.entitle(f"{self.PLOTS[shown]} · {runs[0].name} and {runs[1].name}")
            plot.show(_chart(shown, runs), "Neither run has simulated anything to draw here.")
        width = max(self.size.width - 4, 40)
        table = comparison(runs[0], runs[1], width)
        self.query_one("#comparison", Static).update(table)


def comparison(one: Run, two: Run, width: int) -> Content:
    """The table: the runs, the metrics of their best sizings, and the sizes."""
    head = (Column(one.name, "right"), Column(two.name, "right"))
    change = (Column(""), Column("change", "right"))
    parts = [
        columns((Column("run"), *head), _about(one, two), width),
        Content(""),
        columns((Column("best"), *head, *change, Column("target", rank=1)), _metrics(one, two),
                width),
        Content(""),
        columns((Column("size"), *head, *change), _sizes(one, two), width),
    ]  # fmt: skip
    if _specs(one) != _specs(two):
        note = "Their specs differ: each run is scored by its own, as they are in force now."
        parts.insert(1, Content.styled(note, "$text-warning"))
    return Content("\n").join(parts)


def _about(one: Run, two: Run) -> list[list[Cell]]:
    def row(title: str, said: Iterable[Cell]) -> list[Cell]:
        return [(title, "$foreground-muted"), *said]

    pair = (one, two)
    return [
        row("circuit", [plain(run.record.task.circuit.name) for run in pair]),
        row("specs", [_met(run) for run in pair]),
        row("met after", [_after(run) for run in pair]),
        row("simulations", [f"{len(run.state.best_so_far())}/{run.record.budget}" for run in pair]),
        row("best score", [_score(run) for run in pair]),
        row("seed", [str(run.record.seed) for run in pair]),
    ]  # fmt: skip


def _after(run: Run) -> str:
    if run.met_after is None:
        return MISSING
    return f"{run.met_after} simulation{'' if run.met_after == 1 else 's'}"


def _score(run: Run) -> str:
    if run.best is None or run.best.evaluation is None:
        return MISSING
    return f"{run.best.evaluation.score.value:.3f} in turn {run.best.index}"


def _met(run: Run) -> Cell:
    if run.best is None:
        return ("· open", "$foreground-muted")
    return ("✗ not met", "$text-warning") if run.met_after is None else ("✓ met", "$text-success")


def _metrics(one: Run, two: Run) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    units = {m.name: m.unit for run in (one, two) for m in run.record.task.circuit.metrics}
    for name, unit in units.items():
        a, b = (value_of(r.best.evaluation if r.best else None, name) for r in (one, two))
        if a is None and b is None:
            continue
        targets = dict.fromkeys(
            f"{spec.relation} {quantity(spec.target, unit)}"
            for run in (one, two)
            for spec in run.record.task.specs
            if spec.metric == name
        )
        rows.append([
            name, quantity(a, unit), quantity(b, unit), (unit, "$foreground-muted"),
            _change(a, b), (" / ".join(targets), "$foreground-muted"),
        ])  # fmt: skip
    return rows


def _sizes(one: Run, two: Run) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    parameters = {p.name: p for run in (one, two) for p in run.record.task.circuit.parameters}
    sizings = [sizing_of(run.best) if run.best is not None else {} for run in (one, two)]
    for name, parameter in parameters.items():
        a, b = (sizing.get(name) for sizing in sizings)
        if a is None and b is None:
            continue
        texts = [MISSING if value is None else parameter.format(value) for value in (a, b)]
        rows.append([name, *texts, (parameter.unit, "$foreground-muted"), _change(a, b)])
    return rows


def _change(a: float | None, b: float | None) -> Cell:
    if a is None or b is None:
        return ""
    text = change_text(change_percent(a, b))
    return (text, "$foreground-muted" if text == "=" else "$text-accent")


def _specs(run: Run) -> set[tuple[str, str, float]]:
    specs: tuple[Spec, ...] = run.record.task.specs
    return {(spec.metric, spec.relation, spec.target) for spec in specs}


def _chart(kind: str, runs: Sequence[Run]) -> Chart | None:
    if kind == "score":
        return scores_chart([(run.name, run.state) for run in runs])
    drawn = [(run.name, run.waves) for run in runs]
    circuit = runs[1].record.task.circuit
    if kind == "bode":
        return responses_chart(circuit, drawn) or responses_chart(circuit, drawn[1:])
    return vectors_chart(circuit, drawn, kind)


def _label(summary: SessionSummary) -> str:
    best = "" if summary.best is None else f" {summary.best:.3f}"
    return f"#{summary.id} {first_line(plain(summary.title), 30)} · {plain(who(summary))}{best}"
