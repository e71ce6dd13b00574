"""Which sizing a model should imitate for a set of specs: one canonical answer, not any.

A spec set has many answers. Imitating whichever happened to be simulated teaches their average;
imitating one that varies smoothly with the specs teaches a function. The answer here is the sizing
nearest to an anchor that meets every spec with a cushion: the anchor is fixed for a first proposal
and is the best sizing so far for a later one, which makes that a small, explainable correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from acs_assistant.domain import Circuit, Spec
from acs_assistant.training.surrogate import Scale, Surrogate

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SpecArrays:
    """Specs of B tasks as arrays over the circuit's metrics, in the surrogate's scaled units.

    Attributes:
        sign: (B, metrics) +1 for ">=", −1 for "<=", 0 for "==" and where the task has no spec.
        target: (B, metrics) scaled targets; 0 where there is none.
        band: (B, metrics) scaled tolerance of "=="; 0 where there is no such spec.
    """

    sign: FloatArray
    target: FloatArray
    band: FloatArray

    def take(self, rows: NDArray[np.int64]) -> SpecArrays:
        return SpecArrays(self.sign[rows], self.target[rows], self.band[rows])


def spec_arrays(circuit: Circuit, tasks: Sequence[Sequence[Spec]], scale: Scale) -> SpecArrays:
    columns = {metric.name: j for j, metric in enumerate(circuit.metrics)}
    sign = np.zeros((len(tasks), len(columns)))
    raw = np.ones((len(tasks), len(columns)))
    edge = np.ones((len(tasks), len(columns)))
    equal = np.zeros((len(tasks), len(columns)), dtype=bool)
    for row, specs in enumerate(tasks):
        for spec in specs:
            column = columns[spec.metric]
            equal[row, column] = spec.relation == "=="
            sign[row, column] = {">=": 1.0, "<=": -1.0, "==": 0.0}[spec.relation]
            raw[row, column] = spec.target
            edge[row, column] = spec.target + spec.tolerance
    target = np.where((sign != 0) | equal, scale.forward(raw), 0.0)
    return SpecArrays(sign, target, np.where(equal, scale.forward(edge) - target, 0.0))


def met(specs: SpecArrays, scale: Scale, metrics: FloatArray) -> NDArray[np.bool_]:
    """(B,) whether measured metrics (B, metrics) meet every spec; a missing metric does not."""
    beyond = scale.forward(metrics) - specs.target
    one_sided = (specs.sign == 0) | (specs.sign * beyond >= -1e-9)
    within = (specs.band == 0) | (np.abs(beyond) <= specs.band + 1e-9)
    return np.asarray((one_sided & within).all(axis=1))


def solve(
    surrogate: Surrogate,
    specs: SpecArrays,
    start: FloatArray,
    anchor: FloatArray,
    *,
    bias: FloatArray | None = None,
    bounds: tuple[FloatArray, FloatArray] | None = None,
    cushion: float = 0.06,
    pull: float = 0.02,
    steps: int = 150,
) -> FloatArray:
    """Minimises the specs' shortfall below the cushion plus ``pull`` times the distance to anchor.

    Args:
        start: (B, parameters) first positions.
        anchor: (B, parameters) positions that the answer should stay near.
        bias: (B, metrics) measured minus predicted at the anchor, scaled; added to predictions.
        bounds: (B, parameters) lowest and highest positions allowed; the whole box when None.
        cushion: Margin aimed at, in units of each metric's spread.

    Returns:
        (B, parameters) positions in [0, 1].
    """
    sign = torch.tensor(specs.sign, dtype=torch.float32)
    target = torch.tensor(specs.target, dtype=torch.float32)
    band = torch.tensor(specs.band, dtype=torch.float32)
    home = torch.tensor(anchor, dtype=torch.float32)
    shift = torch.zeros_like(target) if bias is None else torch.tensor(bias, dtype=torch.float32)
    low, high = (
        torch.tensor(edge, dtype=torch.float32)
        for edge in (bounds or (np.zeros_like(start), np.ones_like(start)))
    )
    inside = (torch.tensor(start, dtype=torch.float32) - low) / (high - low).clamp(min=1e-3)
    raw = torch.logit(inside.clamp(0.005, 0.995))
    raw.requires_grad_(True)
    optimizer = torch.optim.Adam([raw], lr=0.08)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=0.004)
    for parameter in surrogate.parameters():
        parameter.requires_grad_(False)
    for _ in range(steps):
        positions = low + (high - low) * torch.sigmoid(raw)
        loss = _loss(surrogate, positions, sign, target, band, shift, home, cushion, pull)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    answer = low + (high - low) * torch.sigmoid(raw.detach())
    return np.asarray(answer.numpy(), dtype=np.float64)


def _loss(
    surrogate: Surrogate,
    positions: Tensor,
    sign: Tensor,
    target: Tensor,
    band: Tensor,
    shift: Tensor,
    home: Tensor,
    cushion: float,
    pull: float,
) -> Tensor:
    beyond = surrogate(positions) + shift - target
    short = torch.relu(cushion - sign * beyond) * (sign != 0)
    if bool(band.any()):  # half the tolerance is the cushion there
        short = short + torch.relu(beyond.abs() - band / 2) * (band > 0)
    violation = (short + 5.0 * short**2).sum(dim=1)
    distance = ((positions - home) ** 2).sum(dim=1)
    return (violation + pull * distance).sum()
