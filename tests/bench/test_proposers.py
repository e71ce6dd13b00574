"""One suite that every proposer passes, in the loop that the benchmark runs it in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from acs_assistant.bench.hybrids import hybrid_names
from acs_assistant.bench.runner import Job, Result, run_job
from acs_assistant.bench.taskfile import BenchTask
from acs_assistant.config import Settings
from acs_assistant.domain import Measurement, Spec
from acs_assistant.engine.services import Services
from acs_assistant.llm import open_model
from acs_assistant.optimizers import OPTIMIZERS
from acs_assistant.sim.port import SimulationRequest
from tests.bench.parts import GOOD, toy_services
from tests.llm.chat_server import ChatServer
from tests.optimizers.toy import ToySimulator, toy_circuit

HYBRIDS = hybrid_names(OPTIMIZERS)
PROPOSERS = ("model", "model-alone", "server", *OPTIMIZERS, *HYBRIDS)
HEAVY = ("turbo", "scbo")  # a model of theirs is fitted from the third turn of so small a budget
BUDGET = 5
NEVER = BenchTask("never", "toy", (Spec("gbw", ">=", 1e9), Spec("power", "<=", 1e-6)), level="hard")
Make = Callable[[str], Services]


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    arguments = json.dumps({name: f"{value:.9g}" for name, value in GOOD.items()})
    function = {"name": "simulate", "arguments": arguments}
    call = {"id": "1", "type": "function", "function": function}
    with ChatServer() as made:
        made.message = {"role": "assistant", "content": "", "tool_calls": [call]}
        yield made


@pytest.fixture
def make(server: ChatServer) -> Make:
    def services(proposer: str) -> Services:
        parts = toy_services(Settings())
        if proposer == "server":
            parts.open_model = lambda name: open_model(server.url)
        return parts

    return services


def spent(proposer: str) -> int:
    """A ranking asks for sixteen candidates a turn: too many to have ``HEAVY`` models for."""
    if proposer.partition("+")[2] in HEAVY and proposer.startswith("rank"):
        return 2
    return 3 if proposer in HEAVY else BUDGET


def solve(
    services: Services, proposer: str, task: BenchTask = NEVER, seed: int = 0, budget: int = 0
) -> Result:
    name = "model" if proposer == "server" else proposer
    budget = budget or spent(proposer)
    return run_job(Job(task, name, seed, budget), services)


@pytest.mark.parametrize("proposer", PROPOSERS)
def test_spends_its_budget_on_whole_sizings_and_repeats_itself(proposer: str, make: Make) -> None:
    result = solve(make(proposer), proposer)
    assert result["simulations"] == len(result["turns"]) == spent(proposer)
    assert not result["met"] and result["first_met_at"] is None
    circuit = toy_circuit()
    for turn in result["turns"]:
        assert turn["status"] in ("ok", "failed")
        assert list(turn["sizing"]) == [p.name for p in circuit.parameters]
        assert circuit.snap(turn["sizing"]) == pytest.approx(turn["sizing"])
    assert solve(make(proposer), proposer)["turns"] == result["turns"]
    named = result["model"] is not None
    assert named == (proposer in ("model", "model-alone", "server") or "+" in proposer)


@pytest.mark.parametrize("proposer", [p for p in PROPOSERS if "+" not in p])
def test_takes_failures_and_stops_at_the_first_success(proposer: str, make: Make) -> None:
    class FailsTwice(ToySimulator):
        def simulate(self, request: SimulationRequest, cancel: object = None) -> Measurement:
            self.count += 1
            metrics = {"gbw": 2e9, "power": 1e-9, "dc_gain": 90.0, "phase_margin": 80.0}
            if self.count <= 2:
                return Measurement("failed", {}, conditions=request.conditions, error="no solution")
            return Measurement("ok", metrics, conditions=request.conditions)

    services = make(proposer)
    services.make_simulator = FailsTwice
    result = solve(services, proposer, budget=4)
    assert [turn["status"] for turn in result["turns"]] == ["failed", "failed", "ok"]
    assert [turn["score"] for turn in result["turns"]] == [0.0, 0.0, 1.0]
    assert result["met"] and result["first_met_at"] == 3


@pytest.mark.parametrize("proposer", OPTIMIZERS)
def test_another_seed_gives_other_sizings(proposer: str, make: Make) -> None:
    first, other = (
        [t["sizing"] for t in solve(make(proposer), proposer, seed=seed)["turns"]]
        for seed in (0, 1)
    )
    assert first != other


@pytest.mark.parametrize("proposer", ["model", "random", "model+sobol"])
def test_corners_are_one_simulation_of_the_budget(proposer: str, make: Make) -> None:
    task = replace(NEVER, corners=("tt", "ff", "ss"))
    services = make(proposer)
    result = solve(services, proposer, task, budget=2)
    assert result["simulations"] == 2
    simulator = services.simulator()
    assert isinstance(simulator, ToySimulator)
    assert simulator.count == 6
