"""A circuit with a formula for ngspice, and scripted parts at the ports."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.domain import (
    Circuit,
    Conditions,
    Corner,
    Evaluation,
    Measurement,
    Metric,
    Objective,
    OperatingPoint,
    Parameter,
    Proposal,
    Sizing,
    Spec,
    Task,
    Testbench,
    Turn,
    Waveform,
)
from acs_assistant.engine.proposers import Prompted
from acs_assistant.events import TextDelta
from acs_assistant.llm.port import Completion, ModelInfo, Sampling
from acs_assistant.sim.port import SimulationRequest

WIDTH = Parameter("w_in", "m", 1e-6, 100e-6, 10e-9, role="input pair width", devices=("M1", "M2"))
CURRENT = Parameter("i_bias", "A", 1e-6, 100e-6, 1e-8, role="bias current")

CIRCUIT = Circuit(
    name="toy",
    title="Toy amplifier",
    pdk="none",
    category="amplifier",
    description="gbw grows with width and current, power with current.",
    path=Path("circuits/toy"),
    parameters=(WIDTH, CURRENT),
    metrics=(
        Metric("gbw", "Hz", "ac", "unity_gain_frequency", {"node": "out"}, "higher"),
        Metric("power", "W", "ac", "supply_power", {"source": "vdd"}, "lower"),
        Metric("offset", "V", "ac", "offset", {"node": "out"}, "neither"),
    ),
    specs=(Spec("gbw", ">=", 10e6), Spec("power", "<=", 100e-6)),
    conditions=Conditions(load=1e-12),
    netlist=".subckt toy in out\n.ends\n",
    testbenches=(Testbench("ac", Path("circuits/toy/tb_ac.spice"), "* toy\n.end\n"),),
    objective=Objective("power"),
    reference={"w_in": 50e-6, "i_bias": 25e-6},
)
TASK = Task(CIRCUIT, CIRCUIT.specs, CIRCUIT.conditions)
MET = {"w_in": 50e-6, "i_bias": 25e-6}
SHORT = {"w_in": 10e-6, "i_bias": 25e-6}


def toy_metrics(sizing: Sizing, conditions: Conditions) -> dict[str, float]:
    slow = {"ss": 0.8, "ff": 1.2}.get(conditions.corner, 1.0)
    width, current = sizing["w_in"], sizing["i_bias"]
    return {
        "gbw": slow * 4e11 * (width * current) ** 0.5,
        "power": conditions.supply * current * 2,
        "offset": 0.0,
    }


class ToySimulator:
    """Closed-form metrics. ``hook`` sees each request first and may fail, block or raise."""

    version = "toy-1"

    def __init__(self, hook: Callable[[SimulationRequest], str] | None = None) -> None:
        self.requests: list[SimulationRequest] = []
        self.closed = False
        self._hook = hook

    def simulate(
        self, request: SimulationRequest, cancel: CancelToken | None = None
    ) -> Measurement:
        self.requests.append(request)
        error = self._hook(request) if self._hook else ""
        if cancel is not None:
            cancel.raise_if_cancelled()
        if error:
            return Measurement("failed", {}, conditions=request.conditions, error=error)
        device = OperatingPoint("M1", "nmos", "saturation", 1e-5, 1e-4, 1e-6, 0.7, 0.5, 0.5, 0.2)
        waveform = Waveform("ac", "ac", "frequency", (1.0, 10.0), {"out": (1 + 1j, 0.5 - 0.25j)})
        return Measurement(
            "ok",
            toy_metrics(request.sizing, request.conditions),
            (device,),
            request.conditions,
            seconds=0.001,
            waveforms=(waveform,) if request.waveforms else (),
        )

    def map(
        self, requests: Iterable[SimulationRequest], cancel: CancelToken | None = None
    ) -> Iterator[tuple[int, Measurement]]:
        # Backwards, as a parallel simulator may well answer.
        for position, request in reversed(list(enumerate(requests))):
            yield position, self.simulate(request, cancel)

    def close(self) -> None:
        self.closed = True


@dataclass
class ScriptedProposer:
    """Gives these sizings one after the other; a text instead is an invalid proposal."""

    script: Sequence[Sizing | str]
    name: str = "scripted"
    model: ModelInfo | None = None
    seen: list[tuple[Task, list[Turn], int]] = field(default_factory=list)
    on_text: Callable[[], None] = lambda: None

    def propose(
        self,
        task: Task,
        turns: Sequence[Turn],
        seed: int,
        cancel: CancelToken,
        avoid: Sequence[Sizing] = (),
    ) -> Iterator[TextDelta | Prompted | Proposal]:
        item = self.script[len(self.seen) % len(self.script)]
        self.seen.append((task, list(turns), seed))
        yield Prompted([{"role": "user", "content": f"{len(turns)} turns"}], 0.0)
        yield TextDelta("reasoning", "wider ")
        self.on_text()
        cancel.raise_if_cancelled()
        yield TextDelta("reasoning", "is faster")
        if isinstance(item, str):
            yield Proposal({}, self.name, raw=item, error=item)
        else:
            yield Proposal(dict(item), self.name, "wider is faster", predictions={"gbw": 1e7})


class ScriptedModel:
    """A language model that says the given texts, in small pieces."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.info = ModelInfo("scripted", Path("scripted.gguf"), "ab" * 32, "llama", 1, "f16", 4096)
        self.calls: list[tuple[list[Mapping[str, Any]], Sampling, str | None]] = []
        self.closed = False
        self.forgotten = 0
        self._texts = list(texts)

    def stream(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        grammar: str | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[str]:
        text = self._texts[len(self.calls) % len(self._texts)]
        self.calls.append((list(messages), sampling, grammar))
        for start in range(0, len(text), 7):
            if cancel is not None and cancel.cancelled:
                raise CancelledError
            yield text[start : start + 7]

    def sample_group(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        count: int,
        grammar: str | None = None,
        cancel: CancelToken | None = None,
    ) -> list[Completion]:
        text = "".join(self.stream(messages, tools, sampling, grammar, cancel))
        return [Completion(text, len(text), "stop")] * count

    def forget(self) -> None:
        self.forgotten += 1

    def close(self) -> None:
        self.closed = True


class LineOptimizer:
    """Asks along a line through the box; remembers what it was told."""

    name = "line"

    def __init__(self, seed: int) -> None:
        self.told: list[tuple[Sizing, Evaluation]] = []
        self._asked = seed % 3

    def ask(self) -> Sizing:
        self._asked += 1
        position = (self._asked % 11) / 11
        return {p.name: p.from_unit(position) for p in CIRCUIT.parameters}

    def tell(self, sizing: Sizing, evaluation: Evaluation) -> None:
        self.told.append((sizing, evaluation))


def call(sizing: Mapping[str, str], reasoning: str = "Wider is faster.") -> str:
    """An assistant text as a model writes it."""
    body = json.dumps({"name": "simulate", "arguments": dict(sizing)})
    return f"<think>\n{reasoning}\n</think>\n<tool_call>\n{body}\n</tool_call>"


def corners(*names: Corner) -> Task:
    return Task(CIRCUIT, CIRCUIT.specs, CIRCUIT.conditions, names)


def block_until(ready: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)
