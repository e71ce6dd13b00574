"""What the rest of the app needs of a black-box optimizer: ask for a sizing, tell its outcome."""

from __future__ import annotations

from typing import Protocol

from acs_assistant.domain import Evaluation, Sizing


class Optimizer(Protocol):
    """Ask and tell, sequential, repeatable from its seed.

    History is handed over by telling it: ``tell`` accepts sizings that ``ask`` never gave. A failed
    evaluation is told like any other (score 0, no metrics). Same parameters, bounds, score and
    budget as the model; constraints are the specs' signed margins.
    """

    @property
    def name(self) -> str: ...

    def ask(self) -> Sizing: ...

    def tell(self, sizing: Sizing, evaluation: Evaluation) -> None: ...
