"""A circuit of one parameter whose best size is known, and a tiny model that speaks of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from acs_assistant.cancel import CancelToken
from acs_assistant.domain import (
    Circuit,
    Conditions,
    Decision,
    Evaluation,
    Measurement,
    Metric,
    Parameter,
    Proposal,
    Sizing,
    Spec,
    Task,
    Turn,
)
from acs_assistant.prompting.render import messages
from acs_assistant.scoring import score
from acs_assistant.sim.port import SimulationRequest
from acs_assistant.training.chat import Encoder, chat_text
from acs_assistant.training.config import ModelConfig
from acs_assistant.training.losses import learned_states
from acs_assistant.training.model import new_model
from acs_assistant.training.packing import pack
from acs_assistant.training.tokenizer import train_tokenizer

BEST = 20e-6
CIRCUIT = Circuit(
    name="toy",
    title="Toy",
    pdk="none",
    category="toy",
    description="",
    path=Path("toy"),
    parameters=(Parameter("w_in", "m", 10e-6, 40e-6, 5e-9, role="width", devices=("M1",)),),
    metrics=(Metric("match", "", "ac", "meas"),),
    specs=(Spec("match", ">=", 0.9),),
    conditions=Conditions(load=1e-12),
    netlist="",
    testbenches=(),
)
TASK = Task(CIRCUIT, CIRCUIT.specs, CIRCUIT.conditions)


def measured(sizing: Sizing) -> Measurement:
    """1 at the best size, 0 an octave away: a tenth of the range meets the spec."""
    match = max(0.0, 1.0 - abs(math.log2(sizing["w_in"] / BEST)))
    return Measurement("ok", {"match": match}, (), CIRCUIT.conditions)


class Formula:
    """The simulator."""

    version = "formula"

    def __init__(self) -> None:
        self.requests: list[SimulationRequest] = []

    def simulate(
        self, request: SimulationRequest, cancel: CancelToken | None = None
    ) -> Measurement:
        self.requests.append(request)
        return replace(measured(request.sizing), conditions=request.conditions)

    def map(
        self, requests: Iterable[SimulationRequest], cancel: CancelToken | None = None
    ) -> Iterator[tuple[int, Measurement]]:
        for index, request in enumerate(requests):
            yield index, self.simulate(request)

    def close(self) -> None:
        pass


class OneTask:
    """Always the toy task."""

    circuits = (CIRCUIT,)

    def draw(self, rng: np.random.Generator) -> Task:
        return TASK


def turn(index: int, width: float, thought: str = "Size it.") -> Turn:
    sizing = {"w_in": CIRCUIT.parameters[0].snap(width)}
    measurement = measured(sizing)
    evaluation = Evaluation((measurement,), score(TASK.specs, [measurement]))
    proposal = Proposal(sizing, "model", reasoning=thought)
    decision = Decision("accepted", sizing)
    return Turn(index, None, index, proposal, decision, evaluation, TASK.specs)


def speaker(steps: int = 120) -> tuple[LlamaForCausalLM, Tokenizer]:
    """A model that has learned the form of a session and nothing of which sizes are good."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    widths = 10e-6 * 4 ** rng.random((240, 2))
    chats = [messages(TASK, [turn(1, a), turn(2, b)]) for a, b in widths]
    tokenizer = train_tokenizer([chat_text(c, False) for c in chats], ["w_in", "match"], 300)
    model = new_model(
        ModelConfig(width=64, layers=2, heads=2, feed_forward=96, context=1024), tokenizer, seed=0
    )
    examples = [Encoder(tokenizer).encode({"messages": chat}) for chat in chats]
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, steps)
    for step in range(steps):
        batch = pack([examples[(8 * step + i) % len(examples)] for i in range(8)])
        states, targets = learned_states(model, batch, torch.float32)
        loss = torch.nn.functional.cross_entropy(model.lm_head(states), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model, tokenizer
