"""Inner subcircuits written out in the circuit that uses them, so that their sizes are found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from acs_assistant.engine.importing.expressions import bare, replace_in_line, replace_names
from acs_assistant.engine.importing.files import Report, Source, Subcircuit
from acs_assistant.sim.spice import CONDITION, Line, split_words

_GROUNDS = frozenset({"0", "gnd"})
_NODES = {"m": 4, "q": 3, "j": 3, "d": 2, "r": 2, "c": 2, "l": 2, "v": 2, "i": 2, "e": 4, "g": 4}
_MAX_DEPTH = 20
_MAX_ELEMENTS = 20_000


def check_nesting(sources: Sequence[Source]) -> None:
    """Raises CircuitError, with the line, when a subcircuit holds itself, at whatever depth."""
    cells = {name: sub for source in reversed(sources) for name, sub in source.subcircuits.items()}
    inner = {name: list(_instances(cell)) for name, cell in cells.items()}
    sound: set[str] = set()
    for start in cells:
        above: list[str] = []
        waiting: list[tuple[str, Line, int]] = [(start, cells[start].origin, 0)]
        while waiting:
            name, line, depth = waiting.pop()
            sound.update(above[depth:])
            del above[depth:]
            if name in above:
                raise line.error(f"the subcircuit '{name}' holds itself.")
            if name in sound or name not in cells:
                continue
            above.append(name)
            waiting += [(called, card, depth + 1) for called, card in inner[name]]
        sound.update(above)


def _instances(cell: Subcircuit) -> Iterator[tuple[str, Line]]:
    """What each instance line of a subcircuit calls."""
    for line in cell.body:
        words = [word for word in split_words(line.text) if "=" not in word]
        if words and words[0][0] == "x":
            yield words[-1], line


def write_out_cells(subcircuit: Subcircuit, sources: Sequence[Source], report: Report) -> None:
    """Replaces instances of inner subcircuits by their elements, where these can be renamed.

    An inner subcircuit with conditions, parameters of its own, or elements that name others stays
    as it is.
    """
    cells = {name: sub for source in reversed(sources) for name, sub in source.subcircuits.items()}
    shared = {
        net for s in sources for x in s.other if ".global" in x.text for net in x.text.split()
    }
    for _ in range(_MAX_DEPTH):
        body: list[Line] = []
        for line in subcircuit.body:
            cell = _cell(line, cells)
            if cell is None or cell.name == subcircuit.name:
                body.append(line)
                continue
            body += _elements(line, cell, shared | _GROUNDS)
            if len(body) > _MAX_ELEMENTS:
                raise subcircuit.origin.error(
                    f"'{subcircuit.name}' has more than {_MAX_ELEMENTS} elements."
                )
            report.changed.append(
                f"{line.file}:{line.number}: {split_words(line.text)[0]} is written out: its sizes "
                f"are those of {cell.name}"
            )
        if len(body) == len(subcircuit.body) and body == subcircuit.body:
            return
        subcircuit.body = body


def _cell(line: Line, cells: Mapping[str, Subcircuit]) -> Subcircuit | None:
    words = [word for word in split_words(line.text) if "=" not in word]
    cell = cells.get(words[-1]) if line.text[0] == "x" else None
    if cell is None or len(words) - 2 != len(cell.ports):
        return None
    plain = all(
        inner.text[0] in _NODES or inner.text[0] == "x"
        for inner in cell.body
        if not CONDITION.match(inner.text)
    )
    return cell if plain and not any(CONDITION.match(x.text) for x in cell.body) else None


def _elements(line: Line, cell: Subcircuit, shared: frozenset[str] | set[str]) -> list[Line]:
    words = split_words(line.text)
    instance = words[0]
    given = dict(word.split("=", 1) for word in words if "=" in word)
    outer = [word for word in words[1:] if "=" not in word][:-1]
    nets = dict(zip(cell.ports, outer, strict=True))
    values = {name: f"({bare(given.get(name, text))})" for name, text in cell.header.items()}
    made = []
    for inner in cell.body:
        parts = split_words(inner.text)
        bares = [word for word in parts if "=" not in word]
        count = len(bares) - 2 if parts[0][0] == "x" else _NODES[parts[0][0]]
        place = 0
        for number in range(1, len(parts)):
            if "=" not in parts[number] and place < count:
                net = parts[number]
                parts[number] = nets.get(net) or (net if net in shared else f"{instance}_{net}")
                place += 1
        parts[0] = f"{parts[0]}_{instance}"
        text = replace_in_line(" ".join(parts), lambda e: replace_names(e, values), values)
        made.append(replace(line, text=text if values else " ".join(parts)))
    return made
