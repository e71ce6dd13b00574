"""TuRBO-1 and SCBO from BoTorch's components, assembled as its two tutorials do.

Sources: Eriksson et al., "Scalable Global Optimization via Local Bayesian Optimization" (NeurIPS
2019, arXiv 1910.01739) and Eriksson and Poloczek, "Scalable Constrained Bayesian Optimization"
(AISTATS 2021, arXiv 2002.08526), with the settings of the BoTorch tutorials ``turbo_1`` and
``scalable_constrained_bo``: Matern 5/2 with one length scale per parameter in [0.005, 4], noise in
[1e-8, 1e-3], standardised outcomes, Thompson sampling on Sobol candidates (TuRBO ``min(5000,
max(2000, 200 d))`` of them, SCBO 2000) of which each coordinate is perturbed with probability
``min(20 / d, 1)``, side length 0.8 in [2^-7, 1.6], failure tolerance ``max(4, d)`` at batch size 1,
restart below the least length.
Departures: success tolerance 3, as in the papers (the tutorials' 10 suits long runs); first design
of ``2 d`` Sobol points as in the tutorial but at most a fifth of the budget, since the tutorials'
budgets are in the hundreds; and the posterior is sampled path by path (BoTorch's Matheron paths:
1,024 features for the prior, an exact update for the data; Wilson et al., "Efficiently Sampling
Functions from Gaussian Process Posteriors", ICML 2020, arXiv 2002.09309) where the tutorials factor
the covariance of all candidates: 5 to 7 s a proposal with eleven specs, against 1 to 2 s.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gpytorch
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models.gp_regression import SingleTaskGP
from botorch.models.transforms.outcome import Standardize
from botorch.optim.fit import fit_gpytorch_mll_torch
from botorch.sampling.pathwise import draw_matheron_paths
from gpytorch.constraints import Interval
from gpytorch.kernels import MaternKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch.quasirandom import SobolEngine

from acs_assistant.domain import Evaluation, Sizing, Task
from acs_assistant.optimizers.port import Optimizer
from acs_assistant.optimizers.sobol import sobol_points
from acs_assistant.optimizers.space import DesignSpace, Outcome, outcome

_LENGTH, _LENGTH_MIN, _LENGTH_MAX = 0.8, 0.5**7, 1.6
_LENGTH_TOLD = 0.2  # when earlier points were handed over: their best is to be refined
_SUCCESS_TOLERANCE = 3
_ADAM_STEPS = 50  # as in the TuRBO paper's own code

Rank = tuple[float, float]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices of a hundred rows gain nothing from threads, and parallel runs lose by them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings(), gpytorch.settings.max_cholesky_size(float("inf")):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(before)


@dataclass(slots=True)
class _TrustRegion:
    """A box around the best point that grows on success and shrinks on failure."""

    failure_tolerance: int
    length: float = _LENGTH
    successes: int = 0
    failures: int = 0

    def update(self, improved: bool) -> None:
        self.successes = self.successes + 1 if improved else 0
        self.failures = 0 if improved else self.failures + 1
        if self.successes == _SUCCESS_TOLERANCE:
            self.length, self.successes = min(2 * self.length, _LENGTH_MAX), 0
        elif self.failures == self.failure_tolerance:
            self.length, self.failures = self.length / 2, 0

    @property
    def exhausted(self) -> bool:
        return self.length < _LENGTH_MIN


class TrustRegionOptimizer:
    """TuRBO-1 on the single figure ``Outcome.loss``: specs count through the score.

    Points told before a first proposal replace as much of the first design, and the trust region
    starts around the best of them, smaller than it does in an unknown box.
    """

    name = "turbo"

    def __init__(self, task: Task, seed: int, budget: int) -> None:
        self._task = task
        self._space = DesignSpace(task.circuit)
        d = self._space.dimension
        self._design = max(2, min(2 * d, budget // 5))
        self._first = sobol_points(d, seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._candidates: Any = SobolEngine(d, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
        self._history: list[tuple[tuple[float, ...], Outcome]] = []
        self._region = self._new_region()
        self._started = False
        self._asked: dict[str, float] | None = None
        self._start = 0  # earlier points belong to regions that have been given up

    def _new_region(self) -> _TrustRegion:
        return _TrustRegion(failure_tolerance=max(4, self._space.dimension))

    @property
    def _local(self) -> list[tuple[tuple[float, ...], Outcome]]:
        return self._history[self._start :]

    def ask(self) -> Sizing:
        if self._history and not self._started:
            self._region.length = _LENGTH_TOLD
        self._started = True
        if len(self._local) < self._design:
            return self._space.from_unit(next(self._first))
        with _one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=self._generator)))
            self._asked = self._space.from_unit(self._propose().tolist())
        return self._asked

    def tell(self, sizing: Sizing, evaluation: Evaluation) -> None:
        result = outcome(self._task, evaluation)
        before = [self._rank(r) for _, r in self._local]
        self._history.append((self._space.to_unit(sizing), result))
        if dict(sizing) != self._asked:
            return  # part of a first design, or told from elsewhere: says nothing of the region
        self._region.update(self._better(self._rank(result), min(before)))
        if self._region.exhausted:
            self._region, self._start = self._new_region(), len(self._history)
        self._asked = None

    def _rank(self, result: Outcome) -> Rank:
        """Lower is better; the first figure decides unless two points tie in it."""
        return 0.0, result.loss

    def _better(self, rank: Rank, best: Rank) -> bool:
        """Counts as success only beyond a thousandth, as in the tutorials."""
        if rank[0] != best[0]:
            return rank[0] < best[0]
        return rank[1] < best[1] - 1e-3 * abs(best[1])

    def _points(self) -> torch.Tensor:
        return torch.tensor([x for x, _ in self._local], dtype=torch.double)

    def _propose(self) -> torch.Tensor:
        x = self._points()
        y = -torch.tensor(self._targets(), dtype=torch.double).unsqueeze(-1)
        model = _fit(x, y)
        # TuRBO's box is longer where the model is smoother, at equal volume.
        weights = model.covar_module.base_kernel.lengthscale.squeeze().detach()
        weights = weights / weights.mean()
        weights = weights / torch.prod(weights.pow(1.0 / len(weights)))
        candidates = self._sample_box(x, weights)
        return candidates[_draw(model, candidates)[0].argmax()]

    def _targets(self) -> list[float]:
        """What the model learns: the loss, its step at the first success made no larger than its
        spread, since a step as high as the score's whole range would hide everything else.
        """
        losses = [r.loss for _, r in self._local]
        unmet = [loss for loss in losses if loss > 0]
        met = [loss for loss in losses if loss <= 0]
        if not met or not unmet:
            return losses
        spread = statistics.pstdev(unmet) or min(unmet)
        best, worst = min(met), max(met)
        reach = (worst - best) or 1.0
        return [x if x > 0 else -spread * (0.5 + 0.5 * (worst - x) / reach) for x in losses]

    def _candidate_count(self, d: int) -> int:
        return min(5000, max(2000, 200 * d))

    def _sample_box(self, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Candidates (n, d) in the trust region: the centre with some coordinates redrawn."""
        d = x.shape[-1]
        n = self._candidate_count(d)
        ranks = [self._rank(r) for _, r in self._local]
        centre = x[ranks.index(min(ranks))]
        low = torch.clamp(centre - weights * self._region.length / 2, 0.0, 1.0)
        high = torch.clamp(centre + weights * self._region.length / 2, 0.0, 1.0)
        drawn = low + (high - low) * self._candidates.draw(n, dtype=torch.double)
        mask = torch.rand(n, d, dtype=torch.double) <= min(20.0 / d, 1.0)
        untouched = torch.where(~mask.any(dim=1))[0]
        mask[untouched, torch.randint(0, d, (len(untouched),))] = True
        return torch.where(mask, drawn, centre)


class ScboOptimizer(TrustRegionOptimizer):
    """SCBO: TuRBO with one model per spec and constrained Thompson sampling.

    Points rank by feasibility, then by the objective, or by total violation when infeasible. The
    paper's transforms are in the data already: shortfalls saturate at 1 (its bilog keeps the sign
    and damps the tail), the objective is a logarithm. Without an objective the worst margin stands
    in. Constraints are tightened by ``MODEL_MARGIN``.
    """

    name = "scbo"

    def _candidate_count(self, d: int) -> int:
        return 2000

    def _rank(self, result: Outcome) -> Rank:
        if result.met:
            return 0.0, self._objective(result)
        return 1.0, sum(max(c, 0.0) for c in result.constraints)

    def _objective(self, result: Outcome) -> float:
        return result.worst_constraint if result.objective is None else result.objective

    def _targets(self) -> list[float]:
        """What the objective's model learns: the worst margin until a sizing meets all specs."""
        results = [r for _, r in self._local]
        if not any(r.met for r in results):
            return [r.worst_constraint for r in results]
        known = [self._objective(r) for r in results if r.objective is not None]
        if not known:
            return [r.worst_constraint for r in results]
        return [max(known) if r.objective is None else r.objective for r in results]

    def _propose(self) -> torch.Tensor:
        x = self._points()
        y = -torch.tensor(self._targets(), dtype=torch.double).unsqueeze(-1)
        c = torch.tensor([r.tightened() for _, r in self._local], dtype=torch.double)
        candidates = self._sample_box(x, torch.ones(x.shape[-1], dtype=torch.double))
        gain = _draw(_fit(x, y), candidates)[0]
        violation = _draw(_fit(x, c), candidates).clamp(min=0.0).sum(dim=0)
        feasible = violation <= 0.0
        if feasible.any():
            gain[~feasible] = -torch.inf
            return candidates[gain.argmax()]
        return candidates[violation.argmin()]


def _draw(model: SingleTaskGP, candidates: torch.Tensor) -> torch.Tensor:
    """One function from the posterior of each of the model's m outputs, at (n, d): (m, n)."""
    with torch.no_grad():
        values: torch.Tensor = draw_matheron_paths(model, sample_shape=torch.Size([1]))(candidates)
    return values.reshape(-1, candidates.shape[0])


def _fit(x: torch.Tensor, y: torch.Tensor) -> SingleTaskGP:
    """Independent Gaussian processes with the tutorials' kernel and noise, fitted as one batch.

    Args:
        x: (n, d) in the unit cube.
        y: (n, m), one process per column.
    """
    batch = torch.Size([y.shape[-1]]) if y.shape[-1] > 1 else torch.Size()
    kernel = ScaleKernel(
        MaternKernel(
            nu=2.5,
            ard_num_dims=x.shape[-1],
            lengthscale_constraint=Interval(0.005, 4.0),
            batch_shape=batch,
        ),
        batch_shape=batch,
    )
    model = SingleTaskGP(
        x,
        y,
        covar_module=kernel,
        likelihood=GaussianLikelihood(noise_constraint=Interval(1e-8, 1e-3), batch_shape=batch),
        outcome_transform=Standardize(m=y.shape[-1]),
    )
    likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
    try:
        fit_gpytorch_mll(likelihood)
    except ModelFittingError:
        # A step in the data, such as the first success, can end every line search of L-BFGS.
        fit_gpytorch_mll_torch(likelihood, step_limit=_ADAM_STEPS)
    return model.eval()


def make_botorch_optimizer(name: str, task: Task, seed: int, budget: int) -> Optimizer:
    """``name`` is "turbo" or "scbo"."""
    kind = ScboOptimizer if name == "scbo" else TrustRegionOptimizer
    return kind(task, seed, budget)
