"""The pages of the circuits: hand analysis against ngspice, schematics against netlists."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from acs_assistant.library import list_circuits, load_circuit
from acs_assistant.sim.port import Simulator
from acs_assistant.units import parse_quantity

CIRCUITS = [summary.name for summary in list_circuits()]
SCRIPTS = Path(__file__).parents[2] / "scripts"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


pages = script("circuit_pages")
schematics = script("schematics")


@pytest.mark.parametrize("name", CIRCUITS)
def test_hand_analysis_agrees_with_ngspice(simulator: Simulator, name: str) -> None:
    circuit = load_circuit(name)
    page = (circuit.path / "README.md").read_text()
    measurement = pages.simulate_reference(simulator, circuit)
    rows = list(pages.hand_analysis(page, circuit, measurement))
    assert len(rows) >= (3 if circuit.category == "amplifier" else 2)
    for row in rows:
        assert row.holds, str(row)
        assert float(row.tolerance.rstrip("% ")) <= 40
        start = re.escape(f"| {row.metric} | `{row.formula}` |")
        written = re.search(start + r" (\S+) \| (\S+) \|", page)
        assert written is not None
        assert parse_quantity(written[1]) == pytest.approx(row.hand, rel=0.05)
        assert parse_quantity(written[2]) == pytest.approx(row.measured, rel=0.05)


@pytest.mark.parametrize("name", CIRCUITS)
def test_the_page_shows_the_stored_reference(name: str) -> None:
    circuit = load_circuit(name)
    page = (circuit.path / "README.md").read_text()
    assert pages.reference_table(circuit) in page
    assert "schematic.svg" in page


def test_the_list_of_circuits_is_as_they_are() -> None:
    document = (SCRIPTS.parent / "docs" / "circuits.md").read_text(encoding="utf-8")
    assert pages.catalogue() in document, "run scripts/circuit_pages.py"
    for name in CIRCUITS:
        row = re.search(rf"^\| `{name}` \|.* (\d+) of (\d+) \|$", pages.catalogue(), re.MULTILINE)
        assert row is not None
        assert int(row[1]) / int(row[2]) < 0.005, "well under 1 % by chance"


def test_a_wrong_formula_is_noticed(simulator: Simulator) -> None:
    circuit = load_circuit("ota_5t")
    page = "| gbw | `gm(M1) / (4*pi*load)` | 1 | 1 | 20 % |\n| gbw | `gm(M1)` | 1 | 1 | 5meg |\n"
    measurement = pages.simulate_reference(simulator, circuit)
    rows = list(pages.hand_analysis(page, circuit, measurement))
    assert [row.holds for row in rows] == [False, False]


def test_ramp_without_slewing_is_the_slope_of_one_pole() -> None:
    """One pole rises from 10 % to 90 % in ln(9) time constants."""
    assert pages.ramp(1e12, 1e6, 1.0) == pytest.approx(0.8 / (2.1972246e-6))
    assert pages.ramp(1e6, 1e12, 1.0) == pytest.approx(1e6, rel=1e-3)


@pytest.mark.parametrize("name", CIRCUITS)
def test_schematics_are_drawn_from_the_netlist_as_it_is(name: str) -> None:
    folder = load_circuit(name).path
    drawing = schematics.text(name)
    assert (folder / "schematic.txt").read_text() == drawing, "run scripts/schematics.py"
    assert (folder / "schematic.svg").read_bytes() == schematics.svg(name)
    for device in schematics.devices((folder / "netlist.spice").read_text()).values():
        assert re.search(rf"\b{device.name}\b", drawing)


@pytest.mark.parametrize("name", CIRCUITS)
def test_nothing_overlaps_in_a_schematic(name: str) -> None:
    """No two devices share a place, and no terminal label names two nets."""
    placed = schematics.place(name)
    assert len({(p.column, p.row) for p in placed}) == len(placed)
    for points in schematics.levels(placed).values():
        columns = [column for column, _ in points]
        assert len(set(columns)) == len(columns), points
