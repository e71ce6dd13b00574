"""A device's transistor and size, read from the netlist."""

from __future__ import annotations

import re

import pytest

from acs_assistant.errors import InputError
from acs_assistant.library import list_circuits, load_circuit
from acs_assistant.sim.geometry import geometry


def test_size_of_a_device_follows_the_sizing() -> None:
    circuit = load_circuit("two_stage_miller")
    sizing = {**circuit.reference, "w_load": 12e-6, "l_load": 0.7e-6}
    found = geometry(circuit, sizing, "M4", 1e-6)
    assert found.model == "sky130_fd_pr__pfet_01v8"
    assert (found.width, found.length) == pytest.approx((12e-6, 0.7e-6))


@pytest.mark.parametrize("name", [summary.name for summary in list_circuits()])
def test_every_transistor_of_the_library_has_one(name: str) -> None:
    circuit = load_circuit(name)
    devices = re.findall(r"^X(M\w+)", circuit.netlist, re.M)
    assert devices
    for device in devices:
        found = geometry(circuit, circuit.reference, device, 1e-6)
        assert 1e-7 < found.length < 1e-4 and 1e-7 < found.width < 1e-2


def test_other_devices_have_none() -> None:
    circuit = load_circuit("two_stage_miller")
    with pytest.raises(InputError, match="M99 is no transistor"):
        geometry(circuit, circuit.reference, "M99", 1e-6)
