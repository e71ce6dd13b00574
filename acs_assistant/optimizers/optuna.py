"""Optuna's samplers as optimizers: TPE, CMA-ES, a Gaussian process and plain random search.

Every parameter is a float in the unit cube (``Parameter.to_unit``: the logarithm for log-scaled
ones), so that no sampler sees micrometres beside picofarads. Specs are constraints (Optuna 5:
``Trial.set_constraint``, feasible when at most 0), and a failed simulation is a completed trial
with the worst constraints.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from acs_assistant.domain import Evaluation, Sizing, Task
from acs_assistant.optimizers.port import Optimizer
from acs_assistant.optimizers.sobol import sobol_points
from acs_assistant.optimizers.space import DesignSpace, Outcome, outcome

if TYPE_CHECKING:
    import optuna

Point = tuple[float, ...]


class _Trials:
    """One Optuna study over the unit cube that accepts asked and foreign points alike."""

    def __init__(self, space: DesignSpace, sampler: optuna.samplers.BaseSampler) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = space
        self._distributions: dict[str, optuna.distributions.BaseDistribution] = {
            name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in space.names
        }
        self._study = optuna.create_study(direction="minimize", sampler=sampler)
        self._pending: optuna.trial.Trial | None = None

    def ask(self) -> Point:
        self._drop_pending()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._pending = self._study.ask(self._distributions)
        return tuple(self._pending.params[name] for name in self._space.names)

    def tell_asked(self, value: float, constraints: Sequence[float]) -> None:
        """Completes the trial that ``ask`` opened."""
        trial = self._pending
        if trial is None:
            raise RuntimeError("nothing was asked")
        for i, constraint in enumerate(constraints):
            trial.set_constraint(str(i), constraint)
        self._study.tell(trial, value)
        self._pending = None

    def add(self, point: Point, value: float, constraints: Sequence[float]) -> None:
        """Adds a finished trial that the sampler did not propose."""
        self._drop_pending()
        self._study.add_trial(finished_trial(self._space, point, value, constraints))

    def _drop_pending(self) -> None:
        import optuna

        if self._pending is not None:
            self._study.tell(self._pending, state=optuna.trial.TrialState.FAIL)
            self._pending = None


def finished_trial(
    space: DesignSpace, point: Point, value: float, constraints: Sequence[float]
) -> optuna.trial.FrozenTrial:
    import optuna

    return optuna.trial.create_trial(
        params=dict(zip(space.names, point, strict=True)),
        distributions={
            name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in space.names
        },
        value=value,
        constraints={str(i): c for i, c in enumerate(constraints)},
    )


class TpeOptimizer:
    """Tree-structured Parzen estimator.

    Settings, all Optuna 5 defaults unless said: multivariate kernels, which its authors report to
    beat the independent ones (Falkner et al. 2018; Watanabe 2023, arXiv 2304.11127, section 5); 10
    random trials first; 24 candidates. Constraints are Optuna's constrained TPE: an infeasible
    trial ranks below every feasible one and by its total violation, which is the score's order.
    Warm start: told trials count as its own.
    """

    name = "tpe"

    def __init__(self, task: Task, seed: int) -> None:
        import optuna

        self._task = task
        self._space = DesignSpace(task.circuit)
        self._trials = _Trials(self._space, optuna.samplers.TPESampler(seed=seed))
        self._asked: Sizing | None = None

    def ask(self) -> Sizing:
        self._asked = self._space.from_unit(self._trials.ask())
        return self._asked

    def tell(self, sizing: Sizing, evaluation: Evaluation) -> None:
        result = outcome(self._task, evaluation)
        if self._asked is not None and dict(sizing) == dict(self._asked):
            self._trials.tell_asked(result.loss, result.constraints)
        else:
            self._trials.add(self._space.to_unit(sizing), result.loss, result.constraints)
        self._asked = None


class RandomOptimizer(TpeOptimizer):
    """Uniform in the unit cube: log-uniform in the log-scaled parameters."""

    name = "random"

    def __init__(self, task: Task, seed: int) -> None:
        import optuna

        super().__init__(task, seed)
        self._trials = _Trials(self._space, optuna.samplers.RandomSampler(seed=seed))


class GpOptimizer:
    """Optuna's Gaussian process with constrained expected improvement in the logarithm (logCEI).

    Settings: ``deterministic_objective=True`` because ngspice repeats itself exactly; Matern 5/2
    with automatic relevance determination and Optuna's own priors; one process per spec; 10 first
    points (Optuna's default) from a scrambled Sobol sequence instead of uniform draws. Until a
    sizing meets all specs logCEI is the probability of meeting them; from then on the objective is
    the circuit's own, or the worst margin in a circuit without one. Constraints are tightened by
    ``MODEL_MARGIN``.
    """

    name = "gp"
    _startup = 10

    def __init__(self, task: Task, seed: int) -> None:
        self._task = task
        self._seed = seed
        self._space = DesignSpace(task.circuit)
        self._history: list[tuple[Point, Outcome]] = []
        self._first = sobol_points(self._space.dimension, seed)
        self._trials = self._new_trials()
        self._met = False

    def _new_trials(self) -> _Trials:
        import optuna

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deterministic_objective is "experimental"
            sampler = optuna.samplers.GPSampler(
                seed=self._seed, n_startup_trials=0, deterministic_objective=True
            )
        return _Trials(self._space, sampler)

    def ask(self) -> Sizing:
        if len(self._history) < self._startup:
            return self._space.from_unit(next(self._first))
        return self._space.from_unit(self._trials.ask())

    def tell(self, sizing: Sizing, evaluation: Evaluation) -> None:
        result = outcome(self._task, evaluation)
        self._history.append((self._space.to_unit(sizing), result))
        if result.met and not self._met and self._task.circuit.objective is not None:
            # The objective changes with the first success, so every trial gets its new value.
            self._met = True
            self._trials = self._new_trials()
            for point, past in self._history:
                self._add(point, past)
        else:
            self._add(*self._history[-1])

    def _add(self, point: Point, result: Outcome) -> None:
        value = result.worst_constraint
        if self._met:
            known = [r.objective for _, r in self._history if r.objective is not None]
            value = result.objective if result.objective is not None else max(known, default=0.0)
        self._trials.add(point, value, result.tightened())


class CmaEsOptimizer:
    """CMA-ES (the ``cmaes`` package through Optuna), minimising one figure, ``Outcome.loss``.

    Settings: default population ``4 + 3 ln d`` (Hansen 2016, arXiv 1604.00772, table 1). The start
    distribution is Optuna's warm start (Nomura et al., AAAI 2021): it is fitted to the best tenth
    of a first design, which is what was told before the first proposal, filled up with scrambled
    Sobol points to ``2 d``, at most a fifth of the budget, at least 10. CMA-ES compares ranks only,
    so specs enter through the order that the loss gives; a foreign point told later has no place in
    a generation and is left out.
    """

    name = "cmaes"

    def __init__(self, task: Task, seed: int, budget: int) -> None:
        self._task = task
        self._seed = seed
        self._space = DesignSpace(task.circuit)
        self._design = max(10, min(2 * self._space.dimension, budget // 5))
        self._first = sobol_points(self._space.dimension, seed)
        self._history: list[tuple[Point, Outcome]] = []
        self._trials: _Trials | None = None
        self._asked: Sizing | None = None

    def _start(self) -> _Trials:
        import optuna

        source = [finished_trial(self._space, x, r.loss, ()) for x, r in self._history]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # source_trials is "experimental"
            sampler = optuna.samplers.CmaEsSampler(
                seed=self._seed, n_startup_trials=0, source_trials=source
            )
        trials = _Trials(self._space, sampler)
        # Optuna learns the search space from a finished trial; without one it draws at random.
        best, result = min(self._history, key=lambda item: item[1].loss)
        trials.add(best, result.loss, ())
        return trials

    def ask(self) -> Sizing:
        if len(self._history) < self._design:
            return self._space.from_unit(next(self._first))
        if self._trials is None:
            self._trials = self._start()
        self._asked = self._space.from_unit(self._trials.ask())
        return self._asked

    def tell(self, sizing: Sizing, evaluation: Evaluation) -> None:
        result = outcome(self._task, evaluation)
        if self._trials is None:
            self._history.append((self._space.to_unit(sizing), result))
        elif self._asked is not None and dict(sizing) == dict(self._asked):
            self._trials.tell_asked(result.loss, ())
        else:
            self._trials.add(self._space.to_unit(sizing), result.loss, ())
        self._asked = None


def make_optuna_optimizer(name: str, task: Task, seed: int, budget: int) -> Optimizer:
    """``name`` is "tpe", "cmaes", "gp" or "random"."""
    makers: dict[str, Callable[[], Optimizer]] = {
        "tpe": lambda: TpeOptimizer(task, seed),
        "cmaes": lambda: CmaEsOptimizer(task, seed, budget),
        "gp": lambda: GpOptimizer(task, seed),
        "random": lambda: RandomOptimizer(task, seed),
    }
    return makers[name]()
