"""Expands subcircuits into flat lines of numbers: what ngspice reads fastest.

ngspice spends most of a small simulation on reading text. A flat deck with every expression already
a number, and only the model bins that are in use, is read in a few milliseconds. Names follow
ngspice's own flattening (``v(xdut.n1)``, ``@m.xdut.xm1.m1[gm]``), so users' expressions still work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from acs_assistant.sim.cells import Cell, Element, ModelBin, compile_cell
from acs_assistant.sim.expressions import Expression, ExpressionError, key, parse_number
from acs_assistant.sim.spice import Line, Scope

_MAX_DEVICES = 20_000
_MAX_DEPTH = 30
_IDEAL_CAPACITOR_DENSITY = 2e-3
_BSIM4_LEVELS = {"14", "54"}


class DeckError(Exception):
    """A deck that cannot be built from this sizing; the message is what a person reads."""


class CellLibrary(Protocol):
    """Device models of one corner."""

    @property
    def shared(self) -> dict[str, Any]:
        """What expressions are evaluated with; see ``expressions.namespace``. ``__corner__`` is a
        number that tells sets of global parameters apart, 0 for one that is used once."""
        ...

    @property
    def scale(self) -> float: ...

    def cell(self, name: str) -> Cell | None: ...

    def model(self, name: str) -> list[ModelBin] | None: ...


@dataclass(frozen=True, slots=True)
class FlatDevice:
    """A transistor of the flat deck.

    Attributes:
        path: Its name in ngspice.
        instance: Names of the instances from the top down to it.
        kind: "nmos" or "pmos".
        area: W·L·m, square metres.
    """

    path: str
    instance: tuple[str, ...]
    kind: str
    area: float


@dataclass(slots=True)
class Flat:
    """The result.

    Attributes:
        models: Name of each model by its text.
        areas: Instance path and area of everything that takes silicon.
    """

    lines: list[str] = field(default_factory=list)
    models: dict[str, str] = field(default_factory=dict)
    devices: list[FlatDevice] = field(default_factory=list)
    areas: list[tuple[tuple[str, ...], float]] = field(default_factory=list)


class Draws:
    """Random draws for ``agauss`` and its like, the same for a device wherever it is copied.

    A testbench holds several copies of one circuit; a mismatched transistor must be mismatched
    alike in each. So a draw depends on the seed, on the circuit's name and on the device's path
    below the copy.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._generator = np.random.default_rng(seed)

    def enter(self, *path: str) -> None:
        """Begins the draws of one device."""
        text = f"{self._seed}/" + "/".join(path)
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        self._generator = np.random.default_rng(int.from_bytes(digest, "little"))

    def functions(self) -> dict[str, Any]:
        def agauss(nominal: float, spread: float, sigma: float = 1.0) -> float:
            return nominal + spread / sigma * float(self._generator.standard_normal())

        def gauss(nominal: float, spread: float, sigma: float = 1.0) -> float:
            return nominal + nominal * spread / sigma * float(self._generator.standard_normal())

        def aunif(nominal: float, spread: float) -> float:
            return nominal + spread * float(self._generator.uniform(-1.0, 1.0))

        def unif(nominal: float, spread: float) -> float:
            return nominal + nominal * spread * float(self._generator.uniform(-1.0, 1.0))

        return {"f_agauss": agauss, "f_gauss": gauss, "f_aunif": aunif, "f_unif": unif}


class Flattener:
    """Flattens the top scope of one testbench, again and again with other parameters."""

    def __init__(self, top: Scope, nets: frozenset[str]) -> None:
        self._top = compile_cell(top)
        self._nets = nets

    def flatten(
        self,
        overrides: Mapping[str, float],
        library: CellLibrary,
        draws: Draws | None = None,
        temperature: float = 27.0,
        last_bin: bool = False,
    ) -> Flat:
        """Expands everything.

        Args:
            temperature: What ``temper`` is in parameters, degrees Celsius.
            last_bin: Of two models that share an edge a transistor on it gets the later one, as in
                ngspice 42 and newer; before that it was the earlier one.
            overrides: Values that replace top-level ``.param`` lines, and the defaults of
                subcircuits of the netlist that have parameters of those names.

        Raises:
            DeckError: An undefined parameter, a missing model or subcircuit, a wrong geometry.
        """
        shared = {**library.shared, "p_temper": temperature}
        if draws is not None:
            shared.update(draws.functions())
        expansion = _Expansion(library, self._nets, shared, overrides, draws, last_bin)
        return expansion.run(self._top)


class _Expansion:
    def __init__(
        self,
        library: CellLibrary,
        nets: frozenset[str],
        shared: dict[str, Any],
        overrides: Mapping[str, float],
        draws: Draws | None,
        last_bin: bool,
    ) -> None:
        self.library = library
        self.last_bin = last_bin
        self.nets = nets
        self.shared = shared
        self.overrides = {key(name): value for name, value in overrides.items()}
        self.draws = draws
        self.root = ""
        self.instances = 0
        self.flat = Flat()

    def run(self, top: Cell) -> Flat:
        env = self._scope(top, {}, {})
        env.update(self.overrides)
        self.shared.update(env)
        self._expand(top, env, "", {}, (), 1.0)
        return self.flat

    def _scope(
        self, cell: Cell, given: Mapping[str, Expression], caller: Mapping[str, float]
    ) -> dict[str, float]:
        """Parameters of one instance.

        As in ngspice, each is set in the order in which the subcircuit declares them, or later when
        it reads one that is not set yet, and what the instance gives (``ad='w*0.3'``) sees those
        already set before it sees the caller's.
        """
        env: dict[str, float] = dict(caller)
        shared = self.shared
        try:
            for name, expression in given.items():
                if name not in cell.declared:
                    env[name] = expression(caller, shared)
            late: list[tuple[str, Expression]] = []
            for name, default in cell.header:
                chosen = given.get(name)
                if chosen is None and not cell.library and name in self.overrides:
                    env[name] = self.overrides[name]
                    continue
                try:
                    env[name] = (chosen or default)(env, shared)
                except ExpressionError:
                    late.append((name, chosen or default))
            while late:
                late = self._set_late(late, env)
            for name, default in cell.locals:
                if not cell.name and name in self.overrides:
                    env[name] = self.overrides[name]
                else:
                    env[name] = (given.get(name) or default)(env, shared)
        except ExpressionError as error:
            raise DeckError(f"{error} (in {cell.name or 'the testbench'})") from None
        return env

    def _set_late(
        self, late: list[tuple[str, Expression]], env: dict[str, float]
    ) -> list[tuple[str, Expression]]:
        """Sets what can be set now; returns the others.

        Raises:
            ExpressionError: None can be set.
        """
        left = []
        for name, expression in late:
            try:
                env[name] = expression(env, self.shared)
            except ExpressionError as error:
                left.append((name, expression))
                last = error
        if len(left) == len(late):
            raise last
        return left

    def _expand(
        self,
        cell: Cell,
        env: dict[str, float],
        prefix: str,
        ports: Mapping[str, str],
        instance: tuple[str, ...],
        multiple: float,
    ) -> None:
        if len(instance) > _MAX_DEPTH:
            raise DeckError("subcircuits contain each other without end")
        for element in cell.elements:
            if element.guard is not None and not self._holds(element.guard, env, element):
                continue
            nodes = [
                ports.get(node) or (node if node in self.nets or not prefix else f"{prefix}{node}")
                for node in element.nodes
            ]
            try:
                if element.kind == "x":
                    self._instance(cell, element, env, nodes, prefix, instance, multiple)
                else:
                    self._element(cell, element, env, nodes, prefix, instance, multiple, ports)
            except ExpressionError as error:
                raise DeckError(f"{_where(element.line)}: {error}") from None

    def _holds(self, guard: Expression, env: Mapping[str, float], element: Element) -> bool:
        """What the ``.if`` cards around a line say for this instance."""
        try:
            return bool(guard(env, self.shared))
        except ExpressionError as error:
            raise DeckError(f"{_where(element.line)}: .if: {error}") from None

    def _instance(
        self,
        cell: Cell,
        element: Element,
        env: dict[str, float],
        nodes: list[str],
        prefix: str,
        instance: tuple[str, ...],
        multiple: float,
    ) -> None:
        self.instances += 1
        if self.instances > _MAX_DEVICES:
            raise DeckError(f"the circuit has more than {_MAX_DEVICES} subcircuits")
        name = element.model
        inner = cell.find(name) or self.library.cell(name)
        if inner is None:
            raise DeckError(f"{_where(element.line)}: there is no subcircuit or device '{name}'")
        if len(nodes) != len(inner.ports):
            raise DeckError(
                f"{_where(element.line)}: '{name}' has {len(inner.ports)} terminals, "
                f"not {len(nodes)}"
            )
        given = dict(element.parameters)
        path = (*instance, element.name)
        copies = given["p_m"](env, self.shared) if "p_m" in given else 1.0
        # A subcircuit that declares m multiplies by itself, as those of GF180MCU do.
        times = multiple if "p_m" in inner.declared else multiple * copies
        if not instance:
            self.root = element.name if inner.library else element.model
        if inner.library and self.draws is not None:
            self.draws.enter(self.root, *path[1:])
        scope = self._scope(inner, given, env if prefix else {})
        if inner.library and not inner.transistors:
            scale = self.library.scale
            own = {name: scope[name] for name in (*inner.declared, *given)}
            self.flat.areas.append((path, _outline(own) * scale**2 * multiple * copies))
        head = f"{prefix}{element.name}."
        self._expand(inner, scope, head, dict(zip(inner.ports, nodes, strict=True)), path, times)

    def _element(
        self,
        cell: Cell,
        element: Element,
        env: dict[str, float],
        nodes: list[str],
        prefix: str,
        instance: tuple[str, ...],
        multiple: float,
        ports: Mapping[str, str],
    ) -> None:
        if len(self.flat.lines) >= _MAX_DEVICES:
            raise DeckError(f"the circuit has more than {_MAX_DEVICES} elements")
        name = f"{element.kind}.{prefix}{element.name}" if prefix else element.name
        words = [name, *nodes]
        words += [f"{ref[0]}.{prefix}{ref}" if prefix else ref for ref in element.references]
        values: dict[str, float] = {
            k: expression(env, self.shared) for k, expression in element.parameters
        }
        values = {k.removeprefix("p_"): v for k, v in values.items()}
        if multiple != 1.0 and element.kind in "mrcldqj":
            values["m"] = values.get("m", 1.0) * multiple
        kind = ""
        if element.kind == "m" and min(values.get("w", 1.0), values.get("l", 1.0)) <= 0:
            raise DeckError(f"{_where(element.line)}: width and length must be positive")
        if element.model:
            model, kind = self._model(cell, element, env, values)
            words.append(model)
        words += [part.render(env, self.shared, prefix, ports, self.nets) for part in element.tail]
        words += [f"{k}={v!r}" for k, v in values.items()]
        self.flat.lines.append(" ".join(words))
        path = (*instance, element.name)
        scale = self.library.scale
        if element.kind == "m":
            size = values.get("w", 0.0) * values.get("l", 0.0) * scale**2 * values.get("m", 1.0)
            self.flat.devices.append(
                FlatDevice(name, path[:-1] if cell.library else path, kind, size)
            )
            self.flat.areas.append((path, size))
        elif element.kind == "c" and not cell.library and not element.model:
            size = _ideal_value(words, values) / _IDEAL_CAPACITOR_DENSITY * values.get("m", 1.0)
            self.flat.areas.append((path, size))

    def _model(
        self, cell: Cell, element: Element, env: Mapping[str, float], values: dict[str, float]
    ) -> tuple[str, str]:
        """The name of the model line for this instance, and the model's kind."""
        bins = cell.models.get(element.model) or self._outer_model(cell, element.model)
        if bins and bins[-1].guard is not None:
            bins = [b for b in bins if b.guard is None or self._holds(b.guard, env, element)]
        if not bins:
            raise DeckError(f"{_where(element.line)}: there is no model '{element.model}'")
        binned = len(bins) > 1 or bins[0].binned
        chosen = self._bin(element, bins, values) if binned else bins[0]
        model = chosen.model
        if model.dependent == {"rsh"} and model.level in _BSIM4_LEVELS and "nrd" in values:
            # In BSIM4 rsh acts through rsh*nrd and rsh*nrs alone: the model line stays shared.
            sheet = model.value("rsh")(env, self.shared)
            values["nrd"] *= sheet
            values["nrs"] = values.get("nrs", 1.0) * sheet
            text = chosen.folded(self.shared, {"rsh": "1"})
        elif model.dependent:
            text = model.text(env, self.shared, {})
        else:
            text = chosen.folded(self.shared, {})
        name = self.flat.models.get(text)
        if name is None:
            name = self.flat.models[text] = f"mod{len(self.flat.models) + 1}"
        return name, model.kind

    def _outer_model(self, cell: Cell, name: str) -> list[ModelBin] | None:
        scope = cell.parent
        while scope is not None:
            if name in scope.models:
                return scope.models[name]
            scope = scope.parent
        return self.library.model(name)

    def _bin(self, element: Element, bins: list[ModelBin], values: Mapping[str, float]) -> ModelBin:
        # BSIM4 computes with the width of a finger. Plain ngspice bins by the whole width, unless
        # the .spiceinit of the PDK tells it otherwise, and then has negative parameters.
        width = values.get("w", 0.0) / max(values.get("nf", 1.0), 1.0) * self.library.scale
        length = values.get("l", 0.0) * self.library.scale
        for candidate in reversed(bins) if self.last_bin else bins:
            if candidate.fits(width, length):
                return candidate
        raise DeckError(
            f"{_where(element.line)}: no model of '{element.model}' for W = {width * 1e6:.4g} um, "
            f"L = {length * 1e6:.4g} um"
        )


def _outline(scope: Mapping[str, float]) -> float:
    """Width times length of a resistor or capacitor of the PDK, whatever they are called there."""
    for kind in ("", "c_", "r_"):
        width, length = (
            scope.get(f"p_{kind}{long}", scope.get(f"p_{kind}{long[0]}"))
            for long in ("width", "length")
        )
        if width is not None and length is not None:
            return width * length
    return 0.0


def _ideal_value(words: list[str], values: Mapping[str, float]) -> float:
    if "c" in values:
        return values["c"]
    for word in words[3:]:
        value = parse_number(word)
        if value is not None:
            return value
    return 0.0


def _where(line: Line) -> str:
    return f"{line.file}:{line.number}"
