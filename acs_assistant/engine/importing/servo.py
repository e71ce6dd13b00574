"""Loops closed at dc by a huge inductor and opened by a huge capacitor, made well-conditioned.

With such a pair in the matrix ngspice loses every digit of about one sizing in a hundred: the gain
jumps between neighbouring frequencies. A low-pass between two sources of gain one does the same at
every frequency that is measured, as long as the input takes no current.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from acs_assistant.engine.importing.expressions import value_of
from acs_assistant.engine.importing.files import Report
from acs_assistant.engine.importing.netlist import Netlist
from acs_assistant.sim.spice import Line, Scope, logical_lines, parse, split_words

_LEAST_INDUCTANCE = 1e3  # henries; what is smaller is part of the circuit
_LEAST_CAPACITANCE = 1.0  # farads
_GROUNDS = ("0", "gnd")
_GATE = 2  # place of the gate in a transistor's line


def buffered(
    cards: Sequence[Line],
    others: Sequence[Line],
    made: Netlist,
    fixed: Mapping[str, str],
    report: Report,
) -> list[Line]:
    """The cards of a testbench with every such pair replaced.

    A pair is left alone when its node leads to more than gates of the circuit, or when another line
    names one of its parts.

    Args:
        others: Analyses, measures and other cards, which may name parts of the pair.
    """
    result = list(cards)
    for inductor in cards:
        for capacitor in cards:
            node = _shared_node(inductor, capacitor, fixed)
            if not node or not _drives_gates_only(node, cards, made, (inductor, capacitor)):
                continue
            names = [card.text.split()[0] for card in (inductor, capacitor)]
            if any(name in line.text for line in others for name in names):
                continue
            place = result.index(inductor)
            result[place : place + 1] = _low_pass(inductor, capacitor, node)
            result.remove(capacitor)
            report.changed.append(
                f"{inductor.file}:{inductor.number}: {names[0]} and {names[1]} are a low-pass "
                "between two sources of gain one now: ngspice loses digits with huge inductors"
            )
            break
    return result


def _shared_node(inductor: Line, capacitor: Line, fixed: Mapping[str, str]) -> str:
    """The node between a huge inductor and a huge capacitor, "" when they are no such pair."""
    if inductor.text[0] != "l" or capacitor.text[0] != "c":
        return ""
    first, second = split_words(inductor.text), split_words(capacitor.text)
    if len(first) != 4 or len(second) != 4:
        return ""
    sizes = [value_of(words[3].partition("=")[2] or words[3], fixed) for words in (first, second)]
    shared = set(first[1:3]) & set(second[1:3]) - set(_GROUNDS)
    if len(shared) != 1 or sizes[0] is None or sizes[1] is None:
        return ""
    huge = sizes[0] >= _LEAST_INDUCTANCE and sizes[1] >= _LEAST_CAPACITANCE
    return shared.pop() if huge else ""


def _drives_gates_only(
    node: str, cards: Sequence[Line], made: Netlist, pair: tuple[Line, Line]
) -> bool:
    netlist = parse(logical_lines(made.text, "netlist.spice", title=True), lambda line: [])
    users = [
        words
        for card in cards
        if card not in pair and node in (words := split_words(card.text))[1:]
    ]
    known: dict[tuple[int, str], bool] = {}
    return bool(users) and all(_takes_no_current(w, node, netlist.top, known) for w in users)


def _takes_no_current(
    words: Sequence[str], node: str, scope: Scope, known: dict[tuple[int, str], bool]
) -> bool:
    """An element that touches the node with gates alone.

    Args:
        known: What is known of subcircuits by their identity and port.
    """
    bare = [word for word in words if "=" not in word]
    places = [place for place, word in enumerate(bare) if place and word == node]
    inner = _find(scope, bare[-1])
    if words[0][0] == "x" and inner is not None:
        if len(bare) - 2 != len(inner.ports):
            return False
        ports = [inner.ports[place - 1] for place in places]
        for port in ports:
            place = (id(inner), port)
            if place not in known:
                known[place] = all(
                    _takes_no_current(split_words(card.text), port, inner, known)
                    for card in inner.cards
                    if port in split_words(card.text)[1:]
                )
        return all(known[id(inner), port] for port in ports)
    transistor = words[0][0] == "m" or (words[0][0] == "x" and "fet" in bare[-1])
    return transistor and places == [_GATE]


def _find(scope: Scope | None, name: str) -> Scope | None:
    while scope is not None:
        if name in scope.subckts:
            return scope.subckts[name]
        scope = scope.parent
    return None


def _low_pass(inductor: Line, capacitor: Line, node: str) -> list[Line]:
    """What stands for the pair: the slow part of the inductor's other end plus, when the capacitor
    does not lead to ground, the fast part of its other end."""

    def other(card: Line) -> str:
        ends = split_words(card.text)[1:3]
        return ends[1] if ends[0] == node else ends[0]

    name = inductor.text.split()[0]
    slow, signal = f"{node}_{name}", other(capacitor)
    texts = _filter(name, other(inductor), slow)
    if signal not in _GROUNDS:
        second, steady = f"{name}b", f"{slow}_dc"
        texts += _filter(second, signal, steady)
        texts.append(f"e{second} {slow}_ac 0 {signal} {steady} 1")
        signal = f"{slow}_ac"
    texts.append(f"e{name} {node} {signal} {slow} 0 1")
    return [Line(text, inductor.file, inductor.number) for text in texts]


def _filter(name: str, node: str, slow: str) -> list[str]:
    copy = f"{slow}_copy"
    return [
        f"eb{name} {copy} 0 {node} 0 1",
        f"r{name} {copy} {slow} 1meg",
        f"c{name} {slow} 0 1meg",
    ]
