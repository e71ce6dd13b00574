"""Simulation speed, agreement and memory, beside ``ngspice -b`` with the PDK's own library.

Everything is a ratio of two figures of the same run on the same machine. The last line of stdout
is one JSON object.

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


def random_sizing(generator: random.Random) -> dict[str, float]:
    """Around the nominal sizing; half of the widths and lengths lie on edges of bins."""
    sizing = {}
    for name, value in MILLER_SIZING.items():
        chosen = value * math.exp(generator.uniform(-0.9, 0.9))
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


def throughput(pool: Pool, made: Circuit, count: int, seed: int) -> float:
    """Successful simulations a second."""
    generator = random.Random(seed)
    requests = [
        SimulationRequest(made, random_sizing(generator), made.conditions) for _ in range(count)
    ]
    started = time.perf_counter()
    good = sum(result.status == "ok" for _, result in pool.map(requests))
    return good / (time.perf_counter() - started)


def plain_seconds(made: Circuit, runs: int, cards: tuple[str, ...]) -> float:
    """Median wall seconds of ``ngspice -b`` with the full library."""
    values = {**MILLER_SIZING, "supply": 1.8, "load": LOAD}
    taken = [
        run_plain(MILLER_BENCH, made.netlist, values, "tt", 27.0, cards=cards)[1]
        for _ in range(runs)
    ]
    return statistics.median(taken)


def agreement(folder: Path, count: int) -> dict[str, object]:
    """The largest relative difference of every metric over sizings, corners and temperatures."""
    generator = random.Random(11)
    worst: dict[str, float] = {m.name: 0.0 for m in COMPARED}
    missing = 0
    compared = 0
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
            plain, _ = run_plain(MILLER_BENCH, made.netlist, values, corner, temperature)
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
        "worst": max(worst.values()),
        "by_metric": worst,
    }


def resident(pid: int) -> float:
    """Resident memory of a process, megabytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory(made: Circuit, runs: int) -> tuple[float, float]:
    """Megabytes of a worker after ``runs`` simulations, and how much that grew from the 200th."""
    with Pool(1) as pool:
        throughput(pool, made, min(200, runs), 1)
        pid = pool._workers[0].pid
        assert pid is not None
        early = resident(pid)
        throughput(pool, made, runs, 2)
        return resident(pid), resident(pid) - early


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
        rates = {}
        cores = os.cpu_count() or 1
        for workers in sorted({1, cores}):
            with Pool(workers) as pool:
                throughput(pool, whole, 20, 0)
                rates[workers] = throughput(pool, whole, options.speed_runs, 3)
                if workers == 1:
                    throughput(pool, small, 20, 0)
                    rate_small = throughput(pool, small, options.speed_runs, 3)
        megabytes, growth = memory(small, options.memory_runs)
        same = agreement(folder, options.sizings) if options.sizings else None
    figures = {
        "ngspice_b_op_ac_tran_s": plain_whole,
        "ngspice_b_op_ac_s": plain_small,
        "op_ac_tran_per_s": rates[1],
        "op_ac_per_s": rate_small,
        "ratio_op_ac_tran": rates[1] * plain_whole,
        "ratio_op_ac": rate_small * plain_small,
        "scaling": {str(n): rate / (n * rates[1]) for n, rate in rates.items()},
        "worker_mb": megabytes,
        "worker_growth_mb": growth,
        "agreement": same,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
