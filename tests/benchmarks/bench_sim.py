"""Simulation speed, agreement and memory, beside ``ngspice -b`` with the PDK's own library.

Everything is a ratio of two figures of the same run on the same machine; the first two are of
processor seconds, which other work on the machine disturbs least. The last line of stdout is one
JSON object.

    python tests/benchmarks/bench_sim.py [--sizings 105] [--memory-runs 5000]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from acs_assistant.domain import CORNERS, Circuit, Conditions, Metric
from acs_assistant.sim.measures import evaluate
from acs_assistant.sim.pool import Pool
from acs_assistant.sim.port import SimulationRequest
from acs_assistant.sim.vectors import MeasureError
from tests.sim.circuits import MILLER_BENCH, MILLER_METRICS, MILLER_SIZING, metric, miller_circuit
from tests.sim.full_library import full_library, run_plain

LOAD = 2e-12
PASSIVES = (
    "XR d2 z vss sky130_fd_pr__res_high_po w=0.69 l={r_z/1k*2.5}\n"
    "XC z out sky130_fd_pr__cap_mim_m3_1 w={sqrt(c_c/2f)} l={sqrt(c_c/2f)}\n"
)
VARIANTS: dict[str, dict[str, str]] = {
    "standard": {},
    "low Vt, MIM and poly": {
        "nfet": "nfet_01v8_lvt",
        "pfet": "pfet_01v8_lvt",
        "passives": PASSIVES,
    },
    "MIM and poly": {"passives": PASSIVES},
}
COMPARED = (
    *(m for m in MILLER_METRICS if m.measure not in ("area", "saturation_margin")),
    metric("v_out", "op_voltage", node="out"),
    metric("v_tail", "op_voltage", node="xdut.tail"),
    metric("settling", "settling_time", node="o2", input="s"),
)
EDGES_W = (0.84, 1.0, 1.68, 3.0, 5.0, 7.0, 20.0, 100.0)
EDGES_L = (0.35, 0.5, 0.6, 1.0, 2.0)


def random_sizing(generator: random.Random, spread: float = 0.9) -> dict[str, float]:
    """Around the nominal sizing; half of the widths and lengths lie on edges of bins."""
    sizing = {}
    for name, value in MILLER_SIZING.items():
        chosen = value * math.exp(generator.uniform(-spread, spread))
        if name.startswith("w_"):
            chosen = max(chosen, 1e-6)
            if generator.random() < 0.5:
                chosen = min(EDGES_W, key=lambda w: abs(w * 1e-6 - chosen)) * 1e-6
        elif name.startswith("l_"):
            chosen = max(chosen, 0.35e-6)
            if generator.random() < 0.5:
                chosen = generator.choice(EDGES_L) * 1e-6
        sizing[name] = float(f"{chosen:.4g}")
    return sizing


def with_metrics(made: Circuit, metrics: Iterable[Metric]) -> Circuit:
    return dataclasses.replace(made, metrics=tuple(metrics))


def processor_seconds(pool: Pool) -> float:
    """Processor time of this process and of the pool's workers so far."""
    own = time.process_time()
    for worker in pool._workers:
        if worker.pid is not None:
            fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
            own += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own


@dataclasses.dataclass(frozen=True)
class Speed:
    """Successful simulations a second of wall time, and a second of processor time."""

    wall: float
    processor: float


def throughput(pool: Pool, made: Circuit, count: int, seed: int, spread: float = 0.2) -> Speed:
    generator = random.Random(seed)
    requests = [
        SimulationRequest(made, random_sizing(generator, spread), made.conditions)
        for _ in range(count)
    ]
    used, started = processor_seconds(pool), time.perf_counter()
    good = sum(result.status == "ok" for _, result in pool.map(requests))
    wall = time.perf_counter() - started
    return Speed(good / wall, good / (processor_seconds(pool) - used))


def plain_seconds(made: Circuit, runs: int, cards: tuple[str, ...]) -> tuple[float, float]:
    """Median wall and processor seconds of ``ngspice -b`` with the full library."""
    values = {**MILLER_SIZING, "supply": 1.8, "load": LOAD}
    walls, processors = [], []
    for _ in range(runs):
        before = os.times()
        walls.append(run_plain(MILLER_BENCH, made.netlist, values, "tt", 27.0, cards=cards)[1])
        after = os.times()
        processors.append(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
    return statistics.median(walls), statistics.median(processors)


def agreement(folder: Path, count: int) -> dict[str, object]:
    """The largest relative difference of every metric over sizings, corners and temperatures."""
    generator = random.Random(11)
    worst: dict[str, float] = {m.name: 0.0 for m in COMPARED}
    missing = 0
    compared = plain_failed = only_plain_failed = 0
    with Pool(1) as pool:
        for index in range(count):
            variant = list(VARIANTS)[index % len(VARIANTS)]
            corner = CORNERS[index % len(CORNERS)]
            temperature = (-40.0, 27.0, 125.0)[index // 5 % 3]
            made = with_metrics(miller_circuit(folder, **VARIANTS[variant]), COMPARED)
            sizing = random_sizing(generator)
            conditions = Conditions(1.8, temperature, LOAD, corner)
            ours = pool.simulate(SimulationRequest(made, sizing, conditions))
            values = {**sizing, "supply": 1.8, "load": LOAD}
            try:
                plain, _ = run_plain(MILLER_BENCH, made.netlist, values, corner, temperature)
            except (RuntimeError, subprocess.TimeoutExpired):
                plain_failed += 1
                only_plain_failed += ours.status == "ok"
                continue
            for m in COMPARED:
                try:
                    expected = evaluate(m, plain)
                except MeasureError:
                    missing += m.name not in ours.metrics
                    continue
                value = ours.metrics.get(m.name, math.nan)
                error = abs(value - expected) / max(abs(expected), 1e-12)
                if not error <= 1e-6:
                    print(f"{variant} {corner} {temperature} {m.name}: {value!r} {expected!r}")
                worst[m.name] = max(worst[m.name], error if error == error else math.inf)
                compared += 1
    return {
        "sizings": count,
        "values": compared,
        "missing_in_both": missing,
        "ngspice_b_failed": plain_failed,
        "ngspice_b_failed_alone": only_plain_failed,
        "worst": max(worst.values()),
        "by_metric": worst,
    }


def resident(pid: int) -> float:
    """Resident memory of a process, megabytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory(made: Circuit, runs: int) -> tuple[float, float]:
    """The most megabytes that a worker takes over ``runs`` simulations, and what it grew by."""
    sizes = []
    with Pool(1) as pool:
        throughput(pool, made, 200, 1)
        for seed in range(max(1, runs // 250)):
            pid = pool._workers[0].pid
            if pid is not None:
                sizes.append(resident(pid))
            throughput(pool, made, 250, seed)
    return max(sizes), max(sizes) - sizes[0]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizings", type=int, default=105, help="compared with the full library")
    parser.add_argument("--memory-runs", type=int, default=5000)
    parser.add_argument("--speed-runs", type=int, default=200)
    options = parser.parse_args()
    full_library()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = miller_circuit(folder)
        small = with_metrics(whole, (m for m in MILLER_METRICS if m.name != "slew_rate"))
        plain_whole = plain_seconds(whole, 3, ())
        plain_small = plain_seconds(whole, 3, (".tran",))
        speeds = {}
        cores = os.cpu_count() or 1
        for workers in sorted({1, cores}):
            with Pool(workers) as pool:
                throughput(pool, whole, 10 * workers, 0)
                speeds[workers] = throughput(pool, whole, options.speed_runs, 3)
                if workers == 1:
                    throughput(pool, small, 10, 0)
                    speed_small = throughput(pool, small, options.speed_runs, 3)
        megabytes, growth = memory(small, options.memory_runs)
        same = agreement(folder, options.sizings) if options.sizings else None
    figures = {
        "ratio_op_ac_tran": speeds[1].processor * plain_whole[1],
        "ratio_op_ac": speed_small.processor * plain_small[1],
        "wall_ratio_op_ac_tran": speeds[1].wall * plain_whole[0],
        "wall_ratio_op_ac": speed_small.wall * plain_small[0],
        "ngspice_b_op_ac_tran_s": plain_whole[1],
        "ngspice_b_op_ac_s": plain_small[1],
        "op_ac_tran_ms": 1e3 / speeds[1].processor,
        "op_ac_ms": 1e3 / speed_small.processor,
        "scaling": {str(n): speed.wall / (n * speeds[1].wall) for n, speed in speeds.items()},
        "load_average": os.getloadavg()[0],
        "worker_mb": megabytes,
        "worker_growth_mb": growth,
        "agreement": same,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
