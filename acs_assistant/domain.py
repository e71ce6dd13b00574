"""The vocabulary: circuit, parameter, sizing, metric, spec, task, proposal, measurement, turn.

Every quantity is an SI float (metres, farads, amperes, hertz, watts, volts, seconds); gains,
rejection ratios and margins of phase keep the field's own dB and degrees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from acs_assistant.errors import InputError, nearest
from acs_assistant.units import format_quantity

Relation = Literal[">=", "<=", "=="]
Corner = Literal["tt", "ff", "ss", "fs", "sf"]
CORNERS: tuple[Corner, ...] = ("tt", "ff", "ss", "fs", "sf")
Sizing = Mapping[str, float]
SHOWN = 4
"""Turns that the shipped model is trained with at most, and shown unless a setting says else."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A design variable. Matched devices share one.

    Attributes:
        unit: "m", "F", "A", "Ohm", "V" or "" for a count.
        min: Lower bound, SI.
        max: Upper bound, SI.
        grid: Manufacturing step, SI; a sizing lies on ``min + k * grid``-rounded multiples of it.
        scale: How an optimizer should walk between the bounds.
        role: What a designer calls it ("input pair width").
        devices: Instances in the netlist that it sizes ("M1", "M2").
    """

    name: str
    unit: str
    min: float
    max: float
    grid: float
    scale: Literal["log", "linear"] = "log"
    role: str = ""
    devices: tuple[str, ...] = ()

    def snap(self, value: float) -> float:
        """The nearest value on the grid inside the bounds."""
        steps = round(min(max(value, self.min), self.max) / self.grid)
        snapped = float(f"{steps * self.grid:.12g}")
        return min(max(snapped, self.min), self.max)

    def contains(self, value: float) -> bool:
        slack = 1e-9 * max(abs(self.min), abs(self.max))
        return self.min - slack <= value <= self.max + slack

    def to_unit(self, value: float) -> float:
        """Maps the bounds to [0, 1], along ``scale``."""
        if self.scale == "log":
            return math.log(value / self.min) / math.log(self.max / self.min)
        return (value - self.min) / (self.max - self.min)

    def from_unit(self, position: float) -> float:
        """The inverse of ``to_unit``, snapped."""
        position = min(max(position, 0.0), 1.0)
        if self.scale == "log":
            return self.snap(self.min * (self.max / self.min) ** position)
        return self.snap(self.min + position * (self.max - self.min))

    def format(self, value: float) -> str:
        """SPICE notation, with as many digits as the grid needs to read the same value back."""
        steps = max(abs(round(value / self.grid)), 1)
        return format_quantity(value, digits=max(4, len(str(steps)) + 1))


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured figure.

    Attributes:
        testbench: Name of the ``tb_<name>.spice`` that it is measured in.
        measure: A built-in measure ("unity_gain_frequency"), or "meas" for the ``.meas`` named by
            ``arguments["name"]``.
        arguments: What the measure needs: nodes, sources, tolerances.
        better: The direction a designer wants, for display.
    """

    name: str
    unit: str
    testbench: str
    measure: str
    arguments: Mapping[str, str | int | float] = field(default_factory=dict)
    better: Literal["higher", "lower", "neither"] = "neither"
    description: str = ""


@dataclass(frozen=True, slots=True)
class Spec:
    """A metric, a relation and a target. ``tolerance`` is absolute and serves "==" alone.

    ``range`` is where training and benchmark targets are drawn from: (low, high).
    """

    metric: str
    relation: Relation
    target: float
    weight: float = 1.0
    tolerance: float = 0.0
    range: tuple[float, float] | None = None

    def __str__(self) -> str:
        return f"{self.metric} {self.relation} {format_quantity(self.target)}"


@dataclass(frozen=True, slots=True)
class Objective:
    """What to minimise or maximise among sizings that meet every spec."""

    metric: str
    goal: Literal["minimize", "maximize"] = "minimize"


@dataclass(frozen=True, slots=True)
class Conditions:
    """Where a simulation is made.

    Attributes:
        supply: Volts.
        temperature: Degrees Celsius.
        load: Farads, amperes or ohms, as the circuit's ``load_unit`` says.
        corner: Process corner of the PDK.
    """

    supply: float = 1.8
    temperature: float = 27.0
    load: float = 0.0
    corner: Corner = "tt"


@dataclass(frozen=True, slots=True)
class Testbench:
    """One SPICE file that instantiates the circuit, with its text as read."""

    __test__ = False  # not a pytest class

    name: str
    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Circuit:
    """A circuit folder, read and validated (``library.load_circuit``).

    Attributes:
        condition_ranges: (low, high) per condition that tasks may draw from.
        netlist: Text of ``netlist.spice``: one ``.subckt`` whose parameters are ``parameters``.
        reference: The sizing in ``reference.toml``; empty when the folder has none.
        reference_metrics: What that sizing measured when it was stored.
        schematic: A plain-text drawing for the terminal; may be empty.
        load_unit: What ``conditions.load`` is in: "F", "A" or "Ohm".
    """

    name: str
    title: str
    pdk: str
    category: str
    description: str
    path: Path
    parameters: tuple[Parameter, ...]
    metrics: tuple[Metric, ...]
    specs: tuple[Spec, ...]
    conditions: Conditions
    netlist: str
    testbenches: tuple[Testbench, ...]
    objective: Objective | None = None
    condition_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    reference: Sizing = field(default_factory=dict)
    reference_metrics: Mapping[str, float] = field(default_factory=dict)
    schematic: str = ""
    load_unit: str = "F"

    def parameter(self, name: str) -> Parameter:
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise InputError(
            f"circuit {self.name} has no parameter '{name}'.",
            hint=nearest(name, (p.name for p in self.parameters)),
        )

    def metric(self, name: str) -> Metric:
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise InputError(
            f"circuit {self.name} has no metric '{name}'.",
            hint=nearest(name, (m.name for m in self.metrics)),
        )

    def snap(self, sizing: Sizing) -> dict[str, float]:
        """Every parameter once, on its grid, in the circuit's order.

        Raises:
            InputError: A parameter is missing, unknown, not finite or out of its bounds.
        """
        for name in sizing:
            self.parameter(name)
        snapped: dict[str, float] = {}
        for parameter in self.parameters:
            value = sizing.get(parameter.name)
            if value is None:
                raise InputError(f"parameter '{parameter.name}' has no value.")
            if not math.isfinite(value) or not parameter.contains(value):
                low, high = parameter.format(parameter.min), parameter.format(parameter.max)
                raise InputError(
                    f"{parameter.name} = {format_quantity(value)} is out of bounds.",
                    hint=f"Give {parameter.name} a value from {low} to {high}.",
                )
            snapped[parameter.name] = parameter.snap(value)
        return snapped


@dataclass(frozen=True, slots=True)
class Task:
    """What a session solves: it never changes between turns unless the engineer edits the specs.

    Attributes:
        corners: Every corner that the specs must hold at; the worst one counts.
    """

    circuit: Circuit
    specs: tuple[Spec, ...]
    conditions: Conditions
    corners: tuple[Corner, ...] = ("tt",)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One device at dc. Volts, amperes, siemens; magnitudes for pmos as for nmos.

    ``region`` is "off", "subthreshold", "linear" or "saturation".
    """

    name: str
    kind: Literal["nmos", "pmos"]
    region: str
    id: float
    gm: float
    gds: float
    vgs: float
    vds: float
    vth: float
    vdsat: float

    @property
    def gm_over_id(self) -> float:
        return self.gm / self.id if self.id else 0.0


@dataclass(frozen=True, slots=True)
class Waveform:
    """Vectors of one analysis, for plots. ``y`` columns are complex in an ac analysis."""

    analysis: str
    testbench: str
    x_name: str
    x: tuple[float, ...]
    y: Mapping[str, tuple[complex, ...] | tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What ngspice gave for one sizing under one set of conditions.

    A failed simulation is a Measurement with status "failed" and a reason, never an exception.
    """

    status: Literal["ok", "failed"]
    metrics: Mapping[str, float]
    devices: tuple[OperatingPoint, ...] = ()
    conditions: Conditions = field(default_factory=Conditions)
    error: str = ""
    seconds: float = 0.0
    cached: bool = False
    waveforms: tuple[Waveform, ...] = ()


@dataclass(frozen=True, slots=True)
class SpecResult:
    """One spec held against what was measured.

    Attributes:
        value: The worst corner's value; None when the metric is missing.
        margin: Signed distance to the target in the metric's unit, positive when met.
        shortfall: ``e_i`` in [0, 1]; 0 when met.
        corner: Where the worst value was measured.
    """

    spec: Spec
    value: float | None
    margin: float | None
    shortfall: float
    met: bool
    corner: str


@dataclass(frozen=True, slots=True)
class Score:
    """``value`` is 1 − Σ w·e / Σ w, in [0, 1]."""

    value: float
    met: bool
    specs: tuple[SpecResult, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One simulation of the budget: every testbench at every corner of the task, scored."""

    measurements: tuple[Measurement, ...]
    score: Score

    @property
    def nominal(self) -> Measurement:
        return self.measurements[0]

    @property
    def status(self) -> Literal["ok", "failed"]:
        return "failed" if any(m.status == "failed" for m in self.measurements) else "ok"

    @property
    def error(self) -> str:
        return next((m.error for m in self.measurements if m.status == "failed"), "")


@dataclass(frozen=True, slots=True)
class Proposal:
    """One complete set of sizes, and the words that came with it.

    Attributes:
        sizing: Snapped to the grid; empty when the call was invalid.
        reasoning: Free text of the model; empty from an optimizer.
        raw: The assistant's text exactly as generated.
        predictions: Metric values that the reasoning expects, SI.
        error: Why the call is invalid; empty when it is not.
    """

    sizing: Sizing
    proposer: str
    reasoning: str = ""
    raw: str = ""
    predictions: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What the person, or auto mode, did with a proposal.

    ``sizing`` is what will be simulated (accepted or edited), ``reason`` what the model is told
    after a rejection. "invalid" marks a proposal that could not be used at all; "regenerated" one
    that was set aside for a fresh one from the same history.
    """

    kind: Literal["accepted", "edited", "rejected", "invalid", "regenerated"]
    sizing: Sizing = field(default_factory=dict)
    reason: str = ""
    by: Literal["engineer", "auto"] = "auto"


@dataclass(frozen=True, slots=True)
class Turn:
    """One node of the session's tree. Rejected turns have no evaluation."""

    id: int
    parent: int | None
    index: int
    proposal: Proposal
    decision: Decision | None = None
    evaluation: Evaluation | None = None
    specs: tuple[Spec, ...] = ()


def best_turn(turns: tuple[Turn, ...] | list[Turn]) -> Turn | None:
    """The simulated turn with the highest score; the earliest of equals."""
    scored = [t for t in turns if t.evaluation is not None]
    return max(scored, key=lambda t: (t.evaluation.score.value, -t.index), default=None)  # type: ignore[union-attr]
