"""A network that predicts every metric of a circuit from a sizing, fitted to its archive.

It only chooses where to simulate and what to say of sensitivities' direction; every figure that a
training session states was measured by ngspice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from acs_assistant.training.archive import Archive

_BATCH = 256
_DRAWN = 64  # batches that are drawn at once


@dataclass(frozen=True, slots=True)
class Scale:
    """How metrics become numbers of unit spread: log where a metric is positive and spans decades.

    Attributes:
        log: (metrics,) whether the logarithm is taken.
        centre: (metrics,) median after that.
        spread: (metrics,) half the 10-90 percent range after that.
    """

    log: NDArray[np.bool_]
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]

    def forward(self, metrics: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):
            logged = np.log(np.maximum(metrics, 1e-30))
        return (np.where(self.log, logged, metrics) - self.centre) / self.spread

    def inverse(self, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        raw = scaled * self.spread + self.centre
        return np.where(self.log, np.exp(np.minimum(raw, 80.0)), raw)


def fit_scale(metrics: NDArray[np.float64]) -> Scale:
    log, centre, spread = [], [], []
    for column in metrics.T:
        values = column[np.isfinite(column)]
        low, high = np.percentile(values, [10, 90])
        logged = bool(values.min() > 0 and high > 4 * low)
        if logged:
            values = np.log(values)
            low, high = np.percentile(values, [10, 90])
        log.append(logged)
        centre.append(float(np.median(values)))
        spread.append(max(float(high - low) / 2, 1e-12))
    return Scale(np.array(log), np.array(centre), np.array(spread))


class Surrogate(nn.Module):
    """Positions (B, parameters) in [0, 1] to scaled metrics (B, metrics)."""

    def __init__(self, parameters: int, metrics: int, scale: Scale, width: int = 192) -> None:
        super().__init__()
        self.scale = scale
        self.net = nn.Sequential(
            nn.Linear(parameters, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, metrics),
        )

    def forward(self, positions: Tensor) -> Tensor:
        scaled: Tensor = self.net(4.0 * positions - 2.0)
        return scaled

    def predict(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """(B, metrics) scaled metrics."""
        with torch.no_grad():
            scaled: Tensor = self(torch.tensor(positions, dtype=torch.float32))
        return scaled.numpy().astype(np.float64)

    def sensitivities(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """(metrics, parameters) change of each scaled metric per unit of position, at one point."""
        layers = [m for m in self.net if isinstance(m, nn.Linear)]
        value = 4.0 * position - 2.0
        jacobian = 4.0 * np.eye(len(position))
        for layer in layers[:-1]:
            weight = layer.weight.detach().numpy()
            before = weight @ value + layer.bias.detach().numpy()
            gate = 1.0 / (1.0 + np.exp(-before))
            jacobian = (gate * (1.0 + before * (1.0 - gate)))[:, None] * (weight @ jacobian)
            value = before * gate
        return np.asarray(layers[-1].weight.detach().numpy() @ jacobian, dtype=np.float64)


def fit_surrogate(
    archive: Archive,
    focus: NDArray[np.float64],
    epochs: int = 40,
    seed: int = 0,
    steps: int = 0,
    held: NDArray[np.bool_] | None = None,
) -> tuple[Surrogate, dict[str, float]]:
    """Fits by Adam with a cosine schedule on scaled metrics; missing ones do not count.

    Args:
        focus: (N,) how often each row is drawn, relative to others: more where sizings are worth
            having.
        steps: Of 256 rows each; 0 takes as many as ``epochs`` have.
        held: (N,) rows that are kept out; 5 percent of them at random when not given.

    Returns:
        The network and, per metric, its median absolute error on held-out rows, in units of the
        metric's spread.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    rows = np.flatnonzero(archive.ok)
    scale = fit_scale(archive.metrics[rows])
    x = torch.tensor(archive.positions[rows], dtype=torch.float32)
    scaled = scale.forward(archive.metrics[rows])
    known = torch.tensor(np.isfinite(archive.metrics[rows]))
    y = torch.tensor(np.nan_to_num(np.clip(scaled, -8, 8)), dtype=torch.float32)
    apart = torch.rand(len(rows), generator=generator) < 0.05
    if held is not None:
        apart = torch.tensor(held[rows])
    train = torch.nonzero(~apart).flatten()
    often = torch.tensor(focus[rows])[train]
    model = Surrogate(x.shape[1], y.shape[1], scale)
    steps = steps or epochs * (len(train) // _BATCH + 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        if step % _DRAWN == 0:
            drawn = torch.multinomial(often, _BATCH * _DRAWN, True, generator=generator)
            picks = train[drawn].view(_DRAWN, _BATCH)
        pick = picks[step % _DRAWN]
        error = nn.functional.huber_loss(model(x[pick]), y[pick], reduction="none", delta=0.3)
        loss = (error * known[pick]).sum() / known[pick].sum().clamp(min=1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        missed = (model(x[apart]) - y[apart]).abs()
    errors = {
        metric.name: float(missed[:, j][known[apart][:, j]].median())
        for j, metric in enumerate(archive.circuit.metrics)
    }
    return model, errors
