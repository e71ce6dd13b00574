"""Figures of a session as files, and the chart of one device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acs_assistant.cancel import CancelToken
from acs_assistant.domain import Circuit, Conditions, OperatingPoint, Sizing, Turn
from acs_assistant.engine.export import session_report
from acs_assistant.errors import InputError, nearest
from acs_assistant.report.figures import FIGURES, pareto, save
from acs_assistant.report.gmid import Curve, DeviceChart, Point, gmid
from acs_assistant.sim.port import Simulator
from acs_assistant.storage.store import Store

if TYPE_CHECKING:
    from acs_assistant.sim.gmid import GmIdTable

_OTHER_LENGTHS = (0.5, 2.0)  # of the device's own, drawn beside it


def export_figure(
    store: Store,
    session: int,
    figure: str,
    path: Path,
    turn: int | None = None,
    axes: tuple[str, str] | None = None,
) -> None:
    """Writes one figure as SVG, PNG or PDF, by the ending of ``path``, atomically.

    Args:
        figure: A name of ``report.figures.FIGURES``.
        turn: Whose vectors a Bode plot, a transient and a noise plot show; None for the best.
        axes: Metrics that "tradeoff" has across and up; None for the objective and its rival.

    Raises:
        InputError: Unknown figure or ending, or the session has nothing to draw in it.
        StorageError: The disk is full, or the folder cannot be written.
    """
    if figure not in FIGURES:
        raise InputError(f"unknown figure '{figure}'.", hint=nearest(figure, FIGURES))
    report = session_report(store, session)
    if turn is not None:
        report = replace(report, best=turn, waveforms=store.waveforms(turn))
    if figure == "tradeoff" and axes is not None:
        save(pareto(report, *axes), path)
        return
    save(FIGURES[figure](report), path)


def export_chart(chart: DeviceChart, path: Path) -> None:
    """Writes a device's chart; see ``export_figure``."""
    save(gmid(chart), path)


def device_chart(
    simulator: Simulator,
    circuit: Circuit,
    sizing: Sizing,
    conditions: Conditions,
    turn: Turn,
    device: OperatingPoint,
    cancel: CancelToken | None = None,
) -> DeviceChart:
    """Characterises the device's transistor, from the cache the second time, and places it.

    Raises:
        InputError: It is no transistor of the circuit's netlist, or the PDK cannot characterise it.
        SimulatorError: The sweep failed.
        PdkError: The device models are not installed.
        CancelledError: The token was cancelled.
    """
    from acs_assistant.sim.geometry import geometry
    from acs_assistant.sim.gmid import characterize
    from acs_assistant.sim.models import Library
    from acs_assistant.sim.pdk import find_pdk

    corner = conditions.corner
    scale = Library(find_pdk(circuit.pdk).index(corner)).scale
    size = geometry(circuit, sizing, device.name, scale)
    table = characterize(
        simulator,
        circuit.pdk,
        size.model,
        corner=corner,
        temperature=conditions.temperature,
        cancel=cancel,
    )
    lengths = [
        length
        for factor in _OTHER_LENGTHS
        if table.lengths[0] <= (length := size.length * factor) <= table.lengths[-1]
    ]
    curves = tuple(_curve(table, length) for length in (size.length, *lengths))
    own = curves[0]
    ratio = device.gm_over_id
    speed = None
    if own.gm_over_id[-1] <= ratio <= own.gm_over_id[0]:
        logs = np.interp(ratio, own.gm_over_id[::-1], np.log(own.speed[::-1]))
        speed = float(np.exp(logs))
    point = Point(
        ratio,
        device.id / size.width,
        device.gm / device.gds if device.gds > 0 else 0.0,
        speed,
    )
    return DeviceChart(
        device.name, size.model, turn.index, size.width, size.length, table.vds, point, curves
    )


def _curve(table: GmIdTable, length: float) -> Curve:
    return Curve(length, *table.curve(length))
