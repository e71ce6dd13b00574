"""Subcircuits and models compiled for fast evaluation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from acs_assistant.errors import CircuitError
from acs_assistant.sim.expressions import (
    RANDOM,
    RUNTIME_NAMES,
    Expression,
    ExpressionError,
    compile_expression,
    key,
    parse_number,
)
from acs_assistant.sim.spice import Line, Scope, split_parameters, split_words

_NODES = {"r": 2, "c": 2, "l": 2, "v": 2, "i": 2, "d": 2, "b": 2, "e": 4, "g": 4, "f": 2, "h": 2,
          "j": 3, "m": 4, "s": 4, "w": 2, "t": 4, "z": 3}  # fmt: skip
_WITH_MODEL = frozenset("dqmjsztuw")
_KEYWORDS = frozenset(
    [
        "dc",
        "ac",
        "pulse",
        "sin",
        "exp",
        "pwl",
        "sffm",
        "am",
        "trnoise",
        "trrandom",
        "external",
        "distof1",
        "distof2",
        "off",
        "on",
        "ic",
        "temp",
        "dtemp",
        "tc",
        "tc1",
        "tc2",
        "poly",
        "value",
        "vol",
        "cur",
        "table",
        "laplace",
        "portnum",
        "z0",
        "r",
        "td",
        "time",
        "temper",
        "hertz",
    ]
)
_IDENTIFIER = re.compile(r"(?<![\w.#])[a-z_]\w*(?![\w.]*\s*[(=])")
_PROBE = re.compile(r"\b([vi])\s*\(([^()]*)\)")
_CONTROL = re.compile(r"(?:poly|vol|value|cur|table|laplace)\b|[{']")
_EDGE = 1e-9  # metres
_EDGE_NAMES = ("lmin", "lmax", "wmin", "wmax")
_EDGES = re.compile(r"\b([lw]m(?:in|ax))\s*=\s*(\S+)")


@dataclass(frozen=True, slots=True)
class Text:
    """A word of an element line with expressions in it.

    Attributes:
        pieces: Literal text, expressions, and names that are replaced if they are parameters.
        behavioural: Holds ``v(...)`` or ``i(...)``, whose nodes are to be renamed.
    """

    pieces: tuple[str | Expression | Name, ...]
    behavioural: bool = False

    def render(
        self,
        env: Mapping[str, float],
        shared: dict[str, Any],
        prefix: str,
        ports: Mapping[str, str],
        nets: frozenset[str],
    ) -> str:
        out = ""
        for piece in self.pieces:
            if isinstance(piece, str):
                out += piece
            elif isinstance(piece, Name):
                value = env.get(piece.key, shared.get(piece.key))
                if value is None:
                    out += piece.text
                else:
                    out += f"({value!r})" if self.behavioural else repr(value)
            else:
                out += repr(piece(env, shared))
        if self.behavioural and prefix:
            out = _PROBE.sub(lambda match: _renamed(match, prefix, ports, nets), out)
        return out


def _renamed(
    match: re.Match[str], prefix: str, ports: Mapping[str, str], nets: frozenset[str]
) -> str:
    names = [name.strip() for name in match[2].split(",")]
    if match[1] == "i":
        return f"i({names[0][0]}.{prefix}{names[0]})" if names[0] else match[0]
    mapped = [ports.get(n) or (n if n in nets else f"{prefix}{n}") for n in names]
    return f"v({','.join(mapped)})"


@dataclass(frozen=True, slots=True)
class Name:
    """A bare word that is replaced if a parameter has that name."""

    text: str
    key: str


@dataclass(frozen=True, slots=True)
class Element:
    """One element line. ``model`` is the subcircuit's name for an instance.

    ``guard`` is the condition of the ``.if`` cards around it, None without one.
    """

    kind: str
    name: str
    nodes: tuple[str, ...]
    line: Line
    model: str = ""
    references: tuple[str, ...] = ()
    tail: tuple[Text, ...] = ()
    parameters: tuple[tuple[str, Expression], ...] = ()
    guard: Expression | None = None


@dataclass(slots=True)
class ModelBin:
    """One ``.model`` line, read when it is first used: a device type has dozens of bins.

    Attributes:
        line: The whole logical line.
        local: Parameters of the subcircuit around it.
        edges: lmin, lmax, wmin, wmax in metres; zeros when the model is not binned.
        guard: The condition of the ``.if`` cards around it; such models stand last in a list.
    """

    line: Line
    local: frozenset[str]
    edges: tuple[float, float, float, float]
    guard: Expression | None = None
    _parsed: _Model | None = None
    _folded: dict[tuple[int, str], str] = field(default_factory=dict)

    @property
    def model(self) -> _Model:
        if self._parsed is None:
            self._parsed = _parse_model(self.line, self.local)
        return self._parsed

    @property
    def binned(self) -> bool:
        return self.edges[1] > 0 and self.edges[3] > 0

    def fits(self, width: float, length: float) -> bool:
        """Both edges belong to a bin, and a nanometre beyond them, as in ngspice."""
        lmin, lmax, wmin, wmax = self.edges
        return wmin - _EDGE < width < wmax + _EDGE and lmin - _EDGE < length < lmax + _EDGE

    def folded(self, shared: dict[str, Any], replaced: Mapping[str, str]) -> str:
        """The model from global parameters alone; remembered for each set of globals."""
        memory = (shared["__corner__"], ",".join(replaced))
        text = self._folded.get(memory) if memory[0] else None
        if text is None:
            text = self.model.text({}, shared, replaced)
            if memory[0]:
                self._folded[memory] = text
        return text


@dataclass(frozen=True, slots=True)
class _Model:
    """A model's parameters; ``dependent`` are those that need the instance's own parameters."""

    kind: str
    level: str
    parameters: tuple[tuple[str, str | Expression], ...]
    dependent: frozenset[str]

    def value(self, name: str) -> Expression:
        found = dict(self.parameters)[name]
        assert isinstance(found, Expression)
        return found

    def text(
        self, env: Mapping[str, float], shared: dict[str, Any], replaced: Mapping[str, str]
    ) -> str:
        words = [self.kind]
        for name, value in self.parameters:
            if name in _EDGE_NAMES:
                continue
            if name in replaced:
                words.append(f"{name}={replaced[name]}")
            elif isinstance(value, str):
                words.append(f"{name}={value}")
            else:
                words.append(f"{name}={value(env, shared)!r}")
        return " ".join(words)


@dataclass
class Cell:
    """A subcircuit, compiled.

    Attributes:
        library: It comes from the device models, so it is one physical device.
    """

    name: str
    ports: tuple[str, ...]
    header: list[tuple[str, Expression]]
    locals: list[tuple[str, Expression]]
    elements: list[Element]
    models: dict[str, list[ModelBin]]
    subckts: dict[str, Cell] = field(default_factory=dict)
    parent: Cell | None = None
    library: bool = False

    @cached_property
    def declared(self) -> frozenset[str]:
        """Every parameter of its own."""
        return frozenset(name for name, _ in (*self.header, *self.locals))

    @property
    def transistors(self) -> bool:
        return any(element.kind in "mqj" for element in self.elements)

    def find(self, name: str) -> Cell | None:
        cell: Cell | None = self
        while cell is not None:
            if name in cell.subckts:
                return cell.subckts[name]
            cell = cell.parent
        return None


def compile_cell(scope: Scope, *, library: bool = False) -> Cell:
    """Compiles a scope and those inside it.

    Args:
        library: It comes from the device models.

    Raises:
        CircuitError: A line cannot be read; it names the file and the line.
    """
    origin = scope.origin or Line("", "netlist", 0)
    local = frozenset({*scope.header, *scope.parameters}) if scope.name else frozenset()
    header = [(key(n), _expression(v, origin)) for n, v in scope.header.items()]
    cell = Cell(
        scope.name,
        scope.ports,
        header,
        _ordered({n: _expression(v, origin) for n, v in scope.parameters.items()}, origin),
        [],
        {},
        library=library,
    )
    cell.subckts = {name: compile_cell(inner) for name, inner in scope.subckts.items()}
    for inner in cell.subckts.values():
        inner.parent = cell
    cell.elements = [compile_element(line) for line in scope.cards]
    for name, line in (*scope.models.items(), *scope.choices):
        cell.models.setdefault(model_base(name), []).append(compile_model(line, local))
    return cell


def _ordered(expressions: dict[str, Expression], line: Line) -> list[tuple[str, Expression]]:
    """Parameters in an order in which each needs only earlier ones, as ngspice sorts them."""
    done: list[tuple[str, Expression]] = []
    state: dict[str, int] = {}

    def visit(name: str) -> None:
        if state.get(name) == 2:
            return
        if state.get(name) == 1:
            raise line.error(f"parameter '{name}' is defined by itself.")
        state[name] = 1
        for needed in sorted(expressions[name].names):
            if needed in expressions and needed != name:
                visit(needed)
            elif needed == name:
                raise line.error(f"parameter '{name}' is defined by itself.")
        state[name] = 2
        done.append((key(name), expressions[name]))

    for name in expressions:
        visit(name)
    return done


def _expression(text: str, line: Line) -> Expression:
    try:
        return compile_expression(text)
    except ExpressionError as error:
        raise line.error(f"{error}.") from None


def compile_model(line: Line, local: frozenset[str]) -> ModelBin:
    """Reads the bin's edges of a ``.model`` line; the rest waits until it is used."""
    found = {name: _number(value) for name, value in _EDGES.findall(line.text)}
    edges = tuple(found.get(name, 0.0) for name in _EDGE_NAMES)
    return ModelBin(line, local, edges, _guard(line))  # type: ignore[arg-type]


def model_base(name: str) -> str:
    """The name that an instance gives for a binned model ("nch.3" is a bin of "nch")."""
    base, dot, number = name.rpartition(".")
    return base if dot and number.isdigit() else name


def _parse_model(line: Line, local: frozenset[str]) -> _Model:
    words = line.text.split(None, 2)
    body = words[2] if len(words) > 2 else ""
    kind, opening, rest = body.partition("(")
    if opening and "=" not in kind:
        body = f"{kind} {rest.rstrip().removesuffix(')')}"
    parts = body.split(None, 1)
    if not parts:
        raise line.error("a .model line needs a type.")
    values = split_parameters(parts[1] if len(parts) > 1 else "", line)
    parameters: list[tuple[str, str | Expression]] = []
    dependent = set()
    for name, value in values.items():
        if parse_number(value) is not None:
            parameters.append((name, value))
            continue
        expression = _expression(value, line)
        parameters.append((name, expression))
        if expression.names & (local | {"temper"}) or expression.functions & RANDOM:
            dependent.add(name)
    return _Model(parts[0], values.get("level", ""), tuple(parameters), frozenset(dependent))


def _number(text: str) -> float:
    return parse_number(text) or 0.0


def compile_element(line: Line) -> Element:
    """Reads one element line.

    Raises:
        CircuitError: It has too few nodes, or a kind that is not allowed.
    """
    element = _element(line)
    return replace(element, guard=_guard(line)) if line.guard else element


def _guard(line: Line) -> Expression | None:
    return _expression(line.guard, line) if line.guard else None


def _element(line: Line) -> Element:
    words = split_words(line.text)
    name, rest = words[0], words[1:]
    kind = name[0]
    if kind == "x":
        return _instance(name, rest, line)
    if kind == "k":
        inductors = tuple(word for word in rest[:-1])
        return Element(kind, name, (), line, "", inductors, (_text(rest[-1]),))
    count = 3 if kind == "q" else _NODES.get(kind)
    if count is None:
        raise line.error(f"elements of kind '{kind.upper()}' are not supported.")
    if kind == "q":
        count = _bipolar_nodes(rest)
    elif kind in "eg" and len(rest) > 2 and _CONTROL.match(rest[2]):
        count = 2
    if len(rest) < count:
        raise line.error(f"'{name}' needs {count} nodes.")
    nodes, rest = tuple(rest[:count]), rest[count:]
    if any("=" in node for node in nodes):
        raise line.error(f"'{name}' needs {count} nodes.")
    model = ""
    references: tuple[str, ...] = ()
    if kind in "fhw" and rest and not rest[0].startswith("poly"):
        references, rest = (rest[0],), rest[1:]
    if kind in _WITH_MODEL:
        if not rest or "=" in rest[0]:
            raise line.error(f"'{name}' names no model.")
        model, rest = rest[0], rest[1:]
    elif kind in "rcl":
        model, rest = _passive_model(rest)
    tail, parameters = _tail(kind, rest, line)
    return Element(kind, name, nodes, line, model, references, tail, parameters)


def _bipolar_nodes(rest: list[str]) -> int:
    bare = [word for word in rest if "=" not in word]
    return 4 if len(bare) >= 5 and parse_number(bare[4]) is None else 3


def _passive_model(rest: list[str]) -> tuple[str, list[str]]:
    """``R1 a b model w=..`` or ``R1 a b 1k model``; a lone word is a parameter, not a model."""
    plain = re.compile(r"[a-z_][\w.]*")
    if rest and plain.fullmatch(rest[0]) and any("=" in word for word in rest[1:]):
        return rest[0], rest[1:]
    if len(rest) > 1 and plain.fullmatch(rest[1]):
        return rest[1], [rest[0], *rest[2:]]
    return "", rest


def _instance(name: str, rest: list[str], line: Line) -> Element:
    rest = [word for word in rest if word != "params:"]
    bare = [word for word in rest if "=" not in word]
    if len(bare) < 1:
        raise line.error(f"'{name}' names no subcircuit.")
    parameters = []
    for word in rest[len(bare) :]:
        if "=" not in word:
            raise line.error(f"'{word}' stands after the parameters of '{name}'.")
        known, _, value = word.partition("=")
        parameters.append((key(known), _expression(value, line)))
    return Element("x", name, tuple(bare[:-1]), line, bare[-1], (), (), tuple(parameters))


def _tail(
    kind: str, rest: list[str], line: Line
) -> tuple[tuple[Text, ...], tuple[tuple[str, Expression], ...]]:
    tail: list[Text] = []
    parameters: list[tuple[str, Expression]] = []
    for word in rest:
        name, equals, value = word.partition("=")
        if equals and _is_numeric(kind, name, value):
            parameters.append((key(name), _expression(value, line)))
        else:
            tail.append(_text(word, behavioural=_is_behavioural(kind, word)))
    return tuple(tail), tuple(parameters)


def _is_numeric(kind: str, name: str, value: str) -> bool:
    if not value or _is_behavioural(kind, value):
        return False
    if kind in "mqjdrcl" and re.fullmatch(r"[a-z]\w*", name):
        return "," not in value or value[0] in "{'"
    return False


def _is_behavioural(kind: str, text: str) -> bool:
    if kind not in "begrcl":
        return False
    words = set(re.findall(r"[a-z_]\w*", text))
    return bool(_PROBE.search(text)) or bool(words & RUNTIME_NAMES) or kind == "b"


def _text(word: str, *, behavioural: bool = False) -> Text:
    """Splits a word into literals, braced expressions and bare names."""
    if behavioural:
        return Text(tuple(_names(word.replace("{", "(").replace("}", ")"))), True)
    pieces: list[str | Expression | Name] = []
    for part in re.split(r"(\{[^{}]*\}|'[^']*')", word):
        if len(part) > 1 and part[0] in "{'":
            try:
                pieces.append(compile_expression(part))
            except ExpressionError as error:
                raise CircuitError(f"{error}.") from None
        elif part:
            pieces += _names(part)
    return Text(tuple(pieces))


def _names(text: str) -> list[str | Expression | Name]:
    pieces: list[str | Expression | Name] = []
    place = 0
    hidden = [match.span() for match in _PROBE.finditer(text)]
    for match in _IDENTIFIER.finditer(text):
        if match[0] in _KEYWORDS or any(a <= match.start() < b for a, b in hidden):
            continue
        pieces.append(text[place : match.start()])
        pieces.append(Name(match[0], key(match[0])))
        place = match.end()
    pieces.append(text[place:])
    return [piece for piece in pieces if piece != ""]
