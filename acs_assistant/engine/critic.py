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
from acs_assistant.scoring import score

Array = NDArray[np.float64]

_NEAR = 0.3  # of the unit cube: how far a measurement corrects the network
_FAR = 1.5  # the same under conditions that the network was not fitted to
_DOUBT = 0.1  # variance that no measurement nearby explains, against all of it
_UNKNOWN = 0.05  # error of a critic that does not state its own
_LEAST_SPARE, _MOST_SPARE = 0.003, 0.06  # relative


@dataclass(frozen=True, slots=True)
class Critic:
    """Metrics from positions in the unit cube: networks of dense layers with SiLU between.

    What they agree on is their mean; where they do not, less is known.

    Attributes:
        metrics: Names of the outputs.
        log: (metrics,) whether an output is the logarithm of the metric.
        layers: (weights (networks, out, in), biases (networks, out)) from the first to the last.
        digest: Of the file, for the record.
        error: (metrics,) how far from the truth two in three are near what is worth having, in
            units of ``spread``.
        reach: How far a measurement corrects it, in the unit cube.
    """

    metrics: tuple[str, ...]
    log: NDArray[np.bool_]
    centre: Array
    spread: Array
    layers: tuple[tuple[Array, Array], ...]
    digest: str
    error: Array
    reach: float = _NEAR

    def foretell(self, circuit: Circuit, sizing: Sizing, turns: Sequence[Turn] = ()) -> Measurement:
        """What the sizing would measure, corrected by what ``turns`` measured nearby."""
        return self._measurement(self._expected(circuit, sizing, turns)[0])

    def judge(
        self, task: Task, sizing: Sizing, turns: Sequence[Turn] = ()
    ) -> tuple[Measurement, float]:
        """What ``foretell`` says, and how likely the sizing meets every spec."""
        scaled, error = self._expected(task.circuit, sizing, turns)
        return self._measurement(scaled), self._chance(task, scaled, error)

    def _chance(self, task: Task, scaled: Array, error: Array) -> float:
        """That every spec is met, if the errors are normal and independent."""
        likely = 1.0
        for spec in task.specs:
            column = self.metrics.index(spec.metric)
            low, high = _wanted(spec)
            bounds = self._to_scaled({spec.metric: low}), self._to_scaled({spec.metric: high})
            below, above = ((bound[column] - scaled[column]) / error[column] for bound in bounds)
            likely *= max(_normal(above) - _normal(below), 0.0)
        return likely

    def _expected(
        self, circuit: Circuit, sizing: Sizing, turns: Sequence[Turn]
    ) -> tuple[Array, Array]:
        """Mean and deviation of every scaled metric.

        What is left of the truth beside the network is taken for a Gaussian process, of which the
        turns are observations (Rasmussen and Williams, Gaussian Processes for Machine Learning,
        equations 2.25 and 2.26).
        """
        here = _position(circuit, sizing)
        seen = [
            (_position(circuit, turn.decision.sizing), worst_metrics(turn.evaluation))
            for turn in turns
            if turn.evaluation is not None and turn.decision is not None
        ]
        places = np.array([here, *(place for place, _ in seen)])
        each = self._scaled(places)
        scaled, error = each.mean(axis=0), np.hypot(self.error, each[:, 0].std(axis=0))
        if not seen:
            return scaled[0], error
        missed = np.array([self._to_scaled(metrics) for _, metrics in seen]) - scaled[1:]
        like = self._likeness(places[:, None, :] - places[None, :, :])
        weights = np.linalg.solve(like[1:, 1:] + _DOUBT * np.eye(len(seen)), like[0, 1:])
        left = max(1.0 - float(like[0, 1:] @ weights), _DOUBT)
        correction = weights @ np.clip(np.nan_to_num(missed), -2.0, 2.0)
        return scaled[0] + correction, error * math.sqrt(left)

    def _likeness(self, apart: Array) -> Array:
        return np.asarray(np.exp(-(apart**2).sum(axis=-1) / (2.0 * self.reach**2)))

    def _measurement(self, scaled: Array) -> Measurement:
        raw = scaled * self.spread + self.centre
        values = np.where(self.log, np.exp(np.minimum(raw, 80.0)), raw)
        return Measurement("ok", dict(zip(self.metrics, values.tolist(), strict=True)))

    def _scaled(self, places: Array) -> Array:
        """(networks, places, metrics) what each network says of each place."""
        value = 4.0 * places[None] - 2.0
        for weights, biases in self.layers[:-1]:
            value = value @ weights.transpose(0, 2, 1) + biases[:, None]
            value = value / (1.0 + np.exp(-value))
        weights, biases = self.layers[-1]
        said = value @ weights.transpose(0, 2, 1) + biases[:, None]
        return np.asarray(said, dtype=np.float64)

    def _to_scaled(self, metrics: Any) -> Array:
        raw = np.array([metrics.get(name, math.nan) for name in self.metrics])
        with np.errstate(invalid="ignore", divide="ignore"):
            raw = np.where(self.log, np.log(np.maximum(raw, 1e-30)), raw)
        return np.asarray((raw - self.centre) / self.spread, dtype=np.float64)


def merit(critic: Critic, task: Task, sizing: Sizing, turns: Sequence[Turn] = ()) -> float:
    """The score that is foretold, plus the chance that every spec is met: from 0 to 2."""
    foretold, chance = critic.judge(task, sizing, turns)
    return score(task.specs, [foretold]).value + chance


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


def tightened(critic: Critic, task: Task) -> Task:
    """The task, as much harder as the critic may err, for what is only foretold may miss."""
    return replace(task, specs=tuple(_tightened(critic, spec) for spec in task.specs))


def _tightened(critic: Critic, spec: Spec) -> Spec:
    column = critic.metrics.index(spec.metric)
    doubt = critic.error[column] * critic.spread[column]
    if spec.relation == "==":
        return replace(spec, tolerance=max(spec.tolerance - doubt, spec.tolerance / 2))
    size = abs(spec.target)
    step = doubt * size if critic.log[column] else doubt
    step = min(max(step, _LEAST_SPARE * size), _MOST_SPARE * size)
    return replace(spec, target=spec.target + (step if spec.relation == ">=" else -step))


def _wanted(spec: Spec) -> tuple[float, float]:
    """From where to where the metric meets the spec."""
    match spec.relation:
        case ">=":
            return spec.target, math.inf
        case "<=":
            return -math.inf, spec.target
        case "==":
            return spec.target - spec.tolerance, spec.target + spec.tolerance


def _normal(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


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
    """Writes ``log``, ``centre``, ``spread``, ``error``, ``weight0``, ``bias0`` and so on."""
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
            weights = [file[f"weight{i}"].astype(np.float64) for i in range(count)]
            biases = [file[f"bias{i}"].astype(np.float64) for i in range(count)]
            size = len(file["log"])
            return Critic(
                tuple(metric.name for metric in circuit.metrics),
                file["log"].astype(bool),
                file["centre"].astype(np.float64),
                file["spread"].astype(np.float64),
                tuple(
                    (w.reshape(-1, *w.shape[-2:]), b.reshape(-1, b.shape[-1]))
                    for w, b in zip(weights, biases, strict=True)
                ),
                hashlib.sha256(path.read_bytes()).hexdigest(),
                file["error"] if "error" in file.files else np.full(size, _UNKNOWN),
            )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ModelError(
            f"is a damaged critic: {error}.", hint="Delete it, or fetch it again.", file=path
        ) from error
