"""Specs as rows of text: relation and target in one field, empty switches the spec off."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from acs_assistant.domain import Circuit, Spec
from acs_assistant.engine.reached import Extremes, best_known
from acs_assistant.engine.specs import parse_spec
from acs_assistant.errors import AcsError
from acs_assistant.tui.text import metric_unit, quantity
from acs_assistant.units import format_quantity

_RELATION = re.compile(r"\s*(>=|<=|==|≥|≤|=|>|<)")


def read_target(circuit: Circuit, spec: Spec, text: str) -> Spec | None:
    """The spec with the relation and target of ``text``; None when the field is empty (off).

    Raises:
        InputError: It is not a relation and a quantity in the metric's unit.
    """
    if not text.strip():
        return None
    relation = "" if _RELATION.match(text) else spec.relation
    return parse_spec(f"{spec.metric}{relation}{text}", circuit)


def target_text(spec: Spec) -> str:
    """Relation and target as they are typed: ``>= 20meg``, ``== 1.23+-20m``."""
    text = f"{spec.relation} {format_quantity(spec.target)}"
    return text + (f"+-{format_quantity(spec.tolerance)}" if spec.relation == "==" else "")


def warning(circuit: Circuit, spec: Spec, reached: Mapping[str, Extremes] | None = None) -> str:
    """Says when a target lies outside what was ever reached with this circuit."""
    best = best_known(circuit, spec, reached)
    if best is None:
        return ""
    beyond = spec.target > best if spec.relation == ">=" else spec.target < best
    if not beyond:
        return ""
    return f"! never reached: the best known is {quantity(best, metric_unit(circuit, spec.metric))}"


class SpecRow(Horizontal):
    def __init__(self, circuit: Circuit, spec: Spec, *, on: bool = True) -> None:
        super().__init__(classes="spec-row")
        self.circuit = circuit
        self.spec = spec
        self.reached: Mapping[str, Extremes] = {}
        self._text = target_text(spec) if on else ""

    def compose(self) -> ComposeResult:
        yield Static(self.spec.metric, markup=False, classes="spec-name")
        yield Input(self._text, placeholder="off", compact=True, select_on_focus=False)
        unit = metric_unit(self.circuit, self.spec.metric)
        yield Static(unit, markup=False, classes="spec-unit")
        yield Static(markup=False, classes="spec-note")

    def judge(self) -> tuple[Spec | None, bool]:
        """(The spec or None when off, whether the field can be used.)"""
        field, note = self.query_one(Input), self.query_one(".spec-note", Static)
        try:
            # the text is rounded: what nobody touched stays as it was
            untouched = bool(self._text) and field.value == self._text
            spec = self.spec if untouched else read_target(self.circuit, self.spec, field.value)
        except AcsError as error:
            field.add_class("-invalid")
            note.update(Content.styled(f"✗ {error.hint or error.message}", "$text-error"))
            return None, False
        field.remove_class("-invalid")
        if spec is None:
            note.update(Content.styled("off", "$foreground-muted"))
            return None, True
        caution = warning(self.circuit, spec, self.reached)
        if caution:
            note.update(Content.styled(caution, "$text-warning"))
        else:
            value = self.circuit.reference_metrics.get(spec.metric)
            unit = metric_unit(self.circuit, spec.metric)
            known = "" if value is None else f"reference {quantity(value, unit)}"
            note.update(Content.styled(known, "$foreground-muted"))
        return spec, True


class SpecEditor(Vertical):
    """One row per spec, and a field that adds one. Arrow keys move between the rows."""

    @dataclass
    class Changed(Message):
        """A field was edited."""

        fine: bool

    def __init__(self, circuit: Circuit, specs: tuple[Spec, ...]) -> None:
        super().__init__(classes="spec-editor")
        self.circuit = circuit
        self._start = specs
        self._reached: Mapping[str, Extremes] = {}

    def compose(self) -> ComposeResult:
        for spec in self._start:
            yield SpecRow(self.circuit, spec)
        names = {spec.metric for spec in self._start}
        for spec in self.circuit.specs:
            if spec.metric not in names:
                yield SpecRow(self.circuit, spec, on=False)
        with Horizontal(classes="spec-row spec-add"):
            yield Static("add", classes="spec-name muted")
            metrics = ", ".join(metric.name for metric in self.circuit.metrics)
            yield Input(placeholder="gbw>=20meg", compact=True, id="add-spec")
            yield Static(f"of {metrics}", markup=False, classes="spec-note muted")

    def on_mount(self) -> None:
        self._judge()

    def specs(self) -> tuple[Spec, ...] | None:
        """The specs that are on; None while a field cannot be used."""
        found = [row.judge() for row in self.query(SpecRow)]
        if not all(fine for _, fine in found):
            return None
        return tuple(spec for spec, _ in found if spec is not None)

    def know(self, reached: Mapping[str, Extremes]) -> None:
        """Takes what saved sessions reached into the warnings."""
        self._reached = reached
        for row in self.query(SpecRow):
            row.reached = reached
        self._judge()

    def note(self) -> Content:
        """What is said beside the field that has the focus, for where there is no room beside."""
        beside = self._beside()
        if beside is None:
            return Content("")
        found = beside.content
        return found if isinstance(found, Content) else Content(str(found))

    def overlong_note(self) -> Content:
        """``note``, when its column is too narrow for it; else nothing."""
        beside, note = self._beside(), self.note()
        return note if beside is not None and note.cell_length > beside.size.width else Content("")

    def _beside(self) -> Static | None:
        for row in self.query(".spec-row"):
            if any(field.has_focus for field in row.query(Input)):
                return row.query_one(".spec-note", Static)
        return None

    def focus_add(self) -> None:
        self.query_one("#add-spec", Input).focus()

    def on_key(self, event: events.Key) -> None:
        step = {"up": -1, "down": 1}.get(event.key)
        fields = list(self.query(Input))
        focused = self.screen.focused
        if step is None or focused not in fields:
            return
        place = fields.index(focused) + step
        if 0 <= place < len(fields):
            fields[place].focus()
            event.stop()
            event.prevent_default()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if event.input.id != "add-spec":
            self._judge()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id != "add-spec" or not event.value.strip():
            return
        event.stop()
        note = self.query_one(".spec-add .spec-note", Static)
        try:
            spec = parse_spec(event.value, self.circuit)
        except AcsError as error:
            text = f"✗ {error.message} {error.hint}"
            note.update(Content.styled(text, "$text-error"))
            return
        for row in self.query(SpecRow):
            now = row.judge()[0]
            # a second relation bounds the metric from the other side
            if row.spec.metric == spec.metric and (now is None or now.relation == spec.relation):
                row.query_one(Input).value = target_text(spec)
                break
        else:
            row = SpecRow(self.circuit, spec)
            row.reached = self._reached
            await self.mount(row, before=self.query_one(".spec-add"))
        event.input.value = ""
        note.update("")
        self._judge()

    def _judge(self) -> None:
        self.post_message(self.Changed(self.specs() is not None))
