"""The critic of a circuit: the surrogate, fitted once more and written for the app to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from acs_assistant.engine.critic import write_critic
from acs_assistant.training.archive import Archive
from acs_assistant.training.surrogate import fit_surrogate
from acs_assistant.training.tasks import default_scores


def make_critic(archive: Archive, out: Path, seed: int = 0) -> dict[str, float]:
    """Fits and writes ``<circuit>.critic.npz`` into ``out``, with weights in half precision.

    Returns:
        Per metric the median absolute error on held-out sizings, in units of its spread.
    """
    focus = 0.1 + default_scores(archive) ** 4
    surrogate, errors = fit_surrogate(archive, focus, seed=seed)
    layers = [module for module in surrogate.net if isinstance(module, nn.Linear)]
    arrays = {
        "log": surrogate.scale.log,
        "centre": surrogate.scale.centre,
        "spread": surrogate.scale.spread,
    }
    for number, layer in enumerate(layers):
        arrays[f"weight{number}"] = layer.weight.detach().numpy().astype(np.float16)
        arrays[f"bias{number}"] = layer.bias.detach().numpy().astype(np.float16)
    write_critic(out / f"{archive.circuit.name}.critic.npz", archive.circuit, arrays)
    return errors
