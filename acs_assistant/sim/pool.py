"""Workers side by side: the simulator that the rest of the app sees."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import queue
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from acs_assistant import paths
from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.domain import Circuit, Measurement, OperatingPoint, Waveform
from acs_assistant.errors import SimulatorError
from acs_assistant.sim.deck import BenchSource, gather
from acs_assistant.sim.pdk import find_pdk
from acs_assistant.sim.port import SimulationRequest
from acs_assistant.sim.store import SimulationStore

_START_LIMIT = 60.0
# ngspice 39 loses 0.9 kB a simulation; a new process every few thousand keeps workers small.
_SIMULATIONS_A_PROCESS = 3_000


class WorkerDied(Exception):
    """The worker is gone; the message says how."""


_PATIENCE = 5.0
_PAUSE = 0.05  # seconds of processor time that are not worth waiting for


class WorkerProcess:
    """One worker, from the parent's side. Used by one thread at a time."""

    def __init__(self, cache: Path, memory: int) -> None:
        self._cache = cache
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = ""
        self._buffer = bytearray()
        self.known: set[str] = set()
        self.served = 0
        self.version = ""
        self.sandboxed = False

    def start(self) -> None:
        """Starts the process if there is none.

        Raises:
            SimulatorError: ngspice cannot be started there.
        """
        if self._process is not None:
            return
        try:
            self._folder = tempfile.mkdtemp(prefix="acs-sim-")
        except OSError as error:
            raise SimulatorError(
                f"a worker has no folder to run in: {error.strerror}.",
                hint="Free some space, or set TMPDIR to a folder that can be written.",
            ) from None
        with contextlib.suppress(OSError):
            self._cache.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "acs_assistant.sim.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            env=environment,
            start_new_session=True,
        )
        self._buffer = bytearray()
        self.known = set()
        self.served = 0
        self._send({"cache": str(self._cache), "memory": self._memory})
        try:
            hello = self._receive(_START_LIMIT)
        except (WorkerDied, TimeoutError) as error:
            self.kill()
            raise SimulatorError(f"a worker does not start: {error}.") from None
        if "error" in hello:
            self.kill()
            raise SimulatorError(hello["error"], hint=hello["hint"])
        self.version = hello["version"]
        self.sandboxed = hello["sandboxed"]

    def ask(self, request: Mapping[str, Any], limit: float) -> dict[str, Any]:
        """Sends one request and waits for its reply.

        Raises:
            WorkerDied: The process ended.
            TimeoutError: No reply within ``limit`` seconds; the process is killed.
        """
        self._send(request)
        try:
            return self._receive(limit)
        except TimeoutError:
            self.kill()
            raise

    def kill(self) -> None:
        """Ends the process at once. Safe from any thread."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def interrupt(self) -> None:
        """Kills the process but leaves its bookkeeping to the thread that waits for it."""
        process = self._process
        if process is not None:
            process.kill()

    def _send(self, message: Mapping[str, Any]) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise WorkerDied("the worker is not running")
        try:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
        except OSError:
            raise WorkerDied(self._how()) from None

    def _receive(self, limit: float) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdout is None:
            raise WorkerDied("the worker is not running")
        descriptor = process.stdout.fileno()
        begun, used = time.monotonic(), _processor_seconds(process.pid)
        deadline = begun + limit
        end = self._buffer.find(b"\n")
        while end < 0:
            left = deadline - time.monotonic()
            if left <= 0:
                left = limit - (_processor_seconds(process.pid) - used)
                deadline = min(time.monotonic() + left, begun + limit * _PATIENCE)
                if min(left, deadline - time.monotonic()) < _PAUSE:
                    raise TimeoutError(f"no result within {limit:.3g} s")
                continue
            ready, _, _ = select.select([descriptor], [], [], left)
            if ready:
                piece = os.read(descriptor, 1 << 16)
                if not piece:
                    raise WorkerDied(self._how())
                end = piece.find(b"\n")
                end = end if end < 0 else len(self._buffer) + end
                self._buffer += piece
        reply: dict[str, Any] = json.loads(self._buffer[:end])
        del self._buffer[: end + 1]
        return reply

    def _how(self) -> str:
        process = self._process
        if process is None:
            return "the worker was stopped"
        try:
            status = process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "the worker closed its output"
        if status < 0:
            return f"ngspice ended with signal {-status}"
        return "ngspice gave up on this netlist" if status == 70 else f"exit status {status}"


def _processor_seconds(pid: int) -> float:
    """Processor time of a process so far; without ``/proc`` as much as has passed."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return time.monotonic()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Pool:
    """N workers behind the simulator port.

    Args:
        workers: Processes; each runs one simulation at a time.
        timeout: Seconds of processor time that one sizing may take; on a busy machine it may wait
            for them a few times as long.
        memory: Bytes that a worker may use beyond what it needs at the start.
        store: Answers repeats from disk; None asks ngspice every time.
    """

    def __init__(
        self,
        workers: int,
        *,
        timeout: float = 60.0,
        memory: int = 1_000_000_000,
        store: SimulationStore | None = None,
    ) -> None:
        self._timeout = timeout
        self._store = store
        self._cache = paths.cache_dir() / "models"
        self._workers = [WorkerProcess(self._cache, memory) for _ in range(workers)]
        self._idle: queue.LifoQueue[WorkerProcess] = queue.LifoQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="simulator")
        self._prepared: dict[int, tuple[Circuit, _Prepared]] = {}
        self._lock = threading.Lock()
        self._version = ""
        self._closed = False

    @property
    def version(self) -> str:
        """Such as "ngspice-39"; starts a worker to find out."""
        if not self._version:
            worker = self._idle.get()
            try:
                worker.start()
                self._version = worker.version
            finally:
                self._idle.put(worker)
        return self._version

    @property
    def workers(self) -> int:
        return len(self._workers)

    def simulate(
        self, request: SimulationRequest, cancel: CancelToken | None = None
    ) -> Measurement:
        """One sizing; see the port."""
        if self._closed:
            raise SimulatorError("the simulator is closed.")
        if cancel is not None:
            cancel.raise_if_cancelled()
        prepared = self._prepare(request.circuit)
        message = prepared.message(request)
        key = ""
        if self._store is not None and not request.waveforms:
            key = prepared.store_key(message, self.version)
            stored = self._store.get(key)
            if stored is not None:
                return _measurement(stored, request, cached=True)
        reply = self._ask(prepared, message, cancel)
        if key and self._store is not None and reply.get("keep", True):
            self._store.put(key, reply)
        return _measurement(reply, request)

    def map(
        self, requests: Iterable[SimulationRequest], cancel: CancelToken | None = None
    ) -> Iterator[tuple[int, Measurement]]:
        """Many sizings at once; the requests are taken as workers get free."""
        pending: dict[Future[Measurement], int] = {}
        source = enumerate(requests)
        exhausted = False
        try:
            while pending or not exhausted:
                while not exhausted and len(pending) < 2 * len(self._workers):
                    try:
                        index, request = next(source)
                    except StopIteration:
                        exhausted = True
                        break
                    pending[self._threads.submit(self.simulate, request, cancel)] = index
                if not pending:
                    return
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield pending.pop(future), future.result()
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """Ends every worker."""
        self._closed = True
        for worker in self._workers:
            worker.interrupt()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:
            worker.kill()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _prepare(self, circuit: Circuit) -> _Prepared:
        with self._lock:
            found = self._prepared.get(id(circuit))
            if found is None:
                found = (circuit, _Prepared.of(circuit, self._cache))
                self._prepared[id(circuit)] = found
            return found[1]

    def _ask(
        self, prepared: _Prepared, message: Mapping[str, Any], cancel: CancelToken | None
    ) -> dict[str, Any]:
        """One try. A worker that dies or hangs is this simulation's failure, never hidden."""
        worker = self._idle.get()
        started = time.perf_counter()
        release = _interruption(worker, cancel)
        try:
            worker.start()
            if prepared.key not in worker.known:
                reply = worker.ask(prepared.introduction, self._timeout)
                if reply["status"] == "failed":
                    return {**reply, "seconds": time.perf_counter() - started}
                worker.known.add(prepared.key)
            worker.served += 1
            reply = worker.ask(message, self._timeout)
            if worker.served >= _SIMULATIONS_A_PROCESS:
                worker.kill()
            return reply
        except (WorkerDied, TimeoutError, ValueError) as error:
            worker.kill()
            if cancel is not None and cancel.cancelled:
                raise CancelledError from None
            seconds = time.perf_counter() - started
            return {"status": "failed", "error": str(error), "seconds": seconds, "keep": False}
        except BaseException as error:
            worker.kill()  # or its late reply would answer the next request
            if isinstance(error, SimulatorError) and cancel is not None and cancel.cancelled:
                raise CancelledError from None  # it was starting
            raise
        finally:
            release()
            self._idle.put(worker)


def _interruption(worker: WorkerProcess, cancel: CancelToken | None) -> Callable[[], None]:
    """Kills the worker when the token is cancelled, until the returned function is called."""
    if cancel is None:
        return lambda: None
    active = threading.Event()
    active.set()

    def stop() -> None:
        if active.is_set():
            worker.interrupt()

    cancel.on_cancel(stop)
    return active.clear


@dataclasses.dataclass(frozen=True, slots=True)
class _Prepared:
    """What a circuit needs before its first simulation, checked once."""

    key: str
    introduction: Mapping[str, Any]
    sources: Sequence[BenchSource]
    pdk: str
    cache: Path

    @classmethod
    def of(cls, circuit: Circuit, cache: Path) -> _Prepared:
        sources = gather(circuit)
        body = {
            "sources": [dataclasses.asdict(source) for source in sources],
            "metrics": [
                {
                    "name": metric.name,
                    "unit": metric.unit,
                    "testbench": metric.testbench,
                    "measure": metric.measure,
                    "arguments": dict(metric.arguments),
                }
                for metric in circuit.metrics
            ],
            "parameters": [parameter.name for parameter in circuit.parameters],
        }
        key = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        needs = any(source.library for source in sources)
        introduction = {"op": "circuit", "key": key, **body}
        return cls(key, introduction, sources, circuit.pdk if needs else "", cache)

    def message(self, request: SimulationRequest) -> dict[str, Any]:
        """The request as a worker reads it."""
        conditions = request.conditions
        library = ""
        switches: dict[str, str] = {}
        if self.pdk:
            pdk = find_pdk(self.pdk)
            random = request.mismatch_seed is not None
            library = str(pdk.index(conditions.corner, self.cache, process=random))
            if random:
                switches = pdk.mismatch_switches()
        return {
            "op": "simulate",
            "key": self.key,
            "values": {
                **{name: float(value) for name, value in request.sizing.items()},
                "supply": conditions.supply,
                "load": conditions.load,
            },
            "temperature": conditions.temperature,
            "library": library,
            "switches": switches,
            "seed": request.mismatch_seed,
            "process": request.mismatch_seed is not None,
            "waveforms": request.waveforms,
            "models": (Path(library) / "globals.json").stat().st_mtime_ns if library else 0,
        }

    def store_key(self, message: Mapping[str, Any], version: str) -> str:
        """Equal for equal netlists, parameters, conditions, device models and ngspice."""
        identity = json.dumps({**message, "version": version}, sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()


def _measurement(
    reply: Mapping[str, Any], request: SimulationRequest, *, cached: bool = False
) -> Measurement:
    waveforms = []
    for raw in reply.get("waveforms", ()):
        y: dict[str, Any] = {}
        for name, values in raw["y"].items():
            if values and isinstance(values[0], list):
                y[name] = tuple(complex(a, b) for a, b in zip(*values, strict=True))
            else:
                y[name] = tuple(values)
        waveforms.append(
            Waveform(raw["analysis"], raw["testbench"], raw["x_name"], tuple(raw["x"]), y)
        )
    return Measurement(
        status=reply["status"],
        metrics=dict(reply.get("metrics", {})),
        devices=tuple(OperatingPoint(*values) for values in reply.get("devices", ())),
        conditions=request.conditions,
        error=reply.get("error", ""),
        seconds=float(reply.get("seconds", 0.0)),
        cached=cached,
        waveforms=tuple(waveforms),
    )
