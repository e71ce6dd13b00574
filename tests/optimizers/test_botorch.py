"""What TuRBO and SCBO draw from is the posterior of their models."""

from __future__ import annotations

import math

import torch

from acs_assistant.optimizers import botorch


def test_paths_are_draws_from_the_posterior() -> None:
    """Through the data where there is some, and as far from the mean elsewhere as it says."""
    torch.manual_seed(0)
    x = torch.rand(12, 2, dtype=torch.double)
    y = torch.stack([torch.sin(6 * x[:, 0]) + x[:, 1], 100 * x[:, 0] * x[:, 1]], dim=-1)
    candidates = torch.rand(40, 2, dtype=torch.double)
    model = botorch._fit(x, y)
    draws = torch.stack([botorch._draw(model, candidates) for _ in range(80)])
    assert draws.shape == (80, 2, 40)
    with torch.no_grad():
        posterior = model.posterior(candidates)
    mean, deviation = posterior.mean.T, posterior.variance.sqrt().T
    assert ((draws.mean(dim=0) - mean).abs() < 5 * deviation / math.sqrt(80)).all()
    ratio = draws.std(dim=0) / deviation
    assert 0.75 < ratio.median() < 1.25
    at_data = botorch._draw(model, x)
    spread = y.std(dim=0, keepdim=True).T
    assert ((at_data - y.T).abs() < 0.1 * spread).all()


def test_one_output_has_one_row() -> None:
    torch.manual_seed(0)
    x = torch.rand(6, 3, dtype=torch.double)
    model = botorch._fit(x, x.sum(dim=-1, keepdim=True))
    assert botorch._draw(model, x).shape == (1, 6)
