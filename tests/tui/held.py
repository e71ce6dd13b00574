"""A model and a simulator that stop where a test wants to look at them at work."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.domain import Measurement
from acs_assistant.llm.port import Message, Rules, Sampling
from acs_assistant.llm.scripted import ScriptedModel
from acs_assistant.sim.port import SimulationRequest
from tests.tui.fakes import FakeSimulator


class Gate:
    """Closed, it holds whoever comes; ``reached`` says that somebody is there."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.reached = threading.Event()

    def close(self) -> None:
        self.reached.clear()
        self.open.clear()

    def wait(self, cancel: CancelToken | None) -> None:
        if self.open.is_set():
            return
        self.reached.set()
        while not self.open.wait(0.005):
            if cancel is not None and cancel.cancelled:
                raise CancelledError


class HeldModel(ScriptedModel):
    """Stops after some words of a reply while its gate is closed."""

    def __init__(self, *replies: str | Exception, words: int = 40) -> None:
        super().__init__(*replies)
        self.gate = Gate()
        self.words = words

    def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        grammar: str | Rules | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[str]:
        pieces = super().stream(messages, tools, sampling, grammar, cancel)
        for n, piece in enumerate(pieces):
            if n == self.words:
                self.gate.wait(cancel)
            yield piece


class HeldSimulator(FakeSimulator):
    """Stops before a simulation while its gate is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    def simulate(
        self, request: SimulationRequest, cancel: CancelToken | None = None
    ) -> Measurement:
        self.gate.wait(cancel)
        return super().simulate(request, cancel)
