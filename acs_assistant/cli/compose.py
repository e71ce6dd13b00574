"""Builds the concrete parts behind ``Services``. Each is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acs_assistant import paths
from acs_assistant.config import Settings, load_settings, save_settings
from acs_assistant.engine.services import Services

if TYPE_CHECKING:
    from acs_assistant.cancel import CancelToken
    from acs_assistant.domain import Circuit, Task
    from acs_assistant.engine.proposers import Proposer
    from acs_assistant.llm.port import LanguageModel
    from acs_assistant.optimizers.port import Optimizer
    from acs_assistant.sim.port import Simulator
    from acs_assistant.storage.store import Store


def build_services(settings: Settings | None = None) -> Services:
    """Everything that a session needs; opens the database, and nothing else yet.

    Raises:
        ConfigError: The settings cannot be read.
        StorageError: The database cannot be used.
    """
    from acs_assistant.storage.store import Store

    return _services(load_settings() if settings is None else settings, Store(paths.database()))


def benchmark_services(settings: Settings) -> Services:
    """The same with sessions in memory only."""
    from acs_assistant.storage.store import Store

    return _services(settings, Store.memory())


def _services(settings: Settings, store: Store) -> Services:
    from acs_assistant.optimizers import OPTIMIZERS

    return Services(
        settings=settings,
        store=store,
        list_circuits=_list_circuits,
        load_circuit=_load_circuit,
        list_models=_list_models,
        open_model=lambda name: _open_model(name, settings.model.threads),
        make_simulator=lambda: make_simulator(settings),
        make_optimizer=_make_optimizer,
        optimizers=OPTIMIZERS,
        save_settings=save_settings,
        make_hybrid=_make_hybrid,
        find_benchmarks=_find_benchmarks,
        read_benchmark=_read_benchmark,
    )


def make_simulator(settings: Settings | None = None) -> Simulator:
    """The ngspice workers.

    Raises:
        SimulatorError, PdkError: ngspice or the device models are missing.
    """
    from acs_assistant import sim

    chosen = (settings or load_settings()).simulator
    return sim.make_simulator(chosen.workers or None, timeout=chosen.timeout, store=True)


def _list_circuits() -> Sequence[Any]:
    from acs_assistant.library import list_circuits

    return list_circuits()


def _load_circuit(name: str) -> Circuit:
    from acs_assistant.library import load_circuit

    return load_circuit(name)


def _list_models() -> Sequence[Any]:
    from acs_assistant.llm import list_models

    return list_models()


def _open_model(name: str, threads: int) -> LanguageModel:
    from acs_assistant.llm import open_model

    return open_model(name, threads=threads or None)


def _make_optimizer(name: str, task: Task, seed: int, budget: int) -> Optimizer:
    from acs_assistant.optimizers import make_optimizer

    return make_optimizer(name, task, seed, budget)


def _make_hybrid(name: str, services: Services, budget: int, model: str) -> Proposer:
    from acs_assistant.bench.hybrids import make_hybrid

    return make_hybrid(name, services, budget=budget, model=model)


def _find_benchmarks(places: Sequence[Path]) -> Sequence[Any]:
    from acs_assistant.bench.reading import find_results

    return find_results(places)


def _read_benchmark(folder: Path, cancel: CancelToken, progress: Callable[[float], None]) -> Any:
    from acs_assistant.bench.reading import read_folder

    return read_folder(folder, cancel, progress)
