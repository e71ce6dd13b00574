"""Black-box optimizers from Optuna and BoTorch behind one port."""

from __future__ import annotations

from acs_assistant.domain import Task
from acs_assistant.errors import ConfigError, InputError, nearest
from acs_assistant.optimizers.port import Optimizer

OPTIMIZERS: tuple[str, ...] = ("tpe", "cmaes", "gp", "turbo", "scbo", "random", "sobol")

_IN_BENCH_EXTRA = {"gp": ("torch",), "turbo": ("torch", "botorch"), "scbo": ("torch", "botorch")}


def make_optimizer(name: str, task: Task, seed: int, budget: int) -> Optimizer:
    """The optimizer called ``name``, which must be one of ``OPTIMIZERS``.

    Args:
        seed: Two optimizers with one seed that are told the same outcomes ask for the same sizings.
        budget: Simulations that it may count on; sizes the initial design of some.

    Raises:
        InputError: No optimizer has that name.
        ConfigError: It needs a package that is not installed.
    """
    if name not in OPTIMIZERS:
        raise InputError(f"no optimizer is called '{name}'.", hint=nearest(name, OPTIMIZERS))
    _require(name)
    if name in ("turbo", "scbo"):
        from acs_assistant.optimizers.botorch import make_botorch_optimizer

        return make_botorch_optimizer(name, task, seed, budget)
    if name == "sobol":
        from acs_assistant.optimizers.sobol import SobolOptimizer

        return SobolOptimizer(task, seed)
    from acs_assistant.optimizers.optuna import make_optuna_optimizer

    return make_optuna_optimizer(name, task, seed, budget)


def _require(name: str) -> None:
    from importlib.util import find_spec

    missing = [package for package in _IN_BENCH_EXTRA.get(name, ()) if find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"the optimizer '{name}' needs {' and '.join(missing)}, not installed here.",
            hint="pip install 'acs-assistant[bench]'",
        )
