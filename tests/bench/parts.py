"""The parts that a benchmark is given in these tests; worker processes import them from here."""

from __future__ import annotations

from acs_assistant.config import Settings
from acs_assistant.domain import Circuit
from acs_assistant.engine.services import Services
from acs_assistant.errors import InputError
from acs_assistant.llm.scripted import ScriptedModel
from acs_assistant.optimizers import OPTIMIZERS, make_optimizer
from acs_assistant.storage.store import Store
from tests.optimizers.toy import ToySimulator, toy_circuit


def load(name: str) -> Circuit:
    if name != "toy":
        raise InputError(f"unknown circuit '{name}'.")
    return toy_circuit()


def toy_services(settings: Settings) -> Services:
    """Formulas for ngspice, no model; optimizers and engine are the real ones."""
    return Services(
        settings=settings,
        store=Store.memory(),
        list_circuits=list,
        load_circuit=load,
        list_models=list,
        open_model=lambda name: ScriptedModel(),
        make_simulator=ToySimulator,
        make_optimizer=make_optimizer,
        optimizers=OPTIMIZERS,
    )
