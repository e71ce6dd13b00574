"""Fakes at the ports, all of them repeatable: a circuit, a simulator with hand equations, a model.

The store, the engine, the parser and the scoring are the real ones.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from acs_assistant.cancel import CancelToken
from acs_assistant.config import InterfaceSettings, SessionSettings, Settings
from acs_assistant.domain import (
    Circuit,
    Conditions,
    Evaluation,
    Measurement,
    Metric,
    Objective,
    OperatingPoint,
    Parameter,
    Sizing,
    Spec,
    Task,
    Waveform,
)
from acs_assistant.engine.services import Services
from acs_assistant.errors import InputError
from acs_assistant.llm.scripted import ScriptedModel
from acs_assistant.sim.port import SimulationRequest
from acs_assistant.storage.store import Store
from acs_assistant.tui.app import AcsApp

SCHEMATIC = """\
 VDD ──┬────────┬───────────┬──
      M3 ├──┬──┤ M4        M6
       │    │   ├──Rz─Cc─┐  │
       └────┘   └────────┼──┤├── out
 inn ─┤M1     M2├─ inp   └──┤
       └───┬────┘           │
 bias ────┤M5     M8├──┬───┤M7
 GND ──────┴───────────┴────┴──"""

_SIZES = (
    ("w_in", 1e-6, 100e-6, 40e-6, "width of the input pair", ("M1", "M2")),
    ("l_in", 0.15e-6, 2e-6, 0.5e-6, "length of the input pair", ("M1", "M2")),
    ("w_load", 1e-6, 100e-6, 10e-6, "width of the mirror load", ("M3", "M4")),
    ("l_load", 0.15e-6, 2e-6, 0.5e-6, "length of the mirror load", ("M3", "M4")),
    ("w_tail", 1e-6, 100e-6, 10e-6, "width of the tail source", ("M5",)),
    ("w_bias", 1e-6, 50e-6, 5e-6, "width of the bias diode", ("M8",)),
    ("l_bias", 0.15e-6, 4e-6, 1e-6, "length of the current sources", ("M5", "M7", "M8")),
    ("w_drv", 1e-6, 200e-6, 80e-6, "width of the output driver", ("M6",)),
    ("l_drv", 0.15e-6, 2e-6, 0.5e-6, "length of the output driver", ("M6",)),
    ("w_src", 1e-6, 200e-6, 40e-6, "width of the output source", ("M7",)),
)

REFERENCE: dict[str, float] = {name: ref for name, _, _, ref, _, _ in _SIZES} | {
    "i_bias": 10e-6, "c_c": 2e-12, "r_z": 2e3,
}  # fmt: skip


def make_circuit() -> Circuit:
    parameters = [
        Parameter(name, "m", low, high, 10e-9, "log", role, devices)
        for name, low, high, _, role, devices in _SIZES
    ]
    parameters += [
        Parameter("i_bias", "A", 1e-6, 100e-6, 0.1e-6, "log", "bias current", ("M8",)),
        Parameter("c_c", "F", 0.2e-12, 10e-12, 10e-15, "log", "Miller capacitor", ("Cc",)),
        Parameter("r_z", "Ohm", 100, 20e3, 10, "log", "nulling resistor", ("Rz",)),
    ]
    node: Mapping[str, str | float] = {"node": "out"}
    metrics = (
        Metric("dc_gain", "dB", "ac", "dc_gain", node, "higher", "open-loop gain"),
        Metric("gbw", "Hz", "ac", "unity_gain_frequency", node, "higher", "unity gain"),
        Metric("phase_margin", "deg", "ac", "phase_margin", node, "higher", "phase left"),
        Metric("power", "W", "ac", "power", {}, "lower", "from the supply"),
        Metric("slew_rate", "V/s", "tran", "slew_rate", node, "higher", "slope"),
        Metric("cmrr", "dB", "ac", "cmrr", node, "higher", "rejection"),
    )
    circuit = Circuit(
        name="two_stage_miller",
        title="Two-stage Miller op-amp",
        pdk="sky130",
        category="amplifier",
        description="Nmos pair and pmos mirror, pmos output stage, Miller capacitor, nulling "
        "resistor.",
        path=Path("two_stage_miller"),
        parameters=tuple(parameters),
        metrics=metrics,
        specs=(
            Spec("dc_gain", ">=", 60.0, range=(55.0, 80.0)),
            Spec("gbw", ">=", 10e6, range=(5e6, 40e6)),
            Spec("phase_margin", ">=", 60.0, range=(55.0, 75.0)),
            Spec("power", "<=", 300e-6, range=(100e-6, 500e-6)),
            Spec("slew_rate", ">=", 8e6, range=(4e6, 20e6)),
        ),
        conditions=Conditions(1.8, 27.0, 5e-12, "tt"),
        netlist=".subckt two_stage_miller inp inn out vdd vss\n.ends\n",
        testbenches=(),
        objective=Objective("power"),
        reference=dict(REFERENCE),
        schematic=SCHEMATIC,
    )
    from dataclasses import replace

    measured = figures(REFERENCE, circuit.conditions, None)
    return replace(circuit, reference_metrics=measured)


def figures(sizing: Sizing, conditions: Conditions, seed: int | None) -> dict[str, float]:
    """Hand equations of a two-stage op-amp; good enough to have trade-offs."""
    kn, kp, lam = 270e-6, 90e-6, 0.06e-6
    fast = {"ff": 1.15, "ss": 0.85}.get(conditions.corner, 1.0)
    if seed is not None:
        fast *= 1 + random.Random(seed).gauss(0, 0.03)
    tail = sizing["i_bias"] * sizing["w_tail"] / sizing["w_bias"]
    out = sizing["i_bias"] * sizing["w_src"] / sizing["w_bias"]
    gm1 = math.sqrt(kn * fast * sizing["w_in"] / sizing["l_in"] * tail)
    gm6 = math.sqrt(2 * kp * fast * sizing["w_drv"] / sizing["l_drv"] * out)
    r1 = 1 / (tail / 2 * (lam / sizing["l_in"] + lam / sizing["l_load"]))
    r2 = 1 / (out * (lam / sizing["l_drv"] + lam / sizing["l_bias"]))
    gain = gm1 * r1 * gm6 * r2
    gbw = gm1 / (2 * math.pi * sizing["c_c"])
    second = gm6 / (2 * math.pi * (conditions.load + 0.3e-12))
    zero = 1 / (2 * math.pi * sizing["c_c"] * (1 / gm6 - sizing["r_z"] + 1e-3))
    margin = 90 - math.degrees(math.atan(gbw / second)) - math.degrees(math.atan(gbw / zero))
    return {
        "dc_gain": 20 * math.log10(gain),
        "gbw": gbw,
        "phase_margin": max(0.0, min(110.0, margin)),
        "power": conditions.supply * (sizing["i_bias"] + tail + out),
        "slew_rate": tail / sizing["c_c"],
        "cmrr": 20 * math.log10(gain) + 8.0,
    }


def _devices(sizing: Sizing) -> tuple[OperatingPoint, ...]:
    tail = sizing["i_bias"] * sizing["w_tail"] / sizing["w_bias"]
    out = sizing["i_bias"] * sizing["w_src"] / sizing["w_bias"]
    rows = []
    for n, current in enumerate((tail / 2, tail / 2, tail / 2, tail / 2, tail, out, out), start=1):
        vdsat = 0.08 + 0.02 * n
        vds = 0.15 if n == 5 else 0.62
        region = "linear" if vds < vdsat else "saturation"
        gm = 2 * current / vdsat
        kind = "pmos" if n in (3, 4, 6) else "nmos"
        rows.append(
            OperatingPoint(
                f"M{n}", kind, region, current, gm, gm / 40, 0.45 + vdsat, vds, 0.45, vdsat
            )
        )
    return tuple(rows)


def _waveforms(metrics: Mapping[str, float]) -> tuple[Waveform, ...]:
    gain = 10 ** (metrics["dc_gain"] / 20)
    first = metrics["gbw"] / gain
    second = metrics["gbw"] / math.tan(math.radians(max(1.0, 90 - metrics["phase_margin"])))
    f = tuple(10 ** (n / 10) for n in range(91))
    h = tuple(gain / ((1 + 1j * x / first) * (1 + 1j * x / second)) for x in f)
    t = tuple(n * 5e-9 for n in range(101))
    tau = 1 / (2 * math.pi * metrics["gbw"])
    step = tuple(0.9 + 0.2 * (1 - math.exp(-x / tau)) for x in t)
    return (
        Waveform("ac", "ac", "frequency", f, {"v(out)": h}),
        Waveform("tran", "tran", "time", t, {"v(out)": step}),
        Waveform("noise", "ac", "frequency", f, {"inoise": tuple(1e-6 / math.sqrt(x) for x in f)}),
    )


class FakeSimulator:
    """The ``Simulator`` port over hand equations. ``fails`` lists calls (from 1) that fail."""

    version = "ngspice-fake"

    def __init__(self, fails: Iterable[int] = ()) -> None:
        self.calls = 0
        self.fails = frozenset(fails)
        self.closed = False

    def simulate(
        self, request: SimulationRequest, cancel: CancelToken | None = None
    ) -> Measurement:
        self.calls += 1
        if cancel is not None:
            cancel.raise_if_cancelled()
        if self.calls in self.fails:
            error = "no convergence in the operating point: gmin stepping failed"
            return Measurement("failed", {}, conditions=request.conditions, error=error)
        metrics = figures(request.sizing, request.conditions, request.mismatch_seed)
        return Measurement(
            "ok",
            metrics,
            _devices(request.sizing),
            request.conditions,
            seconds=0.04,
            waveforms=_waveforms(metrics) if request.waveforms else (),
        )

    def map(
        self, requests: Iterable[SimulationRequest], cancel: CancelToken | None = None
    ) -> Iterator[tuple[int, Measurement]]:
        for n, request in enumerate(requests):
            yield n, self.simulate(request, cancel)

    def close(self) -> None:
        self.closed = True


THOUGHTS = (
    "The gain of 48 dB is **12 dB short**, so both stages need longer channels. "
    "I raise `l_in` and `l_load`, which lowers the output conductance of the first stage.\n\n"
    "- wider input pair: more gm for the same current\n"
    "- smaller `c_c`: the bandwidth grows with gm over c_c\n\n"
    "I expect dc_gain 64, gbw 9meg and phase_margin 68.",
    "The gain is met now. The bandwidth is still low, so I give the pair more current through "
    "`w_tail` and keep the second pole where it is with a wider driver.\n\n"
    "I expect gbw 14meg, phase_margin 61 and power 250u.",
    "The slew rate is the tail current over c_c. I take a little off `c_c` and watch the phase "
    "margin, which the nulling resistor `r_z` can give back.\n\n"
    "I expect slew_rate 10meg and phase_margin 60.",
    "Power is close to its limit. I take current out of the output stage, where the margin is.\n\n"
    "I expect power 240u.",
)

_MOVES: tuple[dict[str, float], ...] = (
    {"w_in": 0.2, "l_in": 0.3, "l_load": 0.3, "l_drv": 0.3, "l_bias": 0.3, "c_c": 1.4},
    {"w_in": 0.6, "l_in": 0.7, "c_c": 1.2, "w_tail": 0.5},
    {"c_c": 1.1, "w_tail": 0.7},
    {},
    {"w_src": 0.9},
)


def reply(turn: int) -> str:
    """What the model says in a turn, counted from 0: reasoning and one call."""
    circuit = make_circuit()
    moves = _MOVES[min(turn, len(_MOVES) - 1)]
    extra = 1 + 0.01 * max(0, turn - len(_MOVES) + 1)
    sizing = {
        p.name: p.snap(
            REFERENCE[p.name] * moves.get(p.name, 1.0) * (extra if p.name == "w_drv" else 1)
        )
        for p in circuit.parameters
    }
    call = {
        "name": "simulate",
        "arguments": {p.name: p.format(sizing[p.name]) for p in circuit.parameters},
    }
    thoughts = THOUGHTS[turn % len(THOUGHTS)]
    return f"<think>{thoughts}</think>\n<tool_call>{json.dumps(call)}</tool_call>"


class FakeOptimizer:
    """Walks around the reference."""

    name = "tpe"

    def __init__(self, circuit: Circuit, seed: int) -> None:
        self.circuit = circuit
        self.random = random.Random(seed)

    def ask(self) -> Sizing:
        return {
            p.name: p.snap(REFERENCE[p.name] * self.random.uniform(0.7, 1.4))
            for p in self.circuit.parameters
        }

    def tell(self, sizing: Sizing, evaluation: Evaluation) -> None:
        pass


@dataclass(frozen=True)
class CircuitRow:
    name: str
    title: str
    category: str
    pdk: str
    parameters: int
    path: Path


@dataclass(frozen=True)
class CardRow:
    name: str
    parameters: str
    quantization: str
    trained_on: str


class Clock:
    """Monotonic seconds that move only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def make_services(
    folder: Path,
    *,
    model: ScriptedModel | None = None,
    simulator: FakeSimulator | None = None,
    settings: Settings | None = None,
    circuit: Circuit | None = None,
    open_model: Callable[[str], object] | None = None,
) -> Services:
    """Services over fakes and a real store in ``folder``."""
    circuit = circuit or make_circuit()
    model = model or ScriptedModel(*(reply(n) for n in range(40)))
    chosen = settings or Settings(
        session=SessionSettings(budget=10, seed=1),
        interface=InterfaceSettings(approval_delay=0.5),
    )

    def load(name: str) -> Circuit:
        if Path(name).name != circuit.name:
            raise InputError(f"there is no circuit '{name}'.", hint=f"Known: {circuit.name}.")
        return circuit

    def optimizer(name: str, task: Task, seed: int, budget: int) -> FakeOptimizer:
        return FakeOptimizer(task.circuit, seed)

    row = CircuitRow(circuit.name, circuit.title, "amplifier", "sky130", 13, circuit.path)
    card = CardRow("acs-5m-q8", "5.2 M", "Q8_0", "synthetic sessions on two circuits")
    return Services(
        settings=chosen,
        store=Store(folder / "sessions.db"),
        list_circuits=lambda: [row],
        load_circuit=load,
        list_models=lambda: [card],
        open_model=open_model or (lambda name: model),  # type: ignore[arg-type, return-value]
        make_simulator=lambda: simulator or FakeSimulator(),
        make_optimizer=optimizer,
        optimizers=("tpe", "cmaes"),
        fine_tune=(sys.executable, "-c", "raise SystemExit('no training in tests')"),
    )


def make_app(folder: Path, clock: Clock | None = None, **parts: object) -> AcsApp:
    return AcsApp(make_services(folder, **parts), clock=clock or Clock())  # type: ignore[arg-type]
