"""A circuit on one card: what it is, its schematic, and what its reference sizing measured."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import HorizontalScroll, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from acs_assistant.domain import Circuit
from acs_assistant.tui.text import plain, quantity, spec_text
from acs_assistant.tui.widgets.columns import Cell, Column, columns
from acs_assistant.tui.widgets.schematic import drawing


class CircuitCard(VerticalScroll):
    """Everything that helps to choose. The drawing is never wrapped: it scrolls."""

    def __init__(self) -> None:
        super().__init__(id="card", classes="panel")
        self._circuit: Circuit | None = None

    def compose(self) -> ComposeResult:
        yield Static("Looking…", markup=False, classes="card-head")
        with HorizontalScroll(classes="card-drawing", can_focus=False):
            yield Static(markup=False, classes="card-lines")
        yield Static(markup=False, classes="card-figures")

    def say(self, text: Content | str) -> None:
        """A sentence in place of a circuit."""
        self._circuit = None
        self.query_one(".card-head", Static).update(text)
        self.query_one(".card-drawing").display = False
        self.query_one(".card-figures", Static).update("")

    def show(self, circuit: Circuit) -> None:
        self._circuit = circuit
        head = Content.assemble(
            (plain(circuit.title), "bold"),
            (f" · {circuit.pdk}\n", "$foreground-muted"),
            (plain(circuit.description), "$foreground-muted"),
        )
        self.query_one(".card-head", Static).update(head)
        drawn = drawing(circuit)
        self.query_one(".card-drawing").display = bool(drawn)
        self.query_one(".card-lines", Static).update(drawn)
        self._figures()

    def on_resize(self) -> None:
        self._figures()

    def _figures(self) -> None:
        width = self.scrollable_content_region.width
        if self._circuit is not None and width > 0:
            self.query_one(".card-figures", Static).update(figures(self._circuit, width))


def figures(circuit: Circuit, width: int) -> Content:
    """What the reference measured beside the default specs, and its sizes."""
    parts: list[Content] = []
    if circuit.reference_metrics:
        specs = {spec.metric: spec for spec in circuit.specs}
        rows: list[list[Cell]] = [
            [
                metric.name,
                quantity(circuit.reference_metrics[metric.name], metric.unit),
                (metric.unit, "$foreground-muted"),
                (_default(circuit, specs.get(metric.name)), "$foreground-muted"),
            ]
            for metric in circuit.metrics
            if metric.name in circuit.reference_metrics
        ]
        table = (Column("metric"), Column("reference", "right"), Column(""),
                 Column("default spec", rank=1))  # fmt: skip
        parts.append(columns(table, rows, width))
    if circuit.reference:
        sizes = "  ".join(
            f"{p.name}={p.format(circuit.reference[p.name])}"
            for p in circuit.parameters
            if p.name in circuit.reference
        )
        parts += [Content(""), Content.styled(f"{len(circuit.parameters)} sizes: {sizes}",
                                              "$foreground-muted")]  # fmt: skip
    return Content("\n").join(parts)


def _default(circuit: Circuit, spec: object) -> str:
    from acs_assistant.domain import Spec

    if not isinstance(spec, Spec):
        return ""
    return spec_text(circuit, spec).removeprefix(f"{spec.metric} ")
