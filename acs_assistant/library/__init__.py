"""Circuit folders: finding them, reading ``circuit.toml`` and ``reference.toml``, checking both.

Nothing here simulates. Measures are checked by the simulator's own registry, which knows them.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from acs_assistant import paths
from acs_assistant.domain import (
    Circuit,
    Conditions,
    Corner,
    Metric,
    Objective,
    Parameter,
    Sizing,
    Spec,
    Testbench,
)
from acs_assistant.errors import CircuitError, nearest
from acs_assistant.library.checks import check_circuit
from acs_assistant.library.tables import (
    CIRCUIT_FILE,
    NETLIST_FILE,
    REFERENCE_FILE,
    SCHEMATIC_FILE,
    CircuitFile,
    Document,
    ReferenceFile,
    read_text,
)
from acs_assistant.units import format_quantity


@dataclass(frozen=True, slots=True)
class CircuitSummary:
    """One line of ``circuits list``. ``parameters`` is how many there are."""

    name: str
    title: str
    category: str
    pdk: str
    parameters: int
    path: Path


@dataclass(frozen=True, slots=True)
class Reference:
    """``reference.toml``: a sizing and what it measured, at tt and at the other corners."""

    sizing: Sizing
    metrics: Mapping[str, float]
    corners: Mapping[Corner, Mapping[str, float]]


def search_path() -> tuple[Path, ...]:
    """Folders that hold circuit folders: the package's, then the user's."""
    return paths.bundled_circuits(), paths.user_circuits()


def find_circuit(name: str | Path) -> Path:
    """The folder of a circuit: a path as given, else by name in the package, else the user's.

    Raises:
        CircuitError: There is no such circuit; the hint names the nearest one.
    """
    given = Path(name).expanduser()
    if given.name == CIRCUIT_FILE:
        given = given.parent
    if (given / CIRCUIT_FILE).is_file():
        return given.resolve()
    looks_like_path = len(given.parts) > 1 or given.is_absolute() or given.is_dir()
    if looks_like_path:
        what = "has no circuit.toml" if given.is_dir() else "is not a folder"
        raise CircuitError(
            f"{given} {what}.",
            hint="Give the folder that holds circuit.toml, netlist.spice and the testbenches.",
        )
    for folder in search_path():
        if (folder / given / CIRCUIT_FILE).is_file():
            return folder / given
    raise CircuitError(
        f"there is no circuit '{name}'.", hint=nearest(str(name), (p.name for p in _folders()))
    )


def list_circuits() -> list[CircuitSummary]:
    """Every circuit that can be found by name, sorted by name. A folder that is broken is skipped:
    ``load_circuit`` says why when it is asked for.
    """
    found: dict[str, CircuitSummary] = {}
    for folder in _folders():
        try:
            circuit = load_circuit(folder)
        except CircuitError:
            continue
        found.setdefault(
            folder.name,
            CircuitSummary(
                circuit.name,
                circuit.title,
                circuit.category,
                circuit.pdk,
                len(circuit.parameters),
                folder,
            ),
        )
    return [found[name] for name in sorted(found)]


def _folders() -> Iterator[Path]:
    for folder in search_path():
        if folder.is_dir():
            yield from sorted(p.parent for p in folder.glob(f"*/{CIRCUIT_FILE}"))


def load_circuit(name: str | Path) -> Circuit:
    """Reads and checks a circuit folder.

    Args:
        name: A circuit's name, its folder, or its ``circuit.toml``.

    Raises:
        CircuitError: The folder is missing or broken; names the file, the line and the mend.
    """
    folder = find_circuit(name)
    file = Document.read(folder / CIRCUIT_FILE)
    table = file.validate(CircuitFile)
    netlist = read_text(folder / NETLIST_FILE)
    reference = read_reference(folder)
    circuit = Circuit(
        name=table.circuit.name,
        title=table.circuit.title,
        pdk=table.circuit.pdk,
        category=table.circuit.category,
        description=table.circuit.description,
        path=folder,
        parameters=tuple(Parameter(**p.model_dump()) for p in table.parameter),
        metrics=tuple(Metric(**m.model_dump()) for m in table.metric),
        specs=tuple(Spec(**s.model_dump()) for s in table.spec),
        conditions=Conditions(**table.conditions.model_dump(exclude={"ranges", "load_unit"})),
        netlist=netlist,
        testbenches=tuple(_testbenches(folder)),
        objective=Objective(**table.objective.model_dump()) if table.objective else None,
        condition_ranges=table.conditions.ranges.model_dump(exclude_none=True),
        reference=reference.sizing if reference else {},
        reference_metrics=reference.metrics if reference else {},
        schematic=read_text(folder / SCHEMATIC_FILE) if (folder / SCHEMATIC_FILE).exists() else "",
        load_unit=table.conditions.load_unit,
    )
    check_circuit(circuit, file)
    return circuit


def read_reference(folder: Path) -> Reference | None:
    """Reads ``reference.toml``; None when the folder has none.

    Raises:
        CircuitError: The file is broken.
    """
    path = folder / REFERENCE_FILE
    if not path.exists():
        return None
    table = Document.read(path).validate(ReferenceFile)
    return Reference(table.sizing, table.metrics, table.corners)


def write_reference(
    folder: Path,
    sizing: Sizing,
    metrics: Mapping[str, float],
    corners: Mapping[Corner, Mapping[str, float]] | None = None,
) -> Path:
    """Writes ``reference.toml``, whole or not at all, and returns its path.

    Args:
        sizing: SI values of every parameter of the circuit in ``folder``.
        metrics: What it measured under the circuit's own conditions.
        corners: What it measured at other corners.

    Raises:
        CircuitError: The folder's ``circuit.toml`` is broken, or the sizing does not fit it.
    """
    table = Document.read(folder / CIRCUIT_FILE).validate(CircuitFile)
    parameters = {p.name: Parameter(**p.model_dump()) for p in table.parameter}
    lines = ["[sizing]"]
    lines += [f'{name} = "{parameters[name].format(value)}"' for name, value in sizing.items()]
    tables = {"metrics": metrics, **{f"corners.{c}": m for c, m in (corners or {}).items()}}
    for title, values in tables.items():
        lines += ["", f"[{title}]"]
        lines += [f'{name} = "{format_quantity(value, 6)}"' for name, value in values.items()]
    path = folder / REFERENCE_FILE
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".reference-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)
    return path


def _testbenches(folder: Path) -> Iterator[Testbench]:
    for path in sorted(folder.glob("tb_*.spice")):
        if not re.fullmatch(r"tb_\w[\w.+-]*", path.stem):
            raise CircuitError(
                f"{path.name!r} is no name for a testbench.",
                file=folder,
                hint="Letters, digits, '_', '.', '+' and '-' can stand in one.",
            )
        yield Testbench(path.stem.removeprefix("tb_"), path, read_text(path))
