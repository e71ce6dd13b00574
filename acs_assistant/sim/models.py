"""Device models of a PDK, split by device and kept in the cache, read only as far as needed.

A library such as SKY130's takes ngspice seconds to read for a single transistor. Here it is read
once: each device's subcircuit goes to a file of its own, the global parameters of each corner to
another. Expressions stay expressions; the flattener evaluates those of the bins in use, so any
corner, and any draw of the process, comes from the same files.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from acs_assistant.errors import PdkError
from acs_assistant.sim.cells import Cell, ModelBin, compile_cell, compile_model, model_base
from acs_assistant.sim.expressions import (
    Expression,
    ExpressionError,
    compile_expression,
    namespace,
    parse_number,
)
from acs_assistant.sim.spice import Line, Scope, file_card, logical_lines, parse

_FORMAT = 2
_CORNER_IDS = itertools.count(1)


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _open(path: Path, section: str, seen: dict[Path, list[Line]], depth: int) -> Iterable[Line]:
    if depth > 30:
        raise PdkError("the library's files include each other without end.", file=path)
    lines = seen.get(path)
    if lines is None:
        try:
            lines = logical_lines(path.read_text(errors="replace"), str(path))
        except OSError as error:
            raise PdkError(f"cannot read the library: {error.strerror}.", file=path) from None
        seen[path] = lines
    inside = not section
    found = inside
    for line in lines:
        words = line.text.split()
        first = words[0]
        if first == ".lib" and len(words) == 2 and section:
            inside = words[1].lower() == section.lower()
            found = found or inside
        elif first == ".endl":
            inside = not section
        elif not inside:
            continue
        elif card := file_card(line):
            yield from _open((path.parent / card[0]).resolve(), card[1], seen, depth + 1)
        else:
            yield line
    if not found:
        raise PdkError(f"the library has no section '{section}'.", file=path)


def build_index(library: Path, corner: str, folder: Path) -> Path:
    """Splits one section of a library into files of its own; returns the section's folder.

    Does nothing when that was done before for the same file, corner and format.
    """
    identity = f"{_FORMAT}|{library.resolve()}|{corner}"
    target = folder / f"{corner}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    if _is_current(target / "globals.json"):
        return target
    files: dict[Path, list[Line]] = {}
    lines = list(_open(library.resolve(), corner, files, 0))
    netlist = parse(lines, lambda line: [])
    devices = folder / "devices"
    try:
        devices.mkdir(parents=True, exist_ok=True)
        target.mkdir(parents=True, exist_ok=True)
        names = {}
        for name, scope in netlist.top.subckts.items():
            text = json.dumps(_packed(scope), separators=(",", ":"))
            digest = hashlib.sha256(text.encode()).hexdigest()[:16]
            _write(devices / f"{digest}.json", text)
            names[name] = digest
        whole = {
            "parameters": netlist.top.parameters,
            "models": {k: v.text for k, v in netlist.top.models.items()},
            "choices": [[name, line.text, line.guard] for name, line in netlist.top.choices],
            "cells": names,
            "scale": _scale(netlist.dots),
            "files": {str(file): _stamp(file) for file in files},
        }
        _replace(target / "globals.json", json.dumps(whole, separators=(",", ":")))
    except OSError as error:
        raise PdkError(
            f"cannot keep the prepared device models: {error.strerror}.",
            hint="Free some space, or set XDG_CACHE_HOME to a folder that can be written.",
            file=folder,
        ) from None
    return target


def _is_current(whole: Path) -> bool:
    """Every file that the prepared models were read from is as it was."""
    try:
        files = json.loads(whole.read_text())["files"]
        return all(_stamp(Path(file)) == stamp for file, stamp in files.items())
    except (OSError, ValueError, KeyError):
        return False


def _write(path: Path, text: str) -> None:
    if not path.exists():
        _replace(path, text)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def _scale(dots: Iterable[Line]) -> float:
    for line in dots:
        if line.text.startswith(".option") and "scale" in line.text:
            value = line.text.split("scale", 1)[1].lstrip(" =").split()[0]
            return parse_number(value) or 1.0
    return 1.0


def _packed(scope: Scope) -> dict[str, Any]:
    choices = [[name, line.text, line.guard] for name, line in scope.choices]
    return {
        "name": scope.name,
        "ports": scope.ports,
        "header": scope.header,
        "parameters": scope.parameters,
        "cards": [_card(line) for line in scope.cards],
        "models": [
            [name, *compile_model(line, frozenset()).edges, line.text]
            for name, line in scope.models.items()
        ],
        "subckts": [_packed(inner) for inner in scope.subckts.values()],
        **({"choices": choices} if choices else {}),
    }


def _card(line: Line) -> str | list[str]:
    """An element line, with its condition if it has one."""
    return [line.text, line.guard] if line.guard else line.text


class Library:
    """Device models of one corner, ready for the flattener; files are read when first needed.

    Args:
        folder: What ``build_index`` gave.
        process: Functions for random draws of the global (process) parameters; None for nominal.
        switches: Global parameters to set, as expressions ("mc_mm_switch": "1").
    """

    def __init__(
        self,
        folder: Path,
        *,
        switches: Mapping[str, str] | None = None,
        process: Mapping[str, Any] | None = None,
        cells: dict[str, Cell] | None = None,
    ) -> None:
        self._folder = folder
        raw = json.loads((folder / "globals.json").read_text())
        self._digests: dict[str, str] = raw["cells"]
        self._raw_models: dict[str, str] = raw["models"]
        self._raw_choices: list[list[str]] = raw.get("choices", [])
        self._models: dict[str, list[ModelBin]] = {}
        self._cells: dict[str, Cell] = {} if cells is None else cells
        self._scale = float(raw["scale"])
        self._shared = _evaluate(raw["parameters"], switches or {}, process or {})
        self._shared["__corner__"] = 0 if process else next(_CORNER_IDS)

    @property
    def shared(self) -> dict[str, Any]:
        return self._shared

    @property
    def scale(self) -> float:
        return self._scale

    @property
    def names(self) -> list[str]:
        """Every device."""
        return sorted(self._digests)

    def cell(self, name: str) -> Cell | None:
        digest = self._digests.get(name)
        if digest is None:
            return self._resistor(name)
        cell = self._cells.get(digest)
        if cell is None:
            text = (self._folder.parent / "devices" / f"{digest}.json").read_text()
            cell = self._cells[digest] = _unpacked(json.loads(text))
        return cell

    def _resistor(self, name: str) -> Cell | None:
        """SKY130's poly resistors of fixed width, which its continuous models leave out."""
        match = _FIXED_WIDTH.fullmatch(name)
        if match is None or match[1] not in self._digests:
            return None
        if name not in self._cells:
            text = (
                f".subckt {name} r0 r1 sub mult=1 l=1\n"
                f"x0 r0 r1 sub {match[1]} w={match[2].replace('p', '.')} l={{l}} mult={{mult}}\n"
                ".ends\n"
            )
            scope = parse(logical_lines(text, "device models"), lambda line: []).top.subckts[name]
            self._cells[name] = compile_cell(scope, library=True)
        return self._cells[name]

    def model(self, name: str) -> list[ModelBin] | None:
        if not self._models:
            every = [(full, text, "") for full, text in self._raw_models.items()]
            for full, text, guard in (*every, *self._raw_choices):
                line = Line(text, "device models", 0, guard)
                entry = compile_model(line, frozenset())
                self._models.setdefault(model_base(full), []).append(entry)
        return self._models.get(name)


_FIXED_WIDTH = re.compile(r"(sky130_fd_pr__res_x?high_po)_(\d+p\d+)")
_RELATIVE = re.compile(r"(\{.+\})\s*\+\s*([\w*]+)\*gauss\(0,([\d.e-]+),1\)")
_LOGNORMAL = re.compile(r"(\{.+\})\s*\+\s*([\w*]+)\*exp\((agauss\(0,[\d.e-]+,1\))\)")


def _proper_spread(text: str) -> str:
    """A global parameter with its process spread as it is meant.

    SKY130's continuous models add ``gauss(0, s, 1)`` for a relative spread of s, which is always 0,
    and ``exp(agauss(0, s, 1))`` for a log-normal one, which is about 1; both belong as factors
    (the library's own comments say "percent=yes" and "dist=lnorm"). Off, nothing changes.
    """
    text = _RELATIVE.sub(r"(\1)*(1+\2*agauss(0,\3,1))", text)
    return _LOGNORMAL.sub(r"(\1)*exp(\2*\3)", text)


def _evaluate(
    texts: Mapping[str, str], switches: Mapping[str, str], process: Mapping[str, Any]
) -> dict[str, Any]:
    """Global parameters, each after those that it needs; random ones drawn once."""
    shared = namespace()
    shared.update(process)
    expressions: dict[str, Expression] = {}
    for name, text in texts.items():
        try:
            expressions[name] = compile_expression(switches.get(name) or _proper_spread(text))
        except ExpressionError:
            continue
    waiting: set[str] = set()

    def value(name: str) -> None:
        if f"p_{name}" in shared or name in waiting:
            return
        waiting.add(name)
        for needed in sorted(expressions[name].names):
            if needed in expressions:
                value(needed)
        try:
            shared[f"p_{name}"] = expressions[name]({}, shared)
        except ExpressionError:
            return

    for name in expressions:
        value(name)
    return shared


def _unpacked(raw: Mapping[str, Any]) -> Cell:
    name = str(raw["name"])
    origin = Line("", name, 0)
    scope = Scope(name, tuple(raw["ports"]), raw["header"], raw["parameters"], origin=origin)
    scope.cards = [
        Line(card, name, 0) if isinstance(card, str) else Line(card[0], name, 0, card[1])
        for card in raw["cards"]
    ]
    cell = compile_cell(scope, library=True)
    local = frozenset({*scope.header, *scope.parameters})
    for full, lmin, lmax, wmin, wmax, text in raw["models"]:
        entry = ModelBin(Line(text, name, 0), local, (lmin, lmax, wmin, wmax))
        cell.models.setdefault(model_base(full), []).append(entry)
    for full, text, guard in raw.get("choices", ()):
        choice = compile_model(Line(text, name, 0, guard), local)
        cell.models.setdefault(model_base(full), []).append(choice)
    for packed in raw["subckts"]:
        inner = _unpacked(packed)
        inner.parent = cell
        cell.subckts[inner.name] = inner
    return cell


class EmptyLibrary:
    """No device models: for circuits that bring their own."""

    def __init__(self) -> None:
        self._shared = namespace()
        self._shared["__corner__"] = next(_CORNER_IDS)

    @property
    def shared(self) -> dict[str, Any]:
        return self._shared

    @property
    def scale(self) -> float:
        return 1.0

    def cell(self, name: str) -> Cell | None:
        return None

    def model(self, name: str) -> list[ModelBin] | None:
        return None
