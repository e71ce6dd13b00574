"""A small network that foretells what a sizing would measure, to choose among a model's draws.

It was fitted to the same simulations as the model (``training/critic.py``), of one circuit under
its own conditions. What the session has measured so far corrects it: nearby, and far around where
the conditions or corners are others, for they shift everything alike. It costs microseconds where a
simulation costs one of the budget; nothing that it says is shown as measured.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from acs_assistant import paths
from acs_assistant.atomic import write_bytes
from acs_assistant.domain import (
    Circuit,
    Decision,
    Evaluation,
    Measurement,
    Proposal,
    Sizing,
    Spec,
    Task,
    Turn,
)
from acs_assistant.engine.evaluate import worst_metrics
from acs_assistant.errors import ModelError
from acs_assistant.scoring import score, signed_margin

Array = NDArray[np.float64]

_NEAR = 0.3  # of the unit cube: how far a measurement corrects the network
_FAR = 1.5  # the same under conditions that the network was not fitted to
_DOUBT = 0.3  # weight of "no correction" against one measurement at distance 0
_SPARE = 0.015  # relative
_MOST_MARGIN = 0.15  # relative; beyond it a margin is worth no more


@dataclass(frozen=True, slots=True)
class Critic:
    """Metrics from positions in the unit cube: dense layers with SiLU between.

    Attributes:
        metrics: Names of the outputs.
        log: (metrics,) whether an output is the logarithm of the metric.
        layers: (weights (out, in), biases (out,)) from the first to the last.
        digest: Of the file, for the record.
        reach: How far a measurement corrects it, in the unit cube.
    """

    metrics: tuple[str, ...]
    log: NDArray[np.bool_]
    centre: Array
    spread: Array
    layers: tuple[tuple[Array, Array], ...]
    digest: str
    reach: float = _NEAR

    def foretell(self, circuit: Circuit, sizing: Sizing, turns: Sequence[Turn] = ()) -> Measurement:
        """What the sizing would measure, corrected by what ``turns`` measured nearby."""
        here = _position(circuit, sizing)
        scaled = self._scaled(here)
        weights, errors = [_DOUBT], [np.zeros(len(self.metrics))]
        for turn in turns:
            if turn.evaluation is None or turn.decision is None:
                continue
            there = _position(circuit, turn.decision.sizing)
            measured = self._to_scaled(worst_metrics(turn.evaluation))
            error = np.nan_to_num(measured - self._scaled(there))
            distance = float(np.linalg.norm(here - there))
            weights.append(math.exp(-((distance / self.reach) ** 2) / 2))
            errors.append(np.clip(error, -2.0, 2.0))
        scaled = scaled + np.average(errors, axis=0, weights=weights)
        raw = scaled * self.spread + self.centre
        values = np.where(self.log, np.exp(np.minimum(raw, 80.0)), raw)
        return Measurement("ok", dict(zip(self.metrics, values.tolist(), strict=True)))

    def _scaled(self, position: Array) -> Array:
        value = 4.0 * position - 2.0
        for weights, biases in self.layers[:-1]:
            value = weights @ value + biases
            value = value / (1.0 + np.exp(-value))
        weights, biases = self.layers[-1]
        return np.asarray(weights @ value + biases, dtype=np.float64)

    def _to_scaled(self, metrics: Any) -> Array:
        raw = np.array([metrics.get(name, math.nan) for name in self.metrics])
        with np.errstate(invalid="ignore", divide="ignore"):
            raw = np.where(self.log, np.log(np.maximum(raw, 1e-30)), raw)
        return np.asarray((raw - self.centre) / self.spread, dtype=np.float64)


def merit(critic: Critic, task: Task, sizing: Sizing, turns: Sequence[Turn] = ()) -> float:
    """The score that is foretold; above 1 when every spec would be met, by the least margin."""
    foretold = critic.foretell(task.circuit, sizing, turns)
    judged = score(task.specs, [foretold])
    if not judged.met:
        return judged.value
    return 1.0 + min(
        (_relative_margin(spec, foretold.metrics[spec.metric]) for spec in task.specs), default=0.0
    )


def rehearsed(critic: Critic, task: Task, sizing: Sizing, turns: Sequence[Turn] = ()) -> Turn:
    """A turn that was not simulated: the sizing with what is foretold of it.

    It is for the model to go on from in thought, never for the record.
    """
    foretold = critic.foretell(task.circuit, sizing, turns)
    evaluation = Evaluation((foretold,), score(task.specs, [foretold]))
    number = max((turn.id for turn in turns), default=0) + 1
    parent = turns[-1].id if turns else None
    decision = Decision("accepted", sizing)
    proposal = Proposal(sizing, "critic")
    return Turn(number, parent, number, proposal, decision, evaluation, task.specs)


def tightened(task: Task) -> Task:
    """The task with some margin asked of every inequality, for what is only foretold may miss."""
    return replace(task, specs=tuple(_tightened(spec) for spec in task.specs))


def _tightened(spec: Spec) -> Spec:
    step = {">=": _SPARE, "<=": -_SPARE, "==": 0.0}[spec.relation] * abs(spec.target)
    return replace(spec, target=spec.target + step)


def _relative_margin(spec: Spec, value: float) -> float:
    size = abs(spec.target) + abs(value) or 1.0
    return min(signed_margin(spec, value) / size, _MOST_MARGIN)


def _position(circuit: Circuit, sizing: Sizing) -> Array:
    return np.array([p.to_unit(sizing[p.name]) for p in circuit.parameters])


def find_critic(task: Task) -> Critic | None:
    """The critic of this circuit, if there is one.

    Raises:
        ModelError: There is a file, and it is damaged.
    """
    circuit = task.circuit
    own = task.conditions == circuit.conditions and task.corners == (circuit.conditions.corner,)
    for folder in (paths.user_models(), paths.bundled_models()):
        path = folder / f"{circuit.name}.critic.npz"
        if path.is_file():
            critic = _read(path, circuit)
            return critic if critic is None or own else replace(critic, reach=_FAR)
    return None


def fingerprint(circuit: Circuit) -> str:
    """What a critic depends on: parameters with their bounds, metrics, conditions."""
    conditions = circuit.conditions
    return json.dumps(
        [
            [[p.name, p.min, p.max, p.scale] for p in circuit.parameters],
            [m.name for m in circuit.metrics],
            [conditions.supply, conditions.temperature, conditions.load, conditions.corner],
            hashlib.sha256(_without_comments(circuit.netlist).encode()).hexdigest(),
        ]
    )


def _without_comments(netlist: str) -> str:
    lines = (" ".join(line.split()) for line in netlist.lower().splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("*"))


def write_critic(path: Path, circuit: Circuit, arrays: dict[str, Any]) -> None:
    """Writes ``log``, ``centre``, ``spread``, ``weight0``, ``bias0`` and so on."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, fingerprint=np.array(fingerprint(circuit)), **arrays)
    write_bytes(path, buffer.getvalue())


def _read(path: Path, circuit: Circuit) -> Critic | None:
    """None when the circuit has changed since the critic was fitted."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["fingerprint"]) != fingerprint(circuit):
                return None
            count = sum(name.startswith("weight") for name in file.files)
            return Critic(
                tuple(metric.name for metric in circuit.metrics),
                file["log"].astype(bool),
                file["centre"].astype(np.float64),
                file["spread"].astype(np.float64),
                tuple(
                    (file[f"weight{i}"].astype(np.float64), file[f"bias{i}"].astype(np.float64))
                    for i in range(count)
                ),
                hashlib.sha256(path.read_bytes()).hexdigest(),
            )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ModelError(
            f"is a damaged critic: {error}.", hint="Delete it, or fetch it again.", file=path
        ) from error
