"""Whatever a netlist does ends as a failed result with a reason; the next simulation succeeds."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.domain import Circuit, Measurement
from acs_assistant.errors import CircuitError, UnsafeNetlistError
from acs_assistant.sim.pool import Pool
from acs_assistant.sim.port import SimulationRequest
from acs_assistant.sim.store import SimulationStore
from acs_assistant.sim.worker import starts_at_op
from tests.sim.circuits import MILLER_SIZING, circuit, metric, miller_circuit

GOOD = """* divider
.param ratio=1k
V1 in 0 2
R1 in out {ratio}
R2 out 0 1k
.op
.end
"""
OUT = metric("v", "op_voltage", node="out")


def bench(folder: Path, body: str, analysis: str = ".op", name: str = "v") -> Circuit:
    text = f"* fault\nV1 in 0 1 ac 1\nR0 in 0 1k\n{body}\n{analysis}\n.end\n"
    return circuit(folder, {"main": text}, [metric(name, "op_voltage", node="out")])


def run(pool: Pool, made: Circuit, **sizing: float) -> Measurement:
    return pool.simulate(SimulationRequest(made, sizing, made.conditions))


def works(pool: Pool, folder: Path) -> None:
    result = run(pool, circuit(folder, {"main": GOOD}, [OUT]))
    assert result.status == "ok", result.error
    assert result.metrics["v"] == pytest.approx(1.0)


@pytest.fixture(scope="module")
def one() -> Iterator[Pool]:
    """One worker with a short wall limit and little memory, so that faults meet each other."""
    with Pool(1, timeout=4.0, memory=150_000_000) as simulator:
        yield simulator


FAULTS = {
    "syntax error": ("R1 in", "needs 2 nodes"),
    "unknown element": ("Y1 in out 1k", "not supported"),
    "missing model": ("M1 out in 0 0 nowhere w=1u l=1u", "no model 'nowhere'"),
    "missing subcircuit": ("X1 in out nowhere", "no subcircuit or device 'nowhere'"),
    "undefined parameter": ("R1 in out {nothing}\nR2 out 0 1k", "undefined parameter 'nothing'"),
    "division by zero": ("R1 in out {1/0}\nR2 out 0 1k", "cannot be evaluated"),
    "infinity": ("R1 in out {1e200*1e200}\nR2 out 0 1k", "not finite"),
    "root of a negative": ("R1 in out {sqrt(-1)}\nR2 out 0 1k", "cannot be evaluated"),
    "negative width": (
        "M1 in out 0 0 nch w={-1u} l=1u\n.model nch nmos level=1\nR2 out 0 1k",
        "must be positive",
    ),
    "singular matrix": ("V2 in out 1\nV3 in out 2", "op"),
    "wrong terminal count": (".subckt s a b\nR1 a b 1\n.ends\nX1 in out 0 s", "2 terminals"),
    "recursion": (".subckt s a b\nX1 a b s\n.ends\nX1 in out s", "without end"),
    "circular parameter": (".param a={b} b={a}\nR1 in out {a}", "defined by itself"),
    "unclosed subcircuit": (".subckt s a b\nR1 a b 1", "not closed"),
    "unclosed bracket": ("R1 in out {1k\nR2 out 0 1k", ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_a_failed_result(one: Pool, tmp_path: Path, fault: str) -> None:
    body, words = FAULTS[fault]
    result = run(one, bench(tmp_path, body))
    assert result.status == "failed"
    assert words in result.error, result.error
    assert len(result.error) > 5
    works(one, tmp_path)


def test_values_that_are_not_numbers(one: Pool, tmp_path: Path) -> None:
    made = circuit(tmp_path, {"main": GOOD}, [OUT])
    for value in (math.nan, math.inf, -math.inf):
        result = run(one, made, ratio=value)
        assert result.status == "failed"
        assert "ratio is not a finite number" in result.error
    assert run(one, made, ratio=3e3).metrics["v"] == pytest.approx(0.5)


@pytest.mark.usefixtures("sky130")
def test_a_width_below_the_minimum(one: Pool, tmp_path: Path) -> None:
    result = run(one, miller_circuit(tmp_path), **{**MILLER_SIZING, "w_in": 0.1e-6})
    assert result.status == "failed"
    assert "no model of 'nshort_model' for W = 0.1 um" in result.error


def test_missing_include_is_refused_with_file_and_line(one: Pool, tmp_path: Path) -> None:
    made = bench(tmp_path, ".include nothere.inc")
    with pytest.raises(CircuitError, match=r"tb_main\.spice:4: cannot read 'nothere\.inc'"):
        run(one, made)
    works(one, tmp_path)


@pytest.mark.parametrize(
    "analysis",
    [".ac dec 1 1 2", ".ac dec 0 1 1k", ".ac lin 10 0 1k", ".tran 0 1", ".tran 1p 1", ".ac",
     ".dc V1 0 1 0", ".dc V1 0 1 -0.1", ".dc V1 0 1 1n", ".ac dec 10 1k 1"],
)  # fmt: skip
def test_endless_sweeps_never_start(one: Pool, tmp_path: Path, analysis: str) -> None:
    kind = analysis.split()[0][1:]
    made = circuit(
        tmp_path,
        {"main": f"* sweep\nV1 out 0 1 ac 1\nR1 out 0 1k\n{analysis}\n.meas {kind} v max v(out)\n"},
        [metric("v", "meas", name="v")],
    )
    started = time.monotonic()
    result = run(one, made)
    assert result.status == "failed"
    assert "tb_main.spice:4" in result.error
    assert time.monotonic() - started < 3


ENDLESS = """* ring of stiff sources
V1 in 0 sin(0 1 1g)
R1 in out 1k
C1 out 0 1p
.tran 1n 1m
.end
"""


def test_an_endless_transient_is_killed(one: Pool, tmp_path: Path) -> None:
    made = circuit(tmp_path, {"main": ENDLESS}, [metric("f", "oscillation_frequency", node="out")])
    result = run(one, made)
    assert result.status == "failed"
    assert any(word in result.error for word in ("no result within", "memory", "signal", "status"))
    works(one, tmp_path)


def test_a_worker_over_its_memory_limit(tmp_path: Path) -> None:
    with Pool(1, timeout=30.0, memory=4_000_000) as small:
        made = circuit(
            tmp_path,
            {"main": ENDLESS.replace("1n 1m", "1n 0.3m")},
            [metric("f", "oscillation_frequency", node="out")],
        )
        result = run(small, made)
        assert result.status == "failed"
        works(small, tmp_path)


def test_non_convergence(one: Pool, tmp_path: Path) -> None:
    body = "B1 out 0 i=1+v(out)*v(out)\nR1 out 0 1e6"
    result = run(one, bench(tmp_path, body))
    assert result.status == "failed"
    assert result.error.startswith("op")
    works(one, tmp_path)


def test_a_worker_killed_in_mid_run(tmp_path: Path) -> None:
    with Pool(1, timeout=30.0) as single:
        works(single, tmp_path)
        worker = single._workers[0]
        victim = worker.pid
        assert victim is not None
        killer = threading.Timer(0.3, os.kill, (victim, signal.SIGKILL))
        killer.start()
        made = circuit(
            tmp_path, {"main": ENDLESS}, [metric("f", "oscillation_frequency", node="out")]
        )
        result = run(single, made)
        assert result.status == "failed"
        assert "signal 9" in result.error
        works(single, tmp_path)
        assert worker.pid != victim


def test_cancel_stops_a_running_simulation(one: Pool, tmp_path: Path) -> None:
    made = circuit(tmp_path, {"main": ENDLESS}, [metric("f", "oscillation_frequency", node="out")])
    token = CancelToken()
    threading.Timer(0.4, token.cancel).start()
    started = time.monotonic()
    with pytest.raises(CancelledError):
        one.simulate(SimulationRequest(made, {}, made.conditions), token)
    assert time.monotonic() - started < 2.5
    works(one, tmp_path)
    with pytest.raises(CancelledError):
        one.simulate(SimulationRequest(made, {}, made.conditions), token)


HOSTILE = {
    "control block": ".control\nquit\n.endc",
    "shell": "shell touch /tmp/owned",
    "SHELL in capitals": "SHELL touch /tmp/owned",
    "continued command": ".CONTROL\n+\nshell id\n.ENDC",
    "system": "system touch /tmp/owned",
    "source": "source /etc/passwd",
    "write": "write /tmp/owned.raw v(out)",
    "wrdata": "wrdata /tmp/owned v(out)",
    "load": "load /etc/passwd",
    "cd": "cd /",
    "quit": "quit",
    "code model": 'A1 [in] [out] filesrc\n.model filesrc filesource (file="/etc/passwd")',
    "file in a model": '.model m d_source(input_file="/etc/passwd")',
    "nested in a subcircuit": ".subckt s a\n.control\nshell id\n.endc\n.ends",
    "absolute include": ".include /etc/passwd",
    "include that climbs": ".include ../../../etc/passwd",
    "include that hides the climb": '.INCLUDE "a/../../../etc/passwd"',
    "back quotes": "R1 in out `id`",
    "osdi": ".pre_osdi evil.osdi",
    "unknown card": ".exec id",
    "command in a comment": "*#shell touch /tmp/owned",
    "measurement into a file": ".meas tran x max v(out) > /tmp/owned",
    "formula into a file": "*.let tran x = v(out) > /tmp/owned",
    "command in a formula": "*.LET tran x = shell(id)",
    "variable in a formula": "*.let tran x = v(out)\n+ $home",
    "analysis into a file": ".op > /tmp/owned",
    "analysis into a file behind a parameter": ".ac dec 10 1 1k param=1 > /tmp/owned",
    "analysis that calls back a command": ".tran 1n 1u !shell",
    "options under a short name": ".OPT rawfile=/tmp/owned",
    "a model that runs a program": '.model m d_process (process_file="/bin/sh")',
    "a model that loads a library": '.model m d_cosim (simulation="evil.so")',
    "a model that reads states": '.model m d_state (state_file="/etc/passwd")',
    "a source that reads a file": 'V9 q 0 pwl   (  file "/etc/passwd")',
    "a library elsewhere": ".lib /etc/passwd tt",
    "a library that climbs": '.LIB "../../etc/passwd"\n+ tt',
    "another line end": "R1 in out 1k\r\nshell id\r\n",
    "a vertical tab": "R1 in out 1k\x0b.control\x0bshell id\x0b.endc",
    "a line separator": "R1 in out 1k\u2028.control\u2028shell id",
    "a letter that becomes another in lower case": "boo\u212a 1\n\u212abook\nshell id",
    "a blank that is none": "\u00a0shell id",
    "a null byte": "R1 in out 1k\0",
    "pre_osdi": "pre_osdi evil.osdi",
    "codemodel": "codemodel evil.cm",
    "use": "use evil",
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_netlist_is_refused_by_name(one: Pool, tmp_path: Path, attack: str) -> None:
    made = bench(tmp_path, HOSTILE[attack])
    with pytest.raises(UnsafeNetlistError) as caught:
        run(one, made)
    assert "tb_main.spice" in caught.value.message
    assert not Path("/tmp/owned").exists()
    works(one, tmp_path)


def test_an_attack_in_an_included_file_is_refused(one: Pool, tmp_path: Path) -> None:
    (tmp_path / "inner.inc").write_text("R9 in 0 1k\n.control\nshell id\n.endc\n")
    with pytest.raises(UnsafeNetlistError, match=r"inner\.inc:2"):
        run(one, bench(tmp_path, ".include inner.inc"))


def test_a_symbolic_link_does_not_lead_out_of_the_folder(one: Pool, tmp_path: Path) -> None:
    (tmp_path / "link.inc").symlink_to("/etc/passwd")
    with pytest.raises(UnsafeNetlistError, match="leaves the circuit's folder"):
        run(one, bench(tmp_path, ".include link.inc"))


def test_a_worker_cannot_write_read_run_or_connect() -> None:
    """The sandbox itself, without the netlist's checks in front of it."""
    script = """
import os, socket, subprocess, sys, tempfile
from pathlib import Path
from acs_assistant.sim.sandbox import limit_resources, restrict_files
here = Path(tempfile.mkdtemp()); os.chdir(here)
limit_resources(500_000_000)
if not restrict_files([Path(sys.prefix), Path(sys.base_prefix), Path("/usr/lib")], here):
    print("no landlock"); raise SystemExit
def refused(action):
    try:
        action()
    except OSError:
        return True
    return False
print(refused(lambda: Path("/tmp/owned").write_text("x")))
print(refused(lambda: Path("/etc/passwd").read_text()))
print(refused(lambda: subprocess.run(["/bin/true"], check=True)))
print(refused(lambda: socket.create_connection(("127.0.0.1", 9), timeout=1)))
print(refused(lambda: (here / "big").write_bytes(b"x" * 3_000_000)))
(here / "bsim4v5.out").write_text("log")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() in (["True"] * 5, ["no", "landlock"])


def test_workers_are_sandboxed_here(pool: Pool, tmp_path: Path) -> None:
    works(pool, tmp_path)
    status = {worker.sandboxed for worker in pool._workers if worker.pid}
    assert status == {Path("/proc/self").exists()}


def test_many_in_a_row_with_hostile_ones_between(pool: Pool, tmp_path: Path) -> None:
    storm(pool, tmp_path, 300)


@pytest.mark.slow
def test_ten_thousand_in_a_row(pool: Pool, tmp_path: Path) -> None:
    storm(pool, tmp_path, 10_000)


def storm(pool: Pool, folder: Path, count: int) -> None:
    """Two in a hundred are faulty; every other one must be right."""
    generator = random.Random(5)
    good = circuit(folder, {"main": GOOD}, [OUT])
    faulty = [bench(folder, body) for body, _ in FAULTS.values()]
    bad = {i: generator.choice(faulty) for i in range(count) if generator.random() < 0.02}
    sizes = [generator.uniform(100, 1e5) for _ in range(count)]
    requests = (
        SimulationRequest(bad.get(i, good), {"ratio": sizes[i]}, good.conditions)
        for i in range(count)
    )
    seen = set()
    for index, result in pool.map(requests):
        seen.add(index)
        if index in bad:
            assert result.status == "failed"
        else:
            assert result.metrics["v"] == pytest.approx(2e3 / (sizes[index] + 1e3))
    assert seen == set(range(count))


def test_a_full_disk_is_named_when_models_are_prepared(tmp_path: Path) -> None:
    """A limit on file size stands for the disk: writing fails in the middle of a file."""
    script = """
import resource, signal, sys
from pathlib import Path
from acs_assistant.errors import PdkError
from acs_assistant.sim.pdk import find_pdk
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    find_pdk("generic").index("tt", Path(sys.argv[1]))
except PdkError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "cannot keep the prepared device models" in done.stdout
    assert "Free some space" in done.stdout
    assert not list(tmp_path.rglob("globals.json"))


def test_a_worker_stays_small(tmp_path: Path) -> None:
    made = circuit(tmp_path, {"main": GOOD}, [OUT])
    with Pool(1) as pool:
        sizes: list[int] = []
        for _ in range(2):
            for _, result in pool.map(
                SimulationRequest(made, {"ratio": 1e3 + i}, made.conditions) for i in range(150)
            ):
                assert result.status == "ok"
            pages = Path(f"/proc/{pool._workers[0].pid}/statm").read_text().split()[1]
            sizes.append(int(pages) * os.sysconf("SC_PAGE_SIZE"))
    assert sizes[1] < 120e6
    assert sizes[1] - sizes[0] < 2e6


def test_a_worker_is_renewed_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acs_assistant.sim.pool._SIMULATIONS_A_PROCESS", 3)
    with Pool(1) as pool:
        seen = []
        for _ in range(5):
            works(pool, tmp_path)
            seen.append(pool._workers[0].pid)
    assert seen[0] == seen[1]
    assert seen[2] is None
    assert seen[3] == seen[4] not in (None, seen[0])


def test_identical_simulations_are_answered_from_the_store(tmp_path: Path) -> None:
    store = SimulationStore(tmp_path / "store" / "simulations.db")
    made = circuit(tmp_path, {"main": GOOD}, [OUT])
    with Pool(1, store=store) as pool:
        first = run(pool, made, ratio=2e3)
        again = run(pool, made, ratio=2e3)
        other = run(pool, made, ratio=2.5e3)
    assert (first.cached, again.cached, other.cached) == (False, True, False)
    assert again.metrics == first.metrics
    assert again.seconds == first.seconds
    store.close()


def test_a_store_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acs_assistant.sim.store._BETWEEN_CHECKS", 20)
    path = tmp_path / "simulations.db"
    store = SimulationStore(path, limit=200_000)
    for i in range(400):
        store.put(f"{i}", {"random": random.Random(i).randbytes(2000).hex()})
    kept = [i for i in range(400) if store.get(f"{i}") is not None]
    assert kept == list(range(kept[0], 400)), "the oldest are forgotten"
    assert 20 < len(kept) < 120
    store.close()
    assert path.stat().st_size < 600_000
    SimulationStore(path, limit=10_000).close()
    assert SimulationStore(path).get("399") is not None


def test_a_store_that_cannot_be_written_only_forgets(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = SimulationStore(tmp_path / "file" / "simulations.db")
    made = circuit(tmp_path, {"main": GOOD}, [OUT])
    with Pool(1, store=store) as pool:
        assert run(pool, made).status == "ok"
        assert run(pool, made).cached is False


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("vs s 0 pulse(0 1 0 1n 1n 1u 2u)", True),
        ("vs s 0 1.8", True),
        ("vs s 0 dc 0.9 ac 1", True),
        ("vs s 0 dc 0.9 pulse(0 1 0 1n 1n 1u 2u)", False),
        ("vs s 0 dc 0.9 ac 1 sin(0.9 0.1 500)", False),
        ("is s 0 1u pwl(0 0 1u 1)", False),
        (".ic v(s)=1", False),
        (".nodeset v(s)=1", False),
    ],
)
def test_a_transient_starts_at_the_operating_point_only_where_nothing_else_sets_it(
    line: str, allowed: bool
) -> None:
    assert starts_at_op(["* title", line, ".end"]) is allowed


def test_a_worker_that_gets_no_processor_is_waited_for(tmp_path: Path) -> None:
    made = bench(tmp_path, "C1 out 0 1n")
    with Pool(1, timeout=0.5) as patient:
        works(patient, tmp_path)
        pid = patient._workers[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        timer = threading.Timer(1.2, os.kill, (pid, signal.SIGCONT))
        timer.start()
        result = run(patient, made)
        timer.join()
        assert result.status == "ok", result.error
        assert patient._workers[0].pid == pid
