"""Which transistor of the PDK a device of a circuit is, and how large a sizing makes it."""

from __future__ import annotations

from dataclasses import dataclass

from acs_assistant.domain import Circuit, Sizing
from acs_assistant.errors import InputError
from acs_assistant.sim.expressions import ExpressionError, compile_expression, namespace
from acs_assistant.sim.spice import Scope, logical_lines, parse, split_parameters, split_words


@dataclass(frozen=True, slots=True)
class Geometry:
    """One transistor of a sizing.

    Attributes:
        model: Name in the PDK, such as "sky130_fd_pr__nfet_01v8".
        width: Metres, all fingers and copies together.
        length: Metres.
    """

    model: str
    width: float
    length: float


def geometry(circuit: Circuit, sizing: Sizing, device: str, scale: float) -> Geometry:
    """Reads a device's line in the circuit's netlist.

    Args:
        device: As operating points call it: "M1".
        scale: Metres of the PDK's unit of length.

    Raises:
        InputError: The netlist has no such transistor, or its size cannot be evaluated.
        CircuitError: The netlist cannot be read.
    """
    netlist = parse(logical_lines(circuit.netlist, "netlist.spice"), lambda line: [])
    wanted = {device.lower(), f"x{device.lower()}"}
    for scope in netlist.top.subckts.values():
        for line in scope.cards:
            words = split_words(line.text)
            if words[0] not in wanted:
                continue
            named = next((n for n, word in enumerate(words) if "=" in word), len(words))
            given = split_parameters(line.text[line.text.find(words[named]) :], line) if (
                named < len(words)
            ) else {}  # fmt: skip
            try:
                shared = namespace(_values(scope, sizing))
                size = {
                    name: compile_expression(given[name])({}, shared)
                    for name in ("w", "l", "m")
                    if name in given
                }
            except ExpressionError as error:
                raise InputError(f"the size of {device} cannot be evaluated: {error}.") from None
            if "w" in size and "l" in size and named > 1:
                width = size["w"] * size.get("m", 1.0) * scale
                return Geometry(words[named - 1], width, size["l"] * scale)
    raise InputError(
        f"{device} is no transistor of the circuit's own netlist.",
        hint="A device inside of a nested subcircuit has no chart.",
    )


def _values(scope: Scope, sizing: Sizing) -> dict[str, float]:
    """Parameters of the subcircuit: the sizing's, and defaults for the others."""
    values: dict[str, float] = {}
    for name, text in (*scope.header.items(), *scope.parameters.items()):
        if name in sizing:
            values[name] = sizing[name]
        else:
            values[name] = compile_expression(text)({}, namespace(values))
    return values
