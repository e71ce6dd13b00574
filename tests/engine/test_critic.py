"""The critic chooses among a model's draws; the shipped ones agree with ngspice."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acs_assistant import paths
from acs_assistant.cancel import CancelToken
from acs_assistant.domain import Decision, Proposal, Task, Turn
from acs_assistant.engine.critic import Critic, find_critic, merit, tightened, write_critic
from acs_assistant.engine.evaluate import evaluate
from acs_assistant.engine.proposers import ModelProposer, Prompted, SamplingPolicy
from acs_assistant.errors import ModelError
from acs_assistant.events import TextDelta
from acs_assistant.library import load_circuit
from acs_assistant.llm.port import Completion
from acs_assistant.prompting.render import PROMPT_VERSION
from acs_assistant.sim import make_simulator
from acs_assistant.sim.port import SimulationRequest
from tests.engine.parts import CIRCUIT, MET, SHORT, TASK, ScriptedModel, ToySimulator, call

MODELS = Path(__file__).parents[2] / "models"


def exact(**changes: float) -> Critic:
    """The toy circuit's own formulas: gbw and power are powers of the sizes, so linear in logs."""
    decades = [math.log(p.max / p.min) for p in CIRCUIT.parameters]
    weights = np.array([[decades[0] / 8, decades[1] / 8], [0.0, decades[1] / 4], [0.0, 0.0]])
    low = [p.min for p in CIRCUIT.parameters]
    gbw, power = 4e11 * math.sqrt(low[0] * low[1]), 2 * 1.8 * low[1]
    centre = np.array([math.log(gbw), math.log(power), 0.0]) + weights @ [2.0, 2.0]
    centre[0] += changes.get("gbw", 0.0)
    return Critic(
        ("gbw", "power", "offset"),
        np.array([True, True, False]),
        centre,
        np.ones(3),
        ((weights[None], np.zeros((1, 3))),),
        "ab" * 32,
        np.full(3, 0.01),
    )


def turn(sizing: dict[str, float]) -> Turn:
    evaluation = evaluate(TASK, sizing, ToySimulator())
    return Turn(1, None, 1, Proposal(sizing, "model"), Decision("accepted", sizing), evaluation)


def test_merit_is_the_score_and_the_chance_that_all_is_met() -> None:
    real = evaluate(TASK, SHORT, ToySimulator()).score.value
    assert merit(exact(), TASK, SHORT) == pytest.approx(real, abs=1e-9)
    assert merit(exact(), TASK, MET) == pytest.approx(2.0, abs=1e-3)


def test_what_was_measured_corrects_what_is_foretold_nearby() -> None:
    wrong, there = exact(gbw=0.3), turn(SHORT)
    near = {**SHORT, "w_in": 10.5e-6}
    far = {"w_in": 95e-6, "i_bias": 1.2e-6}
    assert there.evaluation is not None

    def error(sizing: dict[str, float], turns: list[Turn]) -> float:
        foretold = wrong.foretell(CIRCUIT, sizing, turns).metrics["gbw"]
        return abs(math.log(foretold / (4e11 * math.sqrt(sizing["w_in"] * sizing["i_bias"]))))

    assert error(near, [there]) < 0.3 * error(near, [])
    assert error(far, [there]) > 0.9 * error(far, [])


def test_the_worst_corner_corrects_what_is_foretold_of_all_corners() -> None:
    task = replace(TASK, corners=("tt", "ss"))
    evaluation = evaluate(task, SHORT, ToySimulator())
    there = replace(turn(SHORT), evaluation=evaluation)
    far = {"w_in": 20e-6, "i_bias": 20e-6}
    worst = evaluate(task, far, ToySimulator()).score.specs
    [gbw] = [r.value for r in worst if r.spec.metric == "gbw"]
    everywhere = replace(exact(), reach=1.5)
    assert gbw is not None
    told = everywhere.foretell(CIRCUIT, far, [there]).metrics["gbw"]
    assert abs(math.log(told / gbw)) < 0.35 * abs(
        math.log(exact().foretell(CIRCUIT, far).metrics["gbw"] / gbw)
    )


class Group(ScriptedModel):
    """Streams the first text, and draws the others as a group."""

    def sample_group(self, *args: object, **kwargs: object) -> list[Completion]:
        self.calls.append(([], args[2], None))  # type: ignore[arg-type]
        return [Completion(text, len(text), "stop") for text in self._texts[1:]]


def propose(model: ScriptedModel, avoid: list[dict[str, float]] | None = None) -> list[object]:
    proposer = ModelProposer(model, SamplingPolicy(groups=2), lambda task: exact())
    return list(proposer.propose(TASK, [], 1, CancelToken(), avoid or []))


SMALL, WIDE = {"w_in": "10u", "i_bias": "25u"}, {"w_in": "50u", "i_bias": "25u"}


def test_a_draw_that_is_believed_in_costs_no_group() -> None:
    model = Group([call(WIDE), call(SMALL)])
    *items, proposal = propose(model)
    assert proposal.sizing == MET and len(model.calls) == 1
    assert [i.critic for i in items if isinstance(i, Prompted)] == ["ab" * 32]


def test_the_best_of_a_group_replaces_a_draw_that_would_miss() -> None:
    model = Group([call(SMALL), "no call", call({"w_in": "20u", "i_bias": "25u"}), call(WIDE)])
    *items, proposal = propose(model)
    assert proposal.sizing == MET and len(model.calls) == 2, "content with the first group"
    second = max(i for i, item in enumerate(items) if isinstance(item, Prompted))
    told = "".join(i.text for i in items[second:] if isinstance(i, TextDelta))
    assert '"w_in": "50u"' in told, "the view is told the text that was chosen"


def test_a_repeat_is_never_chosen() -> None:
    other = {"w_in": "20u", "i_bias": "25u"}
    model = Group([call(WIDE), call(WIDE), call(other)])
    *_, proposal = propose(model, avoid=[MET])
    assert proposal.sizing["w_in"] == 20e-6
    assert len(model.calls) == 3, "both groups were asked"


class Taught(Group):
    """Thinks in our sentences: its drafts, and the text that it streams at last."""

    def __init__(self, first: str, drafts: list[str], last: str) -> None:
        super().__init__([first, *drafts])
        self.info = replace(self.info, wording=PROMPT_VERSION)
        self._last = last

    def sample_group(self, *args: object, **kwargs: object) -> list[Completion]:
        self.calls.append((args[0], args[2], kwargs["grammar"]))  # type: ignore[arg-type]
        return [Completion(text, len(text), "stop") for text in self._texts[1:]]

    def stream(self, messages: Any, tools: Any, sampling: Any, grammar: Any, cancel: Any) -> Any:
        first = not self.calls
        self.calls.append((messages, sampling, grammar))
        yield self._texts[0] if first else self._last


def test_a_taught_model_rehearses_and_says_what_was_measured() -> None:
    drafts = ["Take w_in 20u and i_bias 25u. Expect", "So raise w_in from 20.0u to 50.0u. Expect"]
    model = Taught(call(SMALL), drafts, call(WIDE))
    *_, proposal = propose(model)
    said, *rehearsals, last = model.calls[1:]
    assert proposal.sizing == MET
    assert not any(m["role"] == "tool" for m in said[0]), (
        "the first drafts see the history as it is"
    )
    assert len(rehearsals) == 1, "content with the second group"
    foretold = [m["content"] for m in rehearsals[0][0] if m["role"] == "tool"]
    assert len(foretold) == 1 and "gbw" in foretold[0], "they go on from what is foretold"
    assert not any(m["role"] == "tool" for m in last[0]), "nothing foretold is told as measured"
    assert 'v0 ::= "50.0u"' in last[2].opening, "the sizes are settled, the words are not"


def test_a_rehearsal_leaves_no_trace_in_what_comes_after_a_measurement() -> None:
    before = turn(SHORT)
    model = Taught(call(SMALL), ["So raise w_in from 10.0u to 20.0u. Expect"], call(WIDE))
    proposer = ModelProposer(model, SamplingPolicy(rehearsals=2), lambda task: exact())
    list(proposer.propose(TASK, [before], 1, CancelToken(), [SHORT]))
    messages, _, held = model.calls[-1]
    assert sum(m["role"] == "tool" for m in messages) == 1
    assert "raise w_in from 10.0u to 20.0u" in held.opening
    specs = [m["content"] for m in model.calls[-2][0] if m["role"] == "user"]
    assert len(specs) == 1, "the margin asked for in a rehearsal is no change of the specs"


def test_margin_is_asked_on_the_side_of_each_spec() -> None:
    for spec, harder in zip(TASK.specs, tightened(exact(), TASK).specs, strict=True):
        assert (harder.target > spec.target) == (spec.relation == ">=")
        assert harder.target == pytest.approx(spec.target, rel=0.02)


def test_a_critic_holds_for_its_circuit_and_is_corrected_further_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "user_models", lambda: tmp_path)
    made, file = exact(), tmp_path / "toy.critic.npz"
    assert find_critic(TASK) is None
    arrays = {"log": made.log, "centre": made.centre, "spread": made.spread, "error": made.error}
    arrays |= {"weight0": made.layers[0][0], "bias0": made.layers[0][1]}
    write_critic(file, CIRCUIT, arrays)
    found = find_critic(TASK)
    assert found is not None
    assert found.foretell(CIRCUIT, MET) == made.foretell(CIRCUIT, MET)
    hot = replace(TASK, conditions=replace(TASK.conditions, temperature=85.0))
    for other in (hot, replace(TASK, corners=("tt", "ss"))):
        shifted = find_critic(other)
        assert shifted is not None and shifted.reach > found.reach
    changed = replace(CIRCUIT, netlist=CIRCUIT.netlist + "r1 in out 1k\n")
    assert find_critic(replace(TASK, circuit=changed)) is None
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ModelError, match=r"toy.critic.npz: is a damaged critic"):
        find_critic(TASK)


@pytest.mark.parametrize("name", sorted(f.name for f in MODELS.glob("*.critic.npz")))
def test_the_shipped_critics_agree_with_ngspice(name: str) -> None:
    circuit = load_circuit(name.removesuffix(".critic.npz"))
    critic = find_critic(Task(circuit, circuit.specs, circuit.conditions))
    assert critic is not None, "its circuit has changed: fit it again with train critic"
    rng = np.random.default_rng(5)
    sizings = []
    for _ in range(12):
        positions = {p.name: p.to_unit(circuit.reference[p.name]) for p in circuit.parameters}
        sizings.append(
            {
                p.name: p.from_unit(positions[p.name] + rng.uniform(-0.05, 0.05))
                for p in circuit.parameters
            }
        )
    simulator = make_simulator(workers=1)
    try:
        requests = [SimulationRequest(circuit, sizing, circuit.conditions) for sizing in sizings]
        measured = dict(simulator.map(requests))
    finally:
        simulator.close()
    [metric] = {"gbw", "vref"} & {metric.name for metric in circuit.metrics}
    ratios = [
        critic.foretell(circuit, sizing).metrics[metric] / measured[i].metrics[metric]
        for i, sizing in enumerate(sizings)
    ]
    assert np.median(np.abs(np.log(ratios))) < 0.25
