"""Beyond the nominal point: corners, Monte-Carlo with mismatch, sensitivities of one sizing."""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import Iterator
from dataclasses import replace

from textual import work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import ProgressBar, Static

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.domain import CORNERS, Measurement, Task, Turn
from acs_assistant.errors import AcsError
from acs_assistant.scoring import signed_margin
from acs_assistant.sim.port import SimulationRequest
from acs_assistant.tui.screens.page import Page
from acs_assistant.tui.state import sizing_of
from acs_assistant.tui.text import MISSING, metric_unit, quantity
from acs_assistant.tui.widgets.columns import Cell, Column, columns
from acs_assistant.tui.widgets.key_bar import KeyBar

SAMPLES = 20
STEP = 0.05
TITLES = {
    "corners": "Corners",
    "monte_carlo": "Monte-Carlo, device mismatch",
    "sensitivities": "Sensitivities",
}


class AnalysisScreen(Page):
    """Simulates one sizing many times, outside the budget, and shows rows as they come."""

    CSS_PATH = "analysis.tcss"

    def __init__(self, task: Task, turn: Turn, kind: str) -> None:
        super().__init__()
        self.task_of_session = task
        self.turn = turn
        self.kind = kind
        self.cancel = CancelToken()
        self.labels: list[str] = []
        self.requests: list[SimulationRequest] = []
        self.done: dict[int, Measurement] = {}
        self._plan()

    def _plan(self) -> None:
        task, sizing = self.task_of_session, dict(sizing_of(self.turn))
        base = SimulationRequest(task.circuit, sizing, task.conditions)
        match self.kind:
            case "corners":
                for corner in CORNERS:
                    self.labels.append(corner)
                    at = replace(task.conditions, corner=corner)
                    self.requests.append(replace(base, conditions=at))
            case "monte_carlo":
                for seed in range(1, SAMPLES + 1):
                    self.labels.append(f"sample {seed}")
                    self.requests.append(replace(base, mismatch_seed=seed))
            case _:
                self.labels.append("as it is")
                self.requests.append(base)
                for parameter in task.circuit.parameters:
                    value = sizing[parameter.name]
                    up = parameter.snap(value * (1 + STEP))
                    moved = up if up != value else parameter.snap(value * (1 - STEP))
                    self.labels.append(parameter.name)
                    changed = {**sizing, parameter.name: moved}
                    self.requests.append(replace(base, sizing=changed))

    def compose(self) -> ComposeResult:
        yield Static(f"{TITLES[self.kind]} · turn {self.turn.index}", classes="page-title",
                     markup=False)  # fmt: skip
        yield ProgressBar(total=len(self.requests), id="progress")
        with VerticalScroll(classes="panel"):
            yield Static("Simulating…", markup=False, id="rows")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self._simulate()

    def on_unmount(self) -> None:
        self.cancel.cancel()

    @work(exclusive=True)
    async def _simulate(self) -> None:
        try:
            results = await asyncio.to_thread(self._open)
            while (item := await asyncio.to_thread(next, results, None)) is not None:
                self.done[item[0]] = item[1]
                self.query_one(ProgressBar).update(progress=len(self.done))
                self._draw()
        except CancelledError:
            return
        except AcsError as error:
            self.acs.fail(error)
            self.query_one("#rows", Static).update(
                Content.styled(f"✗ {error.message}\n{error.hint}", "$text-error")
            )
            return
        self.query_one(ProgressBar).display = False

    def _open(self) -> Iterator[tuple[int, Measurement]]:
        return self.acs.services.simulator().map(self.requests, self.cancel)

    def on_resize(self) -> None:
        if self.done:
            self._draw()

    def _draw(self) -> None:
        draw = {"corners": self._corner_table, "monte_carlo": self._spread_table}
        width = max(self.size.width - 4, 40)
        content = draw.get(self.kind, self._sensitivity_table)(width)
        self.query_one("#rows", Static).update(content)

    def _corner_table(self, width: int) -> Content:
        """A row per spec, a column per corner."""
        circuit = self.task_of_session.circuit
        rows: list[list[Cell]] = []
        for spec in self.task_of_session.specs:
            unit = metric_unit(circuit, spec.metric)
            row: list[Cell] = [spec.metric, f"{spec.relation} {quantity(spec.target, unit)}",
                               (unit, "$foreground-muted")]  # fmt: skip
            for n in range(len(self.requests)):
                row.append(self._value(n, spec.metric, unit))
            rows.append(row)
        table = [Column("spec", shrink=8), Column("target", rank=1), Column("", rank=2)]
        table += [Column(label, "right") for label in self.labels]
        return columns(table, rows, width)

    def _value(self, n: int, metric: str, unit: str) -> Cell:
        measurement = self.done.get(n)
        if measurement is None:
            return ("…", "$foreground-muted")
        value = measurement.metrics.get(metric)
        if measurement.status == "failed" or value is None:
            return ("✗ failed", "$text-error")
        spec = next((s for s in self.task_of_session.specs if s.metric == metric), None)
        met = spec is None or signed_margin(spec, value) >= 0
        sign = "✓" if met else "✗"
        return (f"{sign} {quantity(value, unit, 3)}", "$text-success" if met else "$text-error")

    def _spread_table(self, width: int) -> Content:
        """Mean, sigma, extremes and yield of every metric."""
        circuit = self.task_of_session.circuit
        specs = {spec.metric: spec for spec in self.task_of_session.specs}
        rows: list[list[Cell]] = []
        for metric in circuit.metrics:
            values = [
                m.metrics[metric.name]
                for m in self.done.values()
                if m.status == "ok" and math.isfinite(m.metrics.get(metric.name, math.nan))
            ]
            if not values:
                continue
            sigma = statistics.stdev(values) if len(values) > 1 else 0.0
            spec = specs.get(metric.name)
            passed: Cell = ""
            if spec is not None:
                good = sum(signed_margin(spec, value) >= 0 for value in values)
                style = "$text-success" if good == len(self.done) else "$text-error"
                passed = (
                    f"{good}/{len(self.done)} {'✓' if good == len(self.done) else '✗'}",
                    style,
                )
            rows.append(
                [
                    metric.name,
                    (metric.unit, "$foreground-muted"),
                    quantity(statistics.fmean(values), metric.unit),
                    quantity(sigma, metric.unit, 3),
                    quantity(min(values), metric.unit),
                    quantity(max(values), metric.unit),
                    f"{spec.relation} {quantity(spec.target, metric.unit)}" if spec else "",
                    passed,
                ]
            )
        failed = sum(m.status == "failed" for m in self.done.values())
        table = (Column("metric"), Column(""), Column("mean", "right"), Column("sigma", "right"),
                 Column("min", "right"), Column("max", "right"), Column("spec", rank=1),
                 Column("passes", "right"))  # fmt: skip
        note = f"{len(self.done)} of {len(self.requests)} samples, {failed} failed"
        return Content("\n").join(
            [columns(table, rows, width), Content.styled(f"\n{note}", "$foreground-muted")]
        )

    def _sensitivity_table(self, width: int) -> Content:
        """Percent that a spec's metric moves for one percent of a size."""
        base = self.done.get(0)
        if base is None:
            return Content.styled("Simulating the sizing itself…", "$foreground-muted")
        metrics = [spec.metric for spec in self.task_of_session.specs]
        sizing = sizing_of(self.turn)
        rows: list[list[Cell]] = []
        for n, name in enumerate(self.labels[1:], start=1):
            moved = self.requests[n].sizing[name] / sizing[name] - 1
            row: list[Cell] = [name]
            for metric in metrics:
                a = base.metrics.get(metric)
                measurement = self.done.get(n)
                b = measurement.metrics.get(metric) if measurement is not None else None
                if measurement is None:
                    row.append(("…", "$foreground-muted"))
                elif a is None or b is None or not a or not moved:
                    row.append((MISSING, "$foreground-muted"))
                else:
                    slope = (b / a - 1) / moved
                    strong = abs(slope) >= 0.3
                    row.append((f"{slope:+.2f}", "bold $text-accent" if strong else "$foreground"))
            rows.append(row)
        table = [Column("size"), *(Column(metric, "right") for metric in metrics)]
        note = "Percent of change for one percent more of the size; bold from 0.3."
        return Content("\n").join(
            [columns(table, rows, width), Content.styled(f"\n{note}", "$foreground-muted")]
        )
