from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from acs_assistant.bench.hybrids import draw_group, hybrid_names, make_hybrid
from acs_assistant.bench.runner import Job, Result, run_job
from acs_assistant.bench.taskfile import BenchTask
from acs_assistant.cancel import CancelToken
from acs_assistant.config import Settings
from acs_assistant.domain import Spec
from acs_assistant.engine.services import Services
from acs_assistant.errors import InputError
from acs_assistant.llm.scripted import ScriptedModel
from acs_assistant.optimizers.space import DesignSpace
from tests.bench.parts import GOOD, NearGood, call, toy_services
from tests.optimizers.toy import toy_circuit, toy_task

SPACE = DesignSpace(toy_circuit())
RELAXED = BenchTask(
    "relaxed",
    "toy",
    (
        Spec("dc_gain", ">=", 67.0),
        Spec("gbw", ">=", 9e6),
        Spec("phase_margin", ">=", 52.0),
        Spec("power", "<=", 170e-6),
    ),
)
HARD = replace(RELAXED, specs=(Spec("gbw", ">=", 1e9), Spec("power", "<=", 1e-6)))  # never met
NEARLY = replace(RELAXED, specs=(Spec("dc_gain", ">=", 90.0), Spec("power", "<=", 170e-6)))


@pytest.fixture
def services() -> Services:
    return toy_services(Settings())


def solve(task: BenchTask, proposer: str, services: Services, budget: int = 20) -> Result:
    return run_job(Job(task, proposer, 0, budget), services)


def distance(sizing: dict[str, float], other: dict[str, float] = GOOD) -> float:
    pairs = zip(SPACE.to_unit(sizing), SPACE.to_unit(other), strict=True)
    return max(abs(x - y) for x, y in pairs)


@pytest.mark.parametrize("name", hybrid_names(("tpe", "cmaes", "sobol")))
def test_every_hybrid_runs_its_budget_and_repeats_itself(name: str) -> None:
    results = [solve(HARD, name, toy_services(Settings()), 14) for _ in range(2)]
    assert results[0]["simulations"] == 14
    assert results[0]["turns"] == results[1]["turns"]
    assert results[0]["model"] == "scripted"
    sizings = [tuple(turn["sizing"].values()) for turn in results[0]["turns"]]
    assert len(set(sizings)) == 14


def test_hand_over_when_the_model_stops_improving(services: Services) -> None:
    services.open_model = lambda name: ScriptedModel(*[call(dict(GOOD))] * 100)  # says one thing
    turns = solve(NEARLY, "model+tpe", services)["turns"]
    assert 0.9 < turns[0]["score"] < 1
    repeated = [distance(turn["sizing"]) < 1e-3 for turn in turns]
    assert repeated[:4] == [True] * 4, "one proposal and three that bring nothing"
    near = [distance(turn["sizing"]) < 0.4 for turn in turns]
    assert near[4:10] == [True] * 6, "then the neighbourhood of the best"
    assert not all(near[10:]), "then the optimizer, free in the box"


def test_hand_over_when_the_model_hardly_improves(services: Services) -> None:
    creeping = [GOOD | {"i_tail": GOOD["i_tail"] * (1 + 0.01 * k)} for k in range(10)]
    services.open_model = lambda name: ScriptedModel(*map(call, creeping))
    turns = solve(HARD, "model+tpe", services)["turns"]
    scores = [turn["score"] for turn in turns[:4]]
    assert scores == sorted(set(scores)), "each a little better than the one before"
    model = services.model()
    assert isinstance(model, ScriptedModel)
    assert len(model.requests) == 4


def test_no_neighbourhood_of_a_sizing_that_is_far_from_the_specs(services: Services) -> None:
    services.open_model = lambda name: ScriptedModel(*[call(dict(GOOD))] * 100)
    turns = solve(HARD, "model+tpe", services)["turns"]
    far = [distance(turn["sizing"]) > 0.4 for turn in turns]
    assert far[:4] == [False] * 4, "the model"
    assert far[4:10].count(True) >= 4, "then the optimizer, free in the box"


def test_hand_over_at_half_of_the_budget_at_the_latest(services: Services) -> None:
    model = ScriptedModel(*[NearGood()] * 100)
    services.open_model = lambda name: model
    solve(HARD, "model+random", services, 8)
    assert 1 <= len(model.requests) <= 4 * 3  # up to two fresh draws a turn


def test_group_comes_first_and_is_told_to_the_optimizer(services: Services) -> None:
    turns = solve(HARD, "group+tpe", services)["turns"]
    group = [distance(turn["sizing"]) < 0.25 for turn in turns[:8]]
    assert all(group)
    model = services.model()
    assert isinstance(model, ScriptedModel)
    assert len(model.requests) == 8
    assert {request.sampling.temperature for request in model.requests} == {1.0}


def test_ranking_prefers_what_the_model_would_propose(services: Services) -> None:
    def mean_distance(turns: Sequence[dict[str, object]]) -> float:
        return sum(distance(turn["sizing"]) for turn in turns) / len(turns)  # type: ignore[arg-type]

    ranked = solve(HARD, "rank+random", services, 8)["turns"]
    plain = solve(HARD, "random", services, 8)["turns"]
    assert mean_distance(ranked) < mean_distance(plain) - 0.1


def test_a_good_model_meets_the_specs_that_the_optimizer_alone_does_not(
    services: Services,
) -> None:
    assert solve(RELAXED, "model+tpe", services)["met"]
    assert not solve(RELAXED, "tpe", services)["met"]


def test_group_leaves_out_what_cannot_be_used() -> None:
    bad = call(GOOD | {"w_in": 1.0})
    model = ScriptedModel("no call here", bad, call(dict(GOOD)), call(dict(GOOD)))
    group = draw_group(model, toy_task(), (), 4, 0, CancelToken())
    assert group == [toy_circuit().snap(GOOD)]


def test_unknown_hybrid(services: Services) -> None:
    with pytest.raises(InputError, match="unknown proposer 'model\\+tpo'"):
        make_hybrid("model+tpo", services, budget=10)
