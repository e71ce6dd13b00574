"""Two turns side by side: sizes, metrics and plots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Select, Static

from acs_assistant.domain import Turn, Waveform
from acs_assistant.tui.screens.pair import PairScreen
from acs_assistant.tui.state import SessionState, sizing_of, value_of, verdict
from acs_assistant.tui.text import change_percent, change_text, quantity
from acs_assistant.tui.widgets.columns import Cell, Column, columns
from acs_assistant.tui.widgets.key_bar import KeyBar
from acs_assistant.tui.widgets.plot import Chart, Plot
from acs_assistant.tui.widgets.plots import responses_chart, vectors_chart


class CompareScreen(PairScreen):
    """Best and newest first; any two can be chosen. The plots lie over each other."""

    PLOTS: ClassVar[Mapping[str, str]] = {
        "bode": "Bode",
        "tran": "Transient",
        "noise": "Noise",
        "dc": "Dc transfer",
    }

    def __init__(self, state: SessionState) -> None:
        super().__init__()
        self.state = state
        self.turns = [turn for turn in state.in_order() if sizing_of(turn)]
        self.one = state.best or self.turns[0]
        self.two = state.viewed or self.turns[-1]
        if self.one.id == self.two.id:
            others = [turn for turn in reversed(self.turns) if turn.id != self.one.id]
            simulated = (turn for turn in others if turn.evaluation is not None)
            self.two = next(simulated, others[0])
        self._waveforms: dict[int, tuple[Waveform, ...]] = {}

    def compose(self) -> ComposeResult:
        options = [(_label(turn), turn.id) for turn in self.turns]
        yield Static("Compare two turns", classes="page-title", markup=False)
        with Horizontal(id="pair"):
            yield Select(options, value=self.one.id, allow_blank=False, id="one", compact=True)
            yield Select(options, value=self.two.id, allow_blank=False, id="two", compact=True)
        with VerticalScroll(classes="panel"):
            yield Static(markup=False, id="comparison")
        yield Plot(id="pair-plot", classes="panel")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#one").focus()
        self._draw()
        self._fetch()

    @work(group="waveforms", exclusive=True)
    async def _fetch(self) -> None:
        """Reads the vectors of both turns."""
        store = self.acs.services.store
        for turn in (self.one, self.two):
            if turn.id not in self._waveforms:
                self._waveforms[turn.id] = await self.acs.offload(store.waveforms, turn.id)
        self._draw()

    def on_select_changed(self, event: Select.Changed) -> None:
        turn = self.state.turns[int(str(event.value))]
        if event.select.id == "one":
            self.one = turn
        else:
            self.two = turn
        self._draw()
        self._fetch()

    def _draw(self) -> None:
        shown, plot = self._placed()
        if shown:
            plot.entitle(f"{self.PLOTS[shown]} · turn {self.one.index} and turn {self.two.index}")
            empty = "Neither turn has these vectors: they come with a simulation that succeeds."
            plot.show(self._chart(shown), empty)
        circuit = self.state.task.circuit
        sizes: list[list[Cell]] = []
        old, new = sizing_of(self.one), sizing_of(self.two)
        for parameter in circuit.parameters:
            a, b = old.get(parameter.name), new.get(parameter.name)
            sizes.append(
                [
                    parameter.name,
                    "" if a is None else parameter.format(a),
                    "" if b is None else parameter.format(b),
                    (parameter.unit, "$foreground-muted"),
                    _change(a, b),
                ]
            )
        metrics: list[list[Cell]] = []
        specs = {spec.metric: spec for spec in self.state.task.specs}
        for metric in circuit.metrics:
            a = value_of(self.one.evaluation, metric.name)
            b = value_of(self.two.evaluation, metric.name)
            if a is None and b is None:
                continue
            spec = specs.get(metric.name)
            target = f"{spec.relation} {quantity(spec.target, metric.unit)}" if spec else ""
            metrics.append(
                [
                    metric.name,
                    quantity(a, metric.unit),
                    quantity(b, metric.unit),
                    (metric.unit, "$foreground-muted"),
                    _change(a, b),
                    (target, "$foreground-muted"),
                ]
            )
        titles = (_label(self.one), _label(self.two))
        head = (Column(titles[0], "right"), Column(titles[1], "right"), Column(""))
        width = max(self.size.width - 4, 40)
        parts = [
            columns((Column("size"), *head, Column("change", "right")), sizes, width),
            Content(""),
            columns((Column("metric"), *head, Column("change", "right"), Column("spec", rank=1)),
                    metrics, width),
        ]  # fmt: skip
        self.query_one("#comparison", Static).update(Content("\n").join(parts))

    def _chart(self, kind: str) -> Chart | None:
        pair = [
            (f"turn {turn.index} #{turn.id}", self._waveforms.get(turn.id, ()))
            for turn in (self.one, self.two)
        ]
        circuit = self.state.task.circuit
        if kind == "bode":
            return responses_chart(circuit, pair) or responses_chart(circuit, pair[1:])
        return vectors_chart(circuit, pair, kind)


def _label(turn: Turn) -> str:
    score = "" if turn.evaluation is None else f" {turn.evaluation.score.value:.3f}"
    return f"turn {turn.index} #{turn.id} {verdict(turn)}{score}"


def _change(a: float | None, b: float | None) -> Cell:
    if a is None or b is None:
        return ""
    text = change_text(change_percent(a, b))
    return (text, "$foreground-muted" if text == "=" else "$text-accent")
