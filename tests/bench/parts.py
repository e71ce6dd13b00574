"""The parts that a benchmark is given in these tests; worker processes import them from here."""

from __future__ import annotations

import json
import os
import random
import signal

from acs_assistant.bench.hybrids import make_hybrid
from acs_assistant.cancel import CancelToken
from acs_assistant.config import Settings
from acs_assistant.domain import Circuit, Measurement
from acs_assistant.engine.services import Services
from acs_assistant.errors import InputError
from acs_assistant.llm.scripted import Request, ScriptedModel
from acs_assistant.optimizers import OPTIMIZERS, make_optimizer
from acs_assistant.optimizers.space import DesignSpace
from acs_assistant.sim.port import SimulationRequest
from acs_assistant.storage.store import Store
from tests.optimizers.toy import ToySimulator, toy_circuit


def load(name: str) -> Circuit:
    if name != "toy":
        raise InputError(f"unknown circuit '{name}'.")
    return toy_circuit()


GOOD = {
    "w_in": 11.4e-6, "l_in": 0.41e-6, "w_load": 90e-6, "l_load": 2e-6, "w_out": 65e-6,
    "l_out": 0.26e-6, "i_tail": 12.7e-6, "c_c": 2e-12, "fold": 8,
}  # fmt: skip


class NearGood:
    """What a trained model would do: sizings near one that meets the default specs."""

    def __init__(self) -> None:
        self._draw = random.Random(0)

    def __call__(self, request: Request) -> str:
        space = DesignSpace(toy_circuit())
        around = [x + 0.05 * self._draw.gauss(0, 1) for x in space.to_unit(GOOD)]
        return call(space.from_unit(around))


def call(sizing: dict[str, float]) -> str:
    """An assistant text as a model writes it."""
    arguments = {name: f"{value:.9g}" for name, value in sizing.items()}
    body = json.dumps({"name": "simulate", "arguments": arguments})
    return f"<think>\nNear the last one.\n</think>\n<tool_call>\n{body}\n</tool_call>"


def toy_services(settings: Settings) -> Services:
    """Formulas for ngspice, a script for the model; optimizers and engine are the real ones."""
    return Services(
        settings=settings,
        store=Store.memory(),
        list_circuits=list,
        load_circuit=load,
        list_models=list,
        open_model=lambda name: ScriptedModel(*[NearGood()] * 500),
        make_simulator=ToySimulator,
        make_optimizer=make_optimizer,
        optimizers=OPTIMIZERS,
        make_hybrid=lambda name, parts, budget, model: make_hybrid(
            name, parts, budget=budget, model=model
        ),
    )


class _Deadly(ToySimulator):
    def simulate(
        self, request: SimulationRequest, cancel: CancelToken | None = None
    ) -> Measurement:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def deadly_services(settings: Settings) -> Services:
    """Its simulator kills the process that it is in."""
    services = toy_services(settings)
    services.make_simulator = _Deadly
    return services
