"""The process around one ngspice: ``python -m acs_assistant.sim.worker``.

Requests and replies are JSON, one a line, on the standard streams. The parent kills a worker that
takes too long; whatever a netlist does here, it does to this process alone.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acs_assistant.domain import Metric, OperatingPoint
from acs_assistant.errors import AcsError
from acs_assistant.sim.cells import Cell
from acs_assistant.sim.deck import FORMULA, Analysis, BenchSource, Deck, Testbench
from acs_assistant.sim.expressions import ExpressionError, compile_expression, namespace
from acs_assistant.sim.flatten import CellLibrary, DeckError, Draws
from acs_assistant.sim.meas import measure_sweep
from acs_assistant.sim.measures import evaluate
from acs_assistant.sim.models import EmptyLibrary, Library
from acs_assistant.sim.ngspice import NgSpice
from acs_assistant.sim.sandbox import limit_resources, restrict_files
from acs_assistant.sim.vectors import MeasureError, Plot, Run

_OFF_CURRENT = 1e-10
_LAST_BIN_WINS = 42
_OTHER_DC = re.compile(
    r"^\S+ \S+ \S+ (?!pulse|sin|exp|pwl|sffm|am\b).*\b(pulse|sin|exp|pwl|sffm|am)\b"
)
_LEVEL = re.compile(r"(?<==)([a-z_]\w*)(?=\s|$)")
_OP_VALUES = ("id", "gm", "gds", "vgs", "vds", "vth", "vdsat")


class SimulationFailed(Exception):
    """ngspice gave no usable result; the message is the reason."""


class Bench:
    """A testbench with the metrics that are taken in it."""

    def __init__(self, source: BenchSource, metrics: Sequence[Metric], names: Sequence[str]):
        self.metrics = [metric for metric in metrics if metric.testbench == source.name]
        self.testbench = Testbench(source, self.metrics, names)


class Worker:
    """Everything that one process keeps between requests."""

    def __init__(self) -> None:
        self.ngspice = NgSpice()
        self.circuits: dict[str, list[Bench]] = {}
        self.libraries: dict[tuple[str, str], CellLibrary] = {}
        self.cells: dict[str, Cell] = {}

    def handle(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answers one request; a failure is an answer too."""
        started = time.perf_counter()
        action = self._circuit if request["op"] == "circuit" else self._simulate
        try:
            reply = action(request)
        except AcsError as error:
            reply = {"status": "failed", "error": error.message}
        except (DeckError, SimulationFailed, ExpressionError) as error:
            reply = {"status": "failed", "error": str(error)}
        except OSError as error:
            reply = {"status": "failed", "error": f"{error.filename}: {error.strerror}"}
        except MemoryError:
            reply = {"status": "failed", "error": "the simulation needs too much memory"}
        except RecursionError:
            reply = {"status": "failed", "error": "the netlist is nested too deeply"}
        reply["seconds"] = time.perf_counter() - started
        return reply

    def _circuit(self, request: Mapping[str, Any]) -> dict[str, Any]:
        metrics = [Metric(**raw) for raw in request["metrics"]]
        self.circuits[request["key"]] = [
            Bench(BenchSource(**raw), metrics, request["parameters"]) for raw in request["sources"]
        ]
        return {"status": "ok"}

    def _simulate(self, request: Mapping[str, Any]) -> dict[str, Any]:
        library, draws = self._library(request)
        waveforms = bool(request["waveforms"])
        benches = [b for b in self.circuits[request["key"]] if b.metrics or waveforms]
        with_devices = next((b for b in benches if "op" in b.testbench.kinds), None)
        metrics: dict[str, float] = {}
        missing: list[str] = []
        devices: tuple[OperatingPoint, ...] = ()
        waves: list[dict[str, Any]] = []
        for bench in benches:
            deck = bench.testbench.deck(
                request["values"],
                request["temperature"],
                library,
                draws=draws,
                everything=waveforms,
                devices=bench is with_devices,
                last_bin=self.ngspice.release >= _LAST_BIN_WINS,
            )
            run = self._run(bench.testbench.source.name, deck, request["values"])
            if bench is with_devices:
                devices = run.devices
            for metric in bench.metrics:
                try:
                    metrics[metric.name] = evaluate(metric, run)
                except MeasureError as error:
                    missing.append(f"{metric.name}: {error}")
            if waveforms:
                waves += [_wave(plot, bench.testbench.source.name) for plot in run.plots]
        return {
            "status": "ok",
            "error": "; ".join(missing),
            "metrics": metrics,
            "devices": [_packed(device) for device in devices],
            "waveforms": waves,
        }

    def _library(self, request: Mapping[str, Any]) -> tuple[CellLibrary, Draws | None]:
        seed = request["seed"]
        folder = request["library"]
        draws = None if seed is None else Draws(seed)
        if not folder:
            return self.libraries.setdefault(("", ""), EmptyLibrary()), draws
        switches = json.dumps(request["switches"], sort_keys=True)
        if draws is not None:
            draws.enter("process")
            process = draws.functions() if request["process"] else None
            if process is not None:
                return (
                    Library(
                        Path(folder),
                        switches=request["switches"],
                        process=process,
                        cells=self.cells,
                    ),
                    draws,
                )
        key = (folder, switches)
        library = self.libraries.get(key)
        if library is None:
            library = Library(Path(folder), switches=request["switches"], cells=self.cells)
            self.libraries[key] = library
        return library, draws

    def _run(self, name: str, deck: Deck, values: Mapping[str, float]) -> Run:
        ngspice = self.ngspice
        ngspice.load(deck.lines)
        plots: list[Plot] = []
        meas: dict[str, float] = {}
        devices: tuple[OperatingPoint, ...] = ()
        seen: set[str] = set()
        point: Plot | None = None
        for analysis in deck.analyses:
            guess = analysis.kind == "tran" and point is not None and starts_at_op(deck.lines)
            if guess and point is not None:
                ngspice.replace([*deck.lines[:-1], *_nodesets(point), deck.lines[-1]])
                point = None
            try:
                found = self._analyse(analysis, seen)
            except SimulationFailed:
                if not guess:
                    raise
                ngspice.replace(deck.lines)
                found = self._analyse(analysis, seen)
            plots += found
            if ngspice.stepped and point is None:
                point = next((plot for plot in found if plot.kind == "op"), None)
            if deck.devices and not devices and any(plot.kind == "op" for plot in found):
                devices = tuple(self._device(label, d.path, d.kind) for label, d in deck.devices)
            for label, command in analysis.meas:
                self._meas(label, command, found[0], values, meas)
            before = next((plot for plot in found if plot.kind == "op"), None)
            if analysis.op and before is not None:
                ngspice.command(f"setplot {before.name}")
                for label, command in analysis.op:
                    self._meas(label, command, before, values, meas)
        return Run(name, tuple(plots), meas, devices, deck.area)

    def _analyse(self, analysis: Analysis, seen: set[str]) -> list[Plot]:
        """Runs one analysis; its plots, which are added to those ``seen``.

        Raises:
            SimulationFailed: It gave nothing, or stopped before its end.
        """
        self.ngspice.command(analysis.command)
        fresh = [plot for plot in self.ngspice.plot_names() if plot not in seen]
        seen.update(fresh)
        found = [self.ngspice.plot(plot) for plot in fresh]
        _check_complete(analysis.kind, analysis.command.split(), found, self.ngspice)
        return found

    def _meas(
        self,
        label: str,
        command: str,
        plot: Plot,
        values: Mapping[str, float],
        known: dict[str, float],
    ) -> None:
        """Adds to ``known`` what one ``.meas`` or ``*.let`` line gives, if it is finite."""
        value = measure_sweep(command, plot) if plot.kind == "dc" else None
        formula = FORMULA.split(command, maxsplit=1)
        if value is not None:
            pass
        elif command.startswith("let "):
            self.ngspice.command(command)
            value = self.ngspice.figure(label)
        elif len(formula) == 2:
            try:
                value = compile_expression(formula[1].strip())({}, namespace({**values, **known}))
            except ExpressionError:
                return
            if label not in plot.vectors:
                self.ngspice.command(f"let {label} = {value!r}")
        else:
            # ngspice reads past the end of a figure that stands for a level or a place.
            numbers = {name: repr(figure) for name, figure in known.items()}
            self.ngspice.command(_LEVEL.sub(lambda m: numbers.get(m[1], m[1]), command))
            value = self.ngspice.value(label)
        if math.isfinite(value):
            known[label] = value

    def _device(self, label: str, path: str, kind: str) -> OperatingPoint:
        values = [abs(self.ngspice.value(f"@{path}[{name}]")) for name in _OP_VALUES]
        current, gm, gds, vgs, vds, vth, vdsat = values
        return OperatingPoint(
            label,
            "pmos" if kind.startswith("p") else "nmos",
            region(current, vgs, vds, vth, vdsat),
            current,
            gm,
            gds,
            vgs,
            vds,
            vth,
            vdsat,
        )


def starts_at_op(lines: Sequence[str]) -> bool:
    """A transient begins at the operating point: nothing sets it, no source has another dc value.

    The second search for the same point then takes a few iterations instead of hundreds. What it
    finds is the same to 1e-12.
    """
    return not any(
        line.startswith((".ic", ".nodeset")) or (line[0] in "vi" and _OTHER_DC.search(line))
        for line in lines
    )


def _nodesets(point: Plot) -> list[str]:
    return [
        f".nodeset v({name})={float(vector[0])!r}"
        for name, vector in point.vectors.items()
        if "#" not in name and len(vector)
    ]


def region(current: float, vgs: float, vds: float, vth: float, vdsat: float) -> str:
    """The region of operation from magnitudes; "subthreshold" is saturated weak inversion."""
    if not current > _OFF_CURRENT:
        return "off"
    if vds < vdsat:
        return "linear"
    return "subthreshold" if vgs < vth else "saturation"


def _check_complete(
    kind: str, words: Sequence[str], plots: Sequence[Plot], ngspice: NgSpice
) -> None:
    """Raises SimulationFailed when an analysis gave nothing, or stopped before its end."""
    own = [plot for plot in plots if plot.kind == kind or plot.kind.startswith(kind)]
    if not own or not own[0].vectors:
        raise SimulationFailed(f"{kind}: {ngspice.reason()}")
    probe = own[0].scale or next(iter(own[0].vectors))
    if not len(own[0].vectors[probe]):
        raise SimulationFailed(f"{kind}: {ngspice.reason()}")
    if kind == "tran":
        stop = _spice_number(words[2])
        if own[0].x[-1] < stop * (1 - 1e-6):
            raise SimulationFailed(f"tran stopped at {own[0].x[-1]:.4g} s: {ngspice.reason()}")
    elif kind == "dc":
        _start, stop, step = (_spice_number(word) for word in words[2:5])
        if abs(own[0].x[-1] - stop) > abs(step) * 1.001:
            raise SimulationFailed(f"dc stopped at {own[0].x[-1]:.4g}: {ngspice.reason()}")
    elif kind == "op" and not all(np.isfinite(v).all() for v in own[0].vectors.values()):
        raise SimulationFailed("op: the operating point is not finite")


def _spice_number(word: str) -> float:
    from acs_assistant.units import parse_quantity

    return parse_quantity(word)


def _packed(device: OperatingPoint) -> list[Any]:
    return [getattr(device, name) for name in OperatingPoint.__slots__]


def _wave(plot: Plot, bench: str) -> dict[str, Any]:
    x = plot.x.tolist() if plot.scale else [0.0]
    y: dict[str, Any] = {}
    for name, vector in plot.vectors.items():
        if name == plot.scale:
            continue
        if np.iscomplexobj(vector):
            y[name] = [vector.real.tolist(), vector.imag.tolist()]
        else:
            y[name] = vector.tolist()
    return {"analysis": plot.kind, "testbench": bench, "x_name": plot.scale, "x": x, "y": y}


def _die_with_parent(parent: int) -> None:
    """Ends the process when its parent is gone, also in the middle of a simulation."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)


def main() -> None:
    """Serves requests until the input ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf8")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    threading.Thread(target=_die_with_parent, args=(os.getppid(),), daemon=True).start()
    settings = json.loads(sys.stdin.readline())
    try:
        worker = Worker()
    except AcsError as error:
        replies.write(json.dumps({"error": error.message, "hint": error.hint}) + "\n")
        return
    limit_resources(int(settings["memory"]))
    readable = [Path(sys.prefix), Path(sys.base_prefix), Path("/usr/lib"), Path("/lib")]
    readable += [Path(entry) for entry in sys.path if entry]
    readable += [Path(__file__).parents[1], Path(settings["cache"])]
    # ngspice 40 and newer ask how much memory there is, and give up when they are not told.
    readable += [Path("/proc/meminfo"), Path("/proc/self/statm")]
    sandboxed = restrict_files(readable, Path.cwd())
    replies.write(json.dumps({"version": worker.ngspice.version, "sandboxed": sandboxed}) + "\n")
    for line in sys.stdin:
        replies.write(json.dumps(worker.handle(json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
