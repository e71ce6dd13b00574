"""A circuit that stands in its testbench without a ``.subckt``: taken out of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from acs_assistant.engine.importing.expressions import value_of
from acs_assistant.engine.importing.files import Report, Source, Subcircuit
from acs_assistant.engine.importing.parameters import current_of
from acs_assistant.engine.importing.technology import is_passive, pdk_of_device
from acs_assistant.errors import CircuitError
from acs_assistant.sim.spice import Line, split_words

_GROUNDS = frozenset({"0", "gnd"})
_LOAD = re.compile(r"[cr](_?l(oad)?\d*|out\d*)$")
_LARGEST_CAPACITANCE = 1e-6  # farads; a larger one only opens or closes a loop
_NET = re.compile(r"\bv\w*\(\s*([^()\s]+?)\s*\)")


def take_out(
    netlist: Source, benches: Sequence[Source], name: str, report: Report
) -> Subcircuit | None:
    """The transistors with what belongs to them as a subcircuit; each testbench gets a copy.

    A netlist that has no sources is the circuit as it stands. Otherwise transistors belong to it,
    passives between their nets, and constant currents into them; the rest stays in the testbench.

    Returns:
        None when there are no transistors.

    Raises:
        CircuitError: The testbenches hold different transistors.
    """
    whole = netlist.cards and not any(_is_source(card) for card in netlist.cards)
    inner = netlist.cards if whole else _belonging(benches[0], netlist) if benches else []
    inner = [card for card in inner if _is_card(card)]
    if not any(_is_transistor(card) for card in inner):
        return None
    texts = {card.text for card in inner}
    nets = [net for card in inner for net in _nets(card)]
    outside: set[str] = set()
    for bench in benches:
        missing = texts - {card.text for card in bench.cards}
        if not whole and missing:
            raise CircuitError(
                f"lacks '{sorted(missing)[0]}', which another testbench has.",
                hint="Put the circuit into a .subckt that every testbench instantiates.",
                file=bench.name,
            )
        bench.cards = [card for card in bench.cards if card.text not in texts]
        outside.update(net for card in bench.cards for net in _nets(card))
        outside.update(_mentioned(bench))
    ports = tuple(net for net in dict.fromkeys(nets) if net in outside and net not in _GROUNDS)
    chosen = name.lower() or re.sub(r"\W+", "_", netlist.name.lower()).strip("_")
    chosen = chosen if chosen[:1].isalpha() else f"circuit_{chosen}"
    instance = f"xdut {' '.join(ports)} {chosen}"
    for bench in benches:
        bench.cards.append(Line(instance, bench.name, inner[0].number))
    report.changed.append(
        f"{inner[0].file}: the circuit is a subcircuit now, {chosen} {' '.join(ports)}: "
        + " ".join(split_words(card.text)[0] for card in inner)
    )
    origin = Line(f".subckt {chosen}", inner[0].file, inner[0].number)
    return Subcircuit(chosen, ports, {}, list(inner), origin)


def _is_card(card: Line) -> bool:
    return len(split_words(card.text)) > 2


def _is_source(card: Line) -> bool:
    return card.text[0] == "v"


def _is_transistor(card: Line) -> bool:
    words = [word for word in split_words(card.text) if "=" not in word]
    if card.text[0] in "mjq":
        return len(words) > 4
    return card.text[0] == "x" and bool(pdk_of_device(words[-1])) and not is_passive(words[-1])


def _nets(card: Line) -> list[str]:
    """The nets that an element touches."""
    words = [word for word in split_words(card.text)[1:] if "=" not in word]
    match card.text[0]:
        case "x":
            return words[:-1]
        case "m" | "e" | "g" | "t" | "s" | "w":
            return words[:4]
        case "q" | "j" | "z":
            return words[:3]
        case "b":
            return [*words[:2], *_NET.findall(card.text)]
    return words[:2]


def _belonging(bench: Source, netlist: Source) -> list[Line]:
    known = {**netlist.parameters, **bench.parameters}
    transistors = [card for card in bench.cards if _is_transistor(card)]
    own = {net for card in transistors for net in _nets(card)}
    driven = _GROUNDS | {
        net for card in bench.cards if card.text[0] in "veh" for net in _nets(card)[:2]
    }
    shown = set(_mentioned(bench))
    passives = [card for card in bench.cards if _is_passive(card, known)]
    touched: dict[str, list[Line]] = {}
    for card in bench.cards:
        for net in _nets(card):
            touched.setdefault(net, []).append(card)

    def fits(card: Line) -> bool:
        ends = set(_nets(card))
        if _LOAD.match(split_words(card.text)[0]) and ends & driven:
            return False
        if card.text[0] == "c" and ends & driven and ends & shown:
            return False
        private = {net for net in ends if all(other in passives for other in touched[net])}
        return bool(ends - driven) and ends <= own | driven | private and bool(ends & own - driven)

    chosen = {id(card) for card in transistors} | {id(c) for c in passives if fits(c)}
    chosen |= {
        id(card)
        for card in bench.cards
        if current_of(split_words(card.text))
        and set(_nets(card)) <= own | driven
        and set(_nets(card)) - driven
    }
    return [card for card in bench.cards if id(card) in chosen]


def _is_passive(card: Line, known: dict[str, str]) -> bool:
    words = split_words(card.text)
    if card.text[0] == "x":
        return is_passive([word for word in words if "=" not in word][-1])
    if card.text[0] not in "rc" or len(words) < 4:
        return False
    value = value_of(words[3].partition("=")[2] or words[3], known)
    return card.text[0] == "r" or value is None or value < _LARGEST_CAPACITANCE


def _mentioned(bench: Source) -> Iterable[str]:
    """Nets that analyses, measurements and plots name."""
    for section in bench.sections:
        texts = [line.text for line in (*section.analyses, *section.measures)]
        for text in (*texts, *(shown for _, shown in section.shown)):
            yield from _NET.findall(text)
