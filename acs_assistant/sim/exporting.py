"""What an exported netlist needs to measure itself in plain ngspice."""

from __future__ import annotations

from collections.abc import Callable

from acs_assistant.domain import Circuit, Conditions, Metric, Sizing
from acs_assistant.sim.deck import Testbench, gather
from acs_assistant.sim.measures import script
from acs_assistant.sim.models import EmptyLibrary, Library
from acs_assistant.sim.pdk import find_pdk


def measure_script(
    circuit: Circuit, sizing: Sizing, conditions: Conditions
) -> Callable[[Metric], list[str]]:
    """A function that gives, for a metric, the ``.control`` lines that print ``name = value``.

    Area and the paths of transistors come from the netlist at this sizing, so the lines of
    "area" and "saturation_margin" hold numbers and names of their own.

    Raises:
        CircuitError, PdkError: The netlist or the device models cannot be read.
    """
    values = {**sizing, "supply": conditions.supply, "load": conditions.load}
    extras: dict[str, dict[str, str | float]] = {}
    names = [parameter.name for parameter in circuit.parameters]
    for source in gather(circuit):
        library = (
            Library(find_pdk(circuit.pdk).index(conditions.corner))
            if source.library
            else EmptyLibrary()
        )
        metrics = [metric for metric in circuit.metrics if metric.testbench == source.name]
        testbench = Testbench(source, metrics, names)
        made = testbench.deck(values, conditions.temperature, library, everything=True)
        for metric in metrics:
            wanted = {name.upper() for name in str(metric.arguments.get("device", "")).split()}
            paths = [device.path for label, device in made.devices if not wanted or label in wanted]
            extras[metric.name] = {"area": made.area, "devices": " ".join(paths)}
    return lambda metric: script(metric, extras.get(metric.name))
