"""gm/Id characterisation of a PDK's transistors, from our own simulations, cached.

The method: choose gm/Id for what a transistor must do, read current density, gain and speed from
these tables, and get the width (Silveira, Flandre, Jespers, IEEE JSSC 31 (1996) 1314).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acs_assistant import paths
from acs_assistant.cancel import CancelToken
from acs_assistant.domain import Circuit, Conditions, Corner, Testbench
from acs_assistant.errors import InputError, SimulatorError, nearest
from acs_assistant.sim.models import Library
from acs_assistant.sim.pdk import find_pdk
from acs_assistant.sim.port import SimulationRequest, Simulator

Array = NDArray[np.float64]
_SAVED = ("id", "gm", "gds", "cgg")
_LENGTHS = (0.18e-6, 0.25e-6, 0.35e-6, 0.5e-6, 0.7e-6, 1e-6, 2e-6, 4e-6)
_POINTS = 181
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class GmIdTable:
    """One device type at one Vds.

    Attributes:
        lengths: Metres.
        vgs: Volts, magnitude for pmos.
        id, gm, gds, cgg: Amperes, siemens, siemens, farads; shape (lengths, vgs), for ``width``.
    """

    pdk: str
    device: str
    corner: str
    temperature: float
    vds: float
    width: float
    lengths: Array
    vgs: Array
    id: Array
    gm: Array
    gds: Array
    cgg: Array

    @property
    def gm_over_id(self) -> Array:
        """1/V."""
        return self.gm / np.maximum(self.id, 1e-18)

    @property
    def current_density(self) -> Array:
        """Id/W, amperes a metre."""
        return self.id / self.width

    @property
    def intrinsic_gain(self) -> Array:
        """gm/gds."""
        return self.gm / np.maximum(self.gds, 1e-18)

    @property
    def transit_frequency(self) -> Array:
        """gm / (2 pi Cgg), hertz."""
        return self.gm / (2 * math.pi * np.maximum(self.cgg, 1e-21))

    def at(self, gm_over_id: float, length: float) -> GmIdPoint:
        """Everything at one gm/Id and length, interpolated.

        Raises:
            InputError: The length or the gm/Id lies outside of the table.
        """
        if not self.lengths[0] * 0.999 <= length <= self.lengths[-1] * 1.001:
            low, high = self.lengths[0] * 1e6, self.lengths[-1] * 1e6
            raise InputError(
                f"L = {length * 1e6:.4g} um is outside of the table, {low:.4g} to {high:.4g} um."
            )
        upper = int(np.clip(np.searchsorted(self.lengths, length), 1, len(self.lengths) - 1))
        low, high = self.lengths[upper - 1], self.lengths[upper]
        part = float(np.clip(np.log(length / low) / np.log(high / low), 0.0, 1.0))
        rows = [self._row(i, gm_over_id) for i in (upper - 1, upper)]
        mixed = [a + part * (b - a) for a, b in zip(*rows, strict=True)]
        return GmIdPoint(gm_over_id, length, mixed[0], *(math.exp(value) for value in mixed[1:]))

    def curve(self, length: float) -> tuple[Array, Array, Array, Array]:
        """One length from weak to strong inversion; a length outside of the table is its nearest.

        Returns:
            gm/Id (1/V), falling, with Id/W (A/m), gm/gds and fT (Hz) there; equal lengths.
        """
        place = np.interp(np.log(length), np.log(self.lengths), np.arange(len(self.lengths)))
        lower = min(int(place), len(self.lengths) - 2)
        part = float(place) - lower

        def between(columns: Array) -> Array:
            logs = np.log(np.maximum(columns[lower : lower + 2], 1e-30))
            return np.asarray(np.exp((1 - part) * logs[0] + part * logs[1]))

        id, gm, gds, cgg = map(between, (self.id, self.gm, self.gds, self.cgg))
        ratio = gm / id
        kept = slice(int(ratio.argmax()), None)
        speed = gm / (2 * math.pi * cgg)
        return ratio[kept], (id / self.width)[kept], (gm / gds)[kept], speed[kept]

    def _row(self, index: int, gm_over_id: float) -> list[float]:
        curve = self.gm_over_id[index]
        peak = int(curve.argmax())
        falling = curve[peak:]
        if not falling[-1] <= gm_over_id <= falling[0]:
            raise InputError(
                f"gm/Id = {gm_over_id:.3g} 1/V is outside of what {self.device} reaches at "
                f"L = {self.lengths[index] * 1e6:.4g} um: {falling[-1]:.3g} to {falling[0]:.3g}."
            )
        tables = (
            self.vgs,
            np.log(self.current_density[index]),
            np.log(self.intrinsic_gain[index]),
            np.log(self.transit_frequency[index]),
        )
        order = slice(None, None, -1)
        return [
            float(np.interp(gm_over_id, falling[order], table[peak:][order])) for table in tables
        ]


@dataclass(frozen=True, slots=True)
class GmIdPoint:
    """A bias point: volts, amperes a metre, a ratio, hertz."""

    gm_over_id: float
    length: float
    vgs: float
    current_density: float
    intrinsic_gain: float
    transit_frequency: float

    def width(self, current: float) -> float:
        """The width in metres that carries ``current`` amperes at this point."""
        return current / self.current_density


def devices(pdk: str) -> list[str]:
    """Transistors of a PDK that can be characterised."""
    return sorted(find_pdk(pdk).package.rules)


def characterize(
    simulator: Simulator,
    pdk: str,
    device: str,
    *,
    lengths: Sequence[float] = (),
    width: float = 10e-6,
    vds: float | None = None,
    corner: Corner = "tt",
    temperature: float = 27.0,
    cancel: CancelToken | None = None,
) -> GmIdTable:
    """Sweeps Vgs of one device at several lengths; the second time from the cache.

    Args:
        lengths: Metres; empty means from the shortest allowed to 4 um.
        vds: Volts, magnitude; None means half of the PDK's supply.

    Raises:
        InputError: The PDK has no such transistor.
        SimulatorError: The sweep failed; the message says why.
        PdkError: The device models are not installed.
    """
    package = find_pdk(pdk).package
    rules = package.rules
    vds = package.supply / 2 if vds is None else vds
    if device not in rules:
        raise InputError(f"{pdk} has no transistor '{device}'.", hint=nearest(device, rules))
    shortest = rules[device][1]
    chosen = tuple(
        sorted(lengths or {shortest, *(length for length in _LENGTHS if length > shortest * 1.15)})
    )
    conditions = Conditions(temperature=temperature, corner=corner)
    library = Library(find_pdk(pdk).index(corner))
    cell = library.cell(device)
    inner = next((e.name for e in cell.elements if e.kind == "m"), "") if cell else ""
    circuit = _sweep(pdk, device, inner, library.scale, chosen, width, vds)
    key = f"{_FORMAT}|{circuit.testbenches[0].text}|{conditions}|{find_pdk(pdk).version}|"
    name = hashlib.sha256((key + simulator.version).encode()).hexdigest()[:24]
    file = paths.cache_dir() / "gmid" / f"{name}.json"
    if file.exists():
        return _read(file)
    result = simulator.simulate(SimulationRequest(circuit, {}, conditions, waveforms=True), cancel)
    if result.status == "failed" or not result.waveforms:
        raise SimulatorError(f"{device} cannot be characterised: {result.error}")
    wave = result.waveforms[0]
    columns = {name: np.abs(np.asarray(values)) for name, values in wave.y.items()}
    table = GmIdTable(
        pdk,
        device,
        corner,
        temperature,
        vds,
        width,
        np.asarray(chosen),
        np.abs(np.asarray(wave.x)),
        *(_column(columns, inner, len(chosen), name) for name in _SAVED),
    )
    _write(file, table)
    return table


def _column(columns: dict[str, Array], inner: str, count: int, name: str) -> Array:
    rows = [columns[f"@m.xm{i}.{inner}[{name}]"] for i in range(count)]
    return np.stack(rows).astype(float)


def _sweep(
    pdk: str,
    device: str,
    inner: str,
    scale: float,
    lengths: Sequence[float],
    width: float,
    vds: float,
) -> Circuit:
    """A testbench with one transistor a length, all gates swept together."""
    found = find_pdk(pdk)
    sign = -1 if device.split("__")[-1].startswith("p") else 1
    unit = 1.0 / scale
    top = sign * found.package.supply
    body = [
        f"* gm/Id of {device}",
        f'.lib "{found.library.name}" tt',
        f"Vg g 0 {top / 2!r}",
        f"Vd d 0 {sign * vds!r}",
    ]
    w = width * unit
    edge = 0.29e-6 * unit
    for index, length in enumerate(lengths):
        body.append(
            f"XM{index} d g 0 0 {device} w={w!r} l={length * unit!r} nf=1 m=1 ad={w * edge!r} "
            f"as={w * edge!r} pd={2 * (w + edge)!r} ps={2 * (w + edge)!r}"
        )
    saved = " ".join(f"@m.xm{i}.{inner}[{name}]" for i in range(len(lengths)) for name in _SAVED)
    body += [f".save {saved}", f".dc Vg 0 {top!r} {top / (_POINTS - 1)!r}", ".end"]
    return Circuit(
        name="gmid",
        title="gm/Id sweep",
        pdk=pdk,
        category="characterisation",
        description="",
        path=Path(os.devnull),
        parameters=(),
        metrics=(),
        specs=(),
        conditions=Conditions(),
        netlist="",
        testbenches=(Testbench("gmid", Path("gmid.spice"), "\n".join(body) + "\n"),),
    )


def _write(file: Path, table: GmIdTable) -> None:
    raw = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name in GmIdTable.__slots__
        for value in (getattr(table, name),)
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(raw))
        temporary.replace(file)
    except OSError:
        return


def _read(file: Path) -> GmIdTable:
    raw: dict[str, Any] = json.loads(file.read_text())
    for name, value in raw.items():
        if isinstance(value, list):
            raw[name] = np.asarray(value)
    return GmIdTable(**raw)
