"""The critic of a circuit: networks fitted to its archive and written for the app to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from acs_assistant.engine.critic import write_critic
from acs_assistant.training.archive import Archive
from acs_assistant.training.edge import believed, focus
from acs_assistant.training.surrogate import Surrogate, fit_surrogate

NETWORKS = 2
STEPS = 6000
_TWO_IN_THREE = 68.0
_GOOD = 0.7  # quantile of the focus from which on errors are stated


def make_critic(
    archive: Archive, out: Path, seed: int = 0, networks: int = NETWORKS, steps: int = STEPS
) -> dict[str, float]:
    """Fits and writes ``<circuit>.critic.npz`` into ``out``, with weights in half precision.

    Returns:
        Per metric the error that the critic states: two in three held-out sizings among the better
        ones are nearer to what was measured, in units of the metric's spread.
    """
    weight = focus(archive)
    held = np.random.default_rng(seed).random(len(archive)) < 0.05
    archive = believed(archive, fit_surrogate(archive, weight, seed=seed, steps=steps // 4)[0])
    fitted = [
        fit_surrogate(archive, weight, seed=seed + number, steps=steps, held=held)[0]
        for number in range(networks)
    ]
    apart = np.flatnonzero(held & archive.ok)
    apart = apart[weight[apart] >= np.quantile(weight[apart], _GOOD)]
    scale = fitted[0].scale
    foretold = np.mean([network.predict(archive.positions[apart]) for network in fitted], axis=0)
    missed = np.abs(foretold - scale.forward(archive.metrics[apart]))
    error = np.nanpercentile(missed, _TWO_IN_THREE, axis=0)
    arrays = {"log": scale.log, "centre": scale.centre, "spread": scale.spread, "error": error}
    for number, layers in enumerate(zip(*map(_dense, fitted), strict=True)):
        parts = {"weight": [d.weight for d in layers], "bias": [d.bias for d in layers]}
        for name, values in parts.items():
            arrays[f"{name}{number}"] = np.stack(
                [value.detach().numpy().astype(np.float16) for value in values]
            )
    write_critic(out / f"{archive.circuit.name}.critic.npz", archive.circuit, arrays)
    names = [metric.name for metric in archive.circuit.metrics]
    return dict(zip(names, error.tolist(), strict=True))


def _dense(network: Surrogate) -> list[nn.Linear]:
    return [module for module in network.net if isinstance(module, nn.Linear)]
