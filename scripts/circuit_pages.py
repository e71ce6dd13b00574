"""Keeps the pages of the bundled circuits true: hand analysis and reference tables.

A row of a page's hand analysis is a metric, a formula, what the formula gives, what ngspice
measures and how far they may lie apart:

    | gbw | `gm(M1) / (2*pi*c_c)` | 18.1meg | 16.1meg | 20 % |

The formula is written in the parameters, the conditions ``supply`` and ``load``, ``pi``, the
functions of ``FUNCTIONS`` and the operating points of the reference sizing: ``gm(M1)``, ``gds``,
``id``, ``vds``, ``vgs``, ``vdsat``. A tolerance is a percentage or an amount in the metric's unit.

python scripts/circuit_pages.py           simulate, and write the numbers into circuits/*/README.md,
                                          and the list of the circuits into docs/circuits.md
python scripts/circuit_pages.py --check   exit status 1 when a page is out of date or a row fails
python scripts/circuit_pages.py --measure [NAME ...]
                                          first simulate the references at every corner, and write
                                          what they measure into circuits/*/reference.toml
"""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from acs_assistant.domain import Circuit, Corner, Measurement
from acs_assistant.library import list_circuits, load_circuit, read_reference, write_reference
from acs_assistant.scoring import score
from acs_assistant.sim import make_simulator
from acs_assistant.sim.port import SimulationRequest, Simulator
from acs_assistant.units import format_quantity, parse_quantity


def ramp(slew: float, unity: float, step: float) -> float:
    """The 10-90 % slope of a step that slews, then settles with one pole, volts per second.

    Args:
        slew: Slew rate, volts per second; it lasts until the error is ``slew / unity``.
        unity: Unity-gain frequency, radians per second.
        step: Volts.
    """
    turn = min(max(slew / unity, 0.1 * step), 0.9 * step)
    time = (0.9 * step - turn) / slew + math.log(turn / (0.1 * step)) / unity
    return 0.8 * step / time


FUNCTIONS: dict[str, Callable[..., float]] = {
    "abs": abs,
    "ramp": ramp,
    "sqrt": math.sqrt,
    "log": math.log,
    "min": min,
    "max": max,
    "db": lambda ratio: 20 * math.log10(abs(ratio)),
    "atan": lambda ratio: math.degrees(math.atan(ratio)),
}
_QUANTITIES = ("gm", "gds", "id", "vds", "vgs", "vdsat")
_ROW = re.compile(
    r"^\| (?P<metric>\w+) \| `(?P<formula>[^`]+)` \| (?P<hand>[^|]*) \| (?P<measured>[^|]*) "
    r"\| (?P<tolerance>[^|]+) \|$",
    re.MULTILINE,
)
_REFERENCE = re.compile(r"(<!-- reference -->\n).*?(<!-- end -->)", re.DOTALL)
_CATALOGUE = re.compile(r"(<!-- circuits -->\n).*?(<!-- end -->)", re.DOTALL)
_RANDOM = re.compile(r"^Of (\d+) random sizings .* (\d+) met the default specs\.$", re.MULTILINE)
_DOCS = Path(__file__).parents[1] / "docs" / "circuits.md"


@dataclass(frozen=True, slots=True)
class HandRow:
    """One row of a hand analysis, evaluated."""

    metric: str
    formula: str
    hand: float
    measured: float
    tolerance: str

    @property
    def holds(self) -> bool:
        if self.tolerance.endswith("%"):
            allowed = float(self.tolerance.rstrip("% ")) / 100 * abs(self.measured)
        else:
            allowed = parse_quantity(self.tolerance.replace(" ", ""))
        return abs(self.hand - self.measured) <= allowed

    def __str__(self) -> str:
        hand, measured = format_quantity(self.hand, 3), format_quantity(self.measured, 3)
        return f"| {self.metric} | `{self.formula}` | {hand} | {measured} | {self.tolerance} |"


def evaluate(formula: str, circuit: Circuit, measurement: Measurement) -> float:
    """What a formula of a page gives for the reference sizing."""
    names: dict[str, object] = {"pi": math.pi, **FUNCTIONS, **circuit.reference}
    names |= {"supply": circuit.conditions.supply, "load": circuit.conditions.load}
    names |= {device.name: device for device in measurement.devices}
    for quantity in _QUANTITIES:
        names[quantity] = lambda device, name=quantity: getattr(device, name)
    return float(eval(formula, {"__builtins__": {}}, names))


def hand_analysis(page: str, circuit: Circuit, measurement: Measurement) -> Iterator[HandRow]:
    """Every row of the page, evaluated anew."""
    for row in _ROW.finditer(page):
        hand = evaluate(row["formula"], circuit, measurement)
        measured = measurement.metrics[row["metric"]]
        yield HandRow(row["metric"], row["formula"], hand, measured, row["tolerance"])


def reference_table(circuit: Circuit) -> str:
    """The stored reference: the sizing, and every metric at the five corners."""
    reference = read_reference(circuit.path)
    if reference is None:
        return ""
    sizes = ", ".join(
        f"`{name} = {circuit.parameter(name).format(value)}`"
        for name, value in reference.sizing.items()
    )
    corners: dict[Corner, dict[str, float]] = {"tt": dict(reference.metrics)}
    corners |= {corner: dict(metrics) for corner, metrics in reference.corners.items()}
    lines = [
        f"{sizes}\n",
        f"| metric | spec | {' | '.join(corners)} |",
        f"|---|---|{'---|' * len(corners)}",
    ]
    specs = {spec.metric: spec for spec in circuit.specs}
    for metric in circuit.metrics:
        spec = specs.get(metric.name)
        target = f"{spec.relation} {format_quantity(spec.target)}" if spec else ""
        values = " | ".join(
            format_quantity(m[metric.name], 3) if metric.name in m else "missing"
            for m in corners.values()
        )
        lines.append(f"| {metric.name}, {metric.unit} | {target} | {values} |")
    return "\n".join(lines) + "\n"


def update(page: str, circuit: Circuit, measurement: Measurement) -> str:
    """The page with fresh numbers."""
    rows = hand_analysis(page, circuit, measurement)
    page = _ROW.sub(lambda _: str(next(rows)), page)
    return _REFERENCE.sub(lambda m: m[1] + reference_table(circuit) + m[2], page)


def simulate_reference(simulator: Simulator, circuit: Circuit) -> Measurement:
    conditions = dataclasses.replace(circuit.conditions, corner="tt")
    return simulator.simulate(SimulationRequest(circuit, circuit.reference, conditions))


def measure_reference(simulator: Simulator, circuit: Circuit) -> None:
    """Writes what the reference measures now, at tt and at the corners that were stored.

    Raises:
        SystemExit: A simulation failed, or the reference does not meet the default specs at tt.
    """
    reference = read_reference(circuit.path)
    if reference is None:
        return
    found: dict[Corner, Mapping[str, float]] = {}
    for corner in ("tt", *reference.corners):
        conditions = dataclasses.replace(circuit.conditions, corner=corner)
        request = SimulationRequest(circuit, reference.sizing, conditions)
        measured = simulator.simulate(request)
        if measured.status != "ok":
            raise SystemExit(f"{circuit.name} at {corner}: {measured.error}")
        if corner == "tt" and not score(circuit.specs, [measured]).met:
            raise SystemExit(f"{circuit.name}: the reference does not meet the default specs.")
        names = [m.name for m in circuit.metrics if m.name in measured.metrics]
        found[corner] = {name: measured.metrics[name] for name in names}
    metrics = found.pop("tt")
    write_reference(circuit.path, reference.sizing, metrics, found)


def catalogue() -> str:
    """One row per circuit: its size, how near the hand analysis is, and how rare luck is."""
    lines = [
        "| circuit | | parameters | specs | hand analysis within | specs met by chance |",
        "|---|---|---:|---:|---|---:|",
    ]
    for summary in list_circuits():
        circuit = load_circuit(summary.path)
        page = (Path(circuit.path) / "README.md").read_text(encoding="utf-8")
        within = ", ".join(f"{row['metric']} {row['tolerance']}" for row in _ROW.finditer(page))
        draws = _RANDOM.search(page)
        luck = f"{draws[2]} of {draws[1]}" if draws else ""
        lines.append(
            f"| `{circuit.name}` | {circuit.title} | {len(circuit.parameters)} "
            f"| {len(circuit.specs)} | {within} | {luck} |"
        )
    return "\n".join(lines) + "\n"


def with_catalogue(document: str) -> str:
    """docs/circuits.md with a fresh list of the circuits."""
    return _CATALOGUE.sub(lambda m: m[1] + catalogue() + m[2], document)


def main() -> int:
    checking, status = "--check" in sys.argv, 0
    measuring = "--measure" in sys.argv
    chosen = [word for word in sys.argv[1:] if not word.startswith("--")]
    simulator = make_simulator(workers=1)
    for summary in list_circuits():
        if chosen and summary.name not in chosen:
            continue
        circuit = load_circuit(summary.path)
        if measuring:
            measure_reference(simulator, circuit)
            circuit = load_circuit(summary.path)
        path = Path(circuit.path) / "README.md"
        page = path.read_text(encoding="utf-8")
        measurement = simulate_reference(simulator, circuit)
        for row in hand_analysis(page, circuit, measurement):
            if not row.holds:
                status = 1
                print(f"{path}: {row}", file=sys.stderr)
        fresh = update(page, circuit, measurement)
        if fresh != page and checking:
            status = 1
            print(f"{path} is out of date", file=sys.stderr)
        elif fresh != page:
            path.write_text(fresh, encoding="utf-8")
    simulator.close()
    document = _DOCS.read_text(encoding="utf-8")
    fresh = with_catalogue(document)
    if fresh != document and checking:
        status = 1
        print(f"{_DOCS} is out of date", file=sys.stderr)
    elif fresh != document:
        _DOCS.write_text(fresh, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
