"""The open-loop frequency response of a session's best turn, ready to draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acs_assistant.domain import Circuit, Waveform
from acs_assistant.report.record import SessionRecord

Array = NDArray[np.float64]
_NODE_ARGUMENTS = ("node", "output", "out")


@dataclass(frozen=True, slots=True)
class Response:
    """Gain in dB and unwrapped phase in degrees, which starts near 0; frequency in hertz.

    ``crossover`` is the first falling crossing of 0 dB, ``phase_margin`` the phase there above
    -180 degrees; None when the gain never falls through 0 dB.
    """

    node: str
    frequency: Array
    gain_db: Array
    phase: Array
    crossover: float | None
    phase_margin: float | None


def find_response(record: SessionRecord) -> Response | None:
    """The response at the node that the circuit measures its gain at; None without a waveform."""
    for node in _gain_nodes(record.task.circuit):
        for waveform in record.waveforms:
            name = _vector(waveform, node)
            if waveform.analysis == "ac" and len(waveform.x) > 1 and name:
                return response(waveform, name)
    return None


def response(waveform: Waveform, name: str) -> Response:
    """Gain, phase and crossover of one vector of an ac analysis whose input is 1 V."""
    frequency = np.array(waveform.x, dtype=float)
    transfer = np.array(waveform.y[name], dtype=complex)
    gain_db = 20 * np.log10(np.maximum(np.abs(transfer), 1e-30))
    phase = np.degrees(np.unwrap(np.angle(transfer)))
    phase -= 180 * np.round(phase[0] / 180)
    falling = np.flatnonzero((gain_db[:-1] > 0) & (gain_db[1:] <= 0))
    if not falling.size:
        return Response(name, frequency, gain_db, phase, None, None)
    i = int(falling[0])
    share = gain_db[i] / (gain_db[i] - gain_db[i + 1])
    crossover = float(np.exp(_between(np.log(frequency), i, share)))
    margin = float(180 + _between(phase, i, share))
    return Response(name, frequency, gain_db, phase, crossover, margin)


def _between(values: Array, i: int, share: float) -> float:
    return float(values[i] + share * (values[i + 1] - values[i]))


def _gain_nodes(circuit: Circuit) -> list[str]:
    """Nodes named by the metrics that are read off the open-loop response."""
    wanted = ("unity_gain", "phase_margin", "gain")
    nodes: dict[str, None] = {}
    for word in wanted:
        for metric in circuit.metrics:
            if word in metric.measure or word in metric.name:
                for argument in _NODE_ARGUMENTS:
                    if argument in metric.arguments:
                        nodes[str(metric.arguments[argument]).lower()] = None
    return [*nodes, "out"]


def _vector(waveform: Waveform, node: str) -> str | None:
    names = {name.lower(): name for name in waveform.y}
    return names.get(node) or names.get(f"v({node})")
