"""What a front end gets: settings, store, and the parts that cost time, made when first asked for.

The composition root fills in the makers; nothing here knows a concrete simulator or model.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acs_assistant.cancel import CancelToken
from acs_assistant.config import Settings
from acs_assistant.domain import Circuit, Task
from acs_assistant.llm.port import LanguageModel
from acs_assistant.optimizers.port import Optimizer
from acs_assistant.sim.port import Simulator

if TYPE_CHECKING:
    from acs_assistant.engine.proposers import Proposer
    from acs_assistant.engine.session import Session
    from acs_assistant.llm.models import ModelCard
    from acs_assistant.storage.store import Store

MODEL_ALONE = "model-alone"
"""The language model without its critic: every proposal is its first draw."""

FINE_TUNE = (sys.executable, "-m", "acs_assistant", "train", "from-sessions")
"""Fine-tuning runs in a process of its own: it needs torch, which no front end imports."""


def _adopt(reference: str) -> ModelCard:
    from acs_assistant import llm

    return llm.adopt(reference)


def _rollback() -> ModelCard:
    from acs_assistant import llm

    return llm.rollback()


def _check_model(reference: str) -> None:
    from acs_assistant import llm

    if reference.startswith(("http://", "https://")):
        llm.open_model(reference).close()
    else:
        llm.show_model(reference)


@dataclass(slots=True)
class Services:
    """Everything that the terminal interface and the command line work with.

    Safe to share between threads. ``simulator``, ``model`` and ``proposer`` may take seconds the
    first time: call them off the thread that draws.

    Attributes:
        store: The sessions. Each thread gets a connection of its own inside.
        list_circuits: ``library.CircuitSummary`` of every circuit that is found.
        load_circuit: By name or path.
        list_models: ``llm.ModelCard`` of every installed model.
        open_model: By name, file or URL; "" opens the default model.
        make_optimizer: (name, task, seed, budget).
        optimizers: Names that ``make_optimizer`` knows.
        make_hybrid: Makes a proposer called "KIND+OPTIMIZER": (name, these services, budget,
            model); None knows none.
        save_settings: Stores them, and ``settings`` is replaced by the caller.
        adopt_model: Makes an installed model or a GGUF file the default; returns its card.
        rollback_model: Makes the default before the last ``adopt_model`` the default again.
        check_model: Raises ModelError when a file is no usable GGUF, or no server answers.
        find_benchmarks: ``bench.reading.Found`` of every folder with results in some places.
        read_benchmark: Reads such a folder as ``bench.reading.Results``, telling the share read.
        fine_tune: Command of fine-tuning on saved sessions, without its options.
    """

    settings: Settings
    store: Store
    list_circuits: Callable[[], Sequence[Any]]
    load_circuit: Callable[[str], Circuit]
    list_models: Callable[[], Sequence[Any]]
    open_model: Callable[[str], LanguageModel]
    make_simulator: Callable[[], Simulator]
    make_optimizer: Callable[[str, Task, int, int], Optimizer]
    optimizers: tuple[str, ...] = ()
    save_settings: Callable[[Settings], None] = lambda settings: None
    make_hybrid: Callable[[str, Services, int, str], Proposer] | None = None
    adopt_model: Callable[[str], Any] = _adopt
    rollback_model: Callable[[], Any] = _rollback
    check_model: Callable[[str], None] = _check_model
    find_benchmarks: Callable[[Sequence[Path]], Sequence[Any]] = lambda places: ()
    read_benchmark: Callable[[Path, CancelToken, Callable[[float], None]], Any] | None = None
    fine_tune: tuple[str, ...] = FINE_TUNE
    _simulator: Simulator | None = None
    _models: dict[str, LanguageModel] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def proposers(self) -> tuple[str, ...]:
        """Names to choose from; ``proposer`` and ``new_session`` also take hybrids."""
        return ("model", MODEL_ALONE, *self.optimizers)

    def simulator(self) -> Simulator:
        """The one simulator of the process.

        Raises:
            SimulatorError, PdkError: ngspice or the device models are missing.
        """
        with self._lock:
            if self._simulator is None:
                self._simulator = self.make_simulator()
            return self._simulator

    def model(self, name: str = "") -> LanguageModel:
        """Opens a model and keeps it; one is in memory at a time.

        Raises:
            ModelError: No such model, or its file cannot be used.
        """
        name = name or self.settings.model.name
        with self._lock:
            if name not in self._models:
                for other in self._models.values():
                    other.close()
                self._models.clear()
                self._models[name] = self.open_model(name)
            return self._models[name]

    def adopt(self, reference: str) -> Any:
        """Makes a model the default, from the next session on.

        Raises:
            ModelError: No such model, or a damaged file.
            StorageError: The user's folder cannot be written.
        """
        card = self.adopt_model(reference)
        self._retire_default()
        return card

    def rollback(self) -> Any:
        """Takes the last ``adopt`` back.

        Raises:
            ModelError: There is nothing to take back.
        """
        card = self.rollback_model()
        self._retire_default()
        return card

    def _retire_default(self) -> None:
        """The old default stays open for whom it serves now; who asks next gets the new one."""
        with self._lock:
            if "" in self._models:
                self._models["an earlier default"] = self._models.pop("")

    def proposer(self, name: str, *, budget: int, model: str = "") -> Proposer:
        """Makes a proposer: "model", "model-alone", an optimizer, or a hybrid ("model+tpe").

        Raises:
            InputError: Unknown name; names the nearest.
            ModelError: The model cannot be opened.
        """
        from acs_assistant.engine.critic import find_critic
        from acs_assistant.engine.proposers import ModelProposer, OptimizerProposer, SamplingPolicy
        from acs_assistant.errors import InputError, nearest

        if name in ("model", MODEL_ALONE):
            chosen = self.settings.model
            policy = SamplingPolicy(
                temperature=chosen.temperature,
                top_p=chosen.top_p,
                max_tokens=chosen.max_tokens,
                resamples=chosen.resamples,
                history=chosen.history,
                candidates=chosen.candidates,
            )
            opened = self.model(model)
            # A server would draw the candidates one after the other, each as slow as a turn.
            alone = name == MODEL_ALONE or not chosen.candidates or opened.info.path is None
            return ModelProposer(opened, policy, *([] if alone else [find_critic]))
        if "+" in name and self.make_hybrid is not None:
            return self.make_hybrid(name, self, budget, model)
        if name not in self.optimizers:
            raise InputError(f"unknown proposer '{name}'.", hint=nearest(name, self.proposers()))
        return OptimizerProposer(
            name, lambda task, seed: self.make_optimizer(name, task, seed, budget)
        )

    def new_session(
        self,
        task: Task,
        *,
        proposer: str = "",
        model: str = "",
        budget: int | None = None,
        seed: int | None = None,
        title: str = "",
    ) -> Session:
        """Stores a new session and opens it. Model and simulator are built on the first run."""
        from acs_assistant.errors import InputError, nearest

        chosen = self.settings.session
        proposer = proposer or chosen.proposer
        if proposer not in self.proposers() and "+" not in proposer:
            raise InputError(
                f"unknown proposer '{proposer}'.", hint=nearest(proposer, self.proposers())
            )
        record = self.store.create_session(
            task,
            title=title or task.circuit.title,
            proposer=proposer,
            model=model,
            budget=chosen.budget if budget is None else budget,
            seed=chosen.seed if seed is None else seed,
        )
        return self.open_session(record.id)

    def open_session(self, session: int) -> Session:
        """Opens a stored session where it was left and takes its lock.

        Raises:
            InputError: No such session.
            StorageError: It is open in another process.
        """
        from acs_assistant.engine.session import Session

        return Session(
            self.store,
            session,
            simulator=self.simulator,
            make_proposer=lambda record: self.proposer(
                record.proposer, budget=record.budget, model=record.model
            ),
            max_failures=self.settings.session.max_failures,
        )

    def forget(self) -> None:
        """Has the models draw what comes next as if nothing had been asked of them before."""
        with self._lock:
            for model in self._models.values():
                model.forget()

    def close(self) -> None:
        """Stops the simulator's workers and frees the model."""
        with self._lock:
            if self._simulator is not None:
                self._simulator.close()
                self._simulator = None
            for model in self._models.values():
                model.close()
            self._models.clear()
        self.store.close()
