"""What the rest of the app needs of a simulator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from acs_assistant.cancel import CancelToken
from acs_assistant.domain import Circuit, Conditions, Measurement, Sizing


@dataclass(frozen=True, slots=True)
class SimulationRequest:
    """One sizing in all testbenches under one set of conditions.

    Attributes:
        waveforms: Also return the vectors for plots.
        mismatch_seed: Draw device mismatch (and process shifts) from this seed; None for nominal.
    """

    circuit: Circuit
    sizing: Sizing
    conditions: Conditions
    waveforms: bool = False
    mismatch_seed: int | None = None


class Simulator(Protocol):
    """Simulates; never raises for what a netlist or a sizing did (that is a failed Measurement).

    Raises:
        SimulatorError, PdkError: ngspice or the device models are not there at all.
        CancelledError: The token was cancelled.
    """

    @property
    def version(self) -> str:
        """Such as "ngspice-39"."""
        ...

    def simulate(
        self, request: SimulationRequest, cancel: CancelToken | None = None
    ) -> Measurement: ...

    def map(
        self, requests: Iterable[SimulationRequest], cancel: CancelToken | None = None
    ) -> Iterator[tuple[int, Measurement]]:
        """Simulates in parallel; yields (index of the request, measurement) as each one ends."""
        ...

    def close(self) -> None: ...
