"""What is measured: ``.meas`` lines as metrics, and built-in measures for what has none."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from acs_assistant.sim.expressions import ExpressionError, compile_expression, namespace
from acs_assistant.sim.measures import find_measure
from acs_assistant.sim.spice import Line, split_words

if TYPE_CHECKING:
    from acs_assistant.engine.importing.benches import Bench

Better = Literal["higher", "lower", "neither"]
_HIGHER = re.compile(
    r"gain|gbw|gbp|gain_bandwidth|bandwidth|^bw|ugf|ugb|unity|f_?0db|margin|^pm|^gm_?db"
    r"|^sr|slew|swing|^a_?(0|v|ol)(_?db)?$|^av_|^adc$"
)
_LOWER = re.compile(
    r"power|^pwr|^p_?(supply|diss|tot|dc|dd)|noise|offset|^vos|^tc|settl|delay|ripple|dropout|^i_?(vdd|q|supply)|thd|overshoot"
)
_REJECTION = re.compile(r"psr|cmrr|rejection")
_UNITS: tuple[tuple[str, str], ...] = (
    (r"_deg|degree|phase_?margin|^pm(_|$)", "deg"),
    (r"gbw|gbp|gain_bandwidth|bandwidth|^bw|ugf|ugb|freq|^f_", "Hz"),
    (r"vdb\(|db\(|_?db$", "dB"),
    (r"power|^pwr|^p_?(supply|diss|tot|dc|dd)", "W"),
    (r"slew|^sr", "V/s"),
    (r"settl|delay|^t_", "s"),
    (r"offset|^vos|^v", "V"),
    (r"^i_?(vdd|q|supply)", "A"),
)
_CROSSING = re.compile(
    r"\bwhen\s+(?:vdb\((?P<db>[^()\s]+)\)\s*=\s*0(?:\.0*)?|vm\((?P<m>[^()\s]+)\)\s*=\s*1)(?=\s|$)"
)
_ANGLE = re.compile(r"180.*\bc?ph(ase)?\(|\bc?ph(ase)?\(.*180")
_MARGIN = re.compile(r"margin|^pm")
_POWER = re.compile(r"power|^pwr|^p_?(supply|diss|tot|dc|dd)|^i_?(vdd|q|supply|tot)")
_SHOWN = re.compile(r"\bv(?:db|p|m)?\(\s*([^()\s,]+)\s*\)")
_OUTPUT = re.compile(r"v?o(ut)?\w*$")
_SCALE = re.compile(
    r"(?<=[*/])\s*(1e[+-]?\d+|10+|1(?:meg|[munpfkg]))(?![\w.])|^\s*(1e[+-]?\d+)\s*(?=\*)"
)
_PREFIXES = {6: "u", 3: "m", -3: "k", -6: "M", 9: "n", -9: "G", 12: "p"}


@dataclass(frozen=True, slots=True)
class MetricGuess:
    """A ``[[metric]]``.

    Attributes:
        optional: Nothing is said when it cannot be measured.
        spec: A target may be proposed for it.
    """

    name: str
    unit: str
    testbench: str
    better: Better
    measure: str = "meas"
    arguments: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    optional: bool = False
    spec: bool = True


def guess_metric(line: Line, testbench: str, others: Sequence[Line] = ()) -> MetricGuess:
    """A ``.meas`` or ``.let`` card: from its name first, then from what it measures.

    Args:
        others: Cards that may define the vector that it reads.
    """
    words = line.text.split()
    kind, name = (words[1], words[2]) if len(words) > 2 else ("", "")
    formula = words[0] == ".let"
    text = line.text
    unit = ""
    if "when" in words and "find" not in words:
        unit = "Hz" if kind in ("ac", "noise") else "s" if kind == "tran" else ""
    else:
        for pattern, candidate in _UNITS:
            if re.search(pattern, name) or (candidate == "dB" and re.search(pattern, text)):
                unit = candidate
                break
    if not unit and "find" in words[:-1]:
        vector = words[words.index("find") + 1]
        read = next((x.text for x in others if x.text.split()[2] == vector), "")
        unit = "deg" if _ANGLE.search(read) else "dB" if re.search(r"\bdb\(", read) else ""
    better: Better = "neither"
    if _HIGHER.search(name) and not _REJECTION.search(name):
        better = "higher"
    elif _LOWER.search(name):
        better = "lower"
    what = text.partition("=")[2].strip() if formula else " ".join(words[3:])
    return MetricGuess(
        name,
        unit,
        testbench,
        better,
        arguments={"name": name},
        description=f"{kind}: {what} ({line.file}:{line.number})",
        optional=formula,
    )


def intermediate(guess: MetricGuess, lines: Sequence[Line]) -> bool:
    """It only serves other lines: one of them reads it, and its name says nothing by itself."""
    if guess.better != "neither" or _REJECTION.search(guess.name):
        return False
    name = re.compile(rf"(?<![\w.]){re.escape(guess.name)}(?![\w.])")
    return any(
        name.search(line.text.partition("=")[2] or " ".join(line.text.split()[3:]))
        for line in lines
        if line.text.split()[2] != guess.name
    )


def reads_known_nets(bench: Bench) -> list[Line]:
    """The ``.meas`` lines that name voltages of nets which are there."""
    nets = {word for card in bench.cards for word in split_words(card.text)[1:]} | {"0", "gnd"}
    return [
        line
        for line in bench.measures
        if (read := set(_SHOWN.findall(line.text))) and all("." in n or n in nets for n in read)
    ]


def with_sign(guess: MetricGuess, value: float) -> MetricGuess:
    """A rejection is written as a ratio or as the gain that is to be small; its sign tells."""
    if guess.better == "neither" and guess.unit == "dB" and _REJECTION.search(guess.name):
        return replace(guess, better="higher" if value > 0 else "lower")
    return guess


def with_scale(
    guess: MetricGuess, lines: Sequence[Line], measured: Mapping[str, float]
) -> MetricGuess:
    """A formula that turns seconds into microseconds gives its unit a prefix."""
    formulas = {
        line.text.split()[2]: line.text.partition("=")[2].strip().strip("'{}\"")
        for line in lines
        if "=" in line.text and re.search(r"\bparam\s*=", line.text)
    }
    if guess.name not in formulas or not guess.unit:
        return guess
    known = {name: value for name, value in measured.items() if name not in formulas}
    try:
        ratio = _value(guess.name, formulas, known, False) / _value(
            guess.name, formulas, known, True
        )
        exponent = math.log10(ratio)
    except (ExpressionError, ValueError, ZeroDivisionError, RecursionError):
        return guess
    prefix = _PREFIXES.get(round(exponent), "")
    if not prefix or abs(exponent - round(exponent)) > 1e-6:
        return guess
    if guess.unit == "V/s" and prefix == "M":
        return replace(guess, unit="V/us")
    return replace(guess, unit=prefix + guess.unit)


def _value(
    name: str, formulas: Mapping[str, str], known: Mapping[str, float], plain: bool
) -> float:
    text = formulas[name]
    if plain:
        text = _SCALE.sub("1", text)
    read = set(re.findall(r"(?<![\w.])[a-z_]\w*", text)) & set(formulas) - {name}
    inner = {other: _value(other, formulas, known, plain) for other in read}
    return compile_expression(text)({}, namespace({**known, **inner}))


def built_in(bench: Bench) -> list[MetricGuess]:
    """Metrics by built-in measures, for what a designer asks first and no line measures."""
    kinds = {card.text.split()[0].removeprefix(".") for card in bench.analyses}
    by_kind: dict[str, list[Line]] = {}
    for line in bench.measures:
        if line.text.startswith(".meas"):
            by_kind.setdefault(line.text.split()[1], []).append(line)
    names = [line.text.split()[2] for line in bench.measures]
    found: list[MetricGuess] = []
    if "ac" in kinds:
        found += _of_ac(bench, by_kind.get("ac", []), names)
    if "tran" in kinds and "tran" not in by_kind:
        found += _of_tran(bench)
    if "noise" in kinds and "noise" not in by_kind:
        found.append(_guess(bench, "input_noise", "input_noise", "lower"))
    if bench.power_source and not any(_POWER.search(name) for name in names):
        source, node = bench.power_source
        found.append(_guess(bench, "power", "power", "lower", source=source, node=node))
    return found


def _of_ac(bench: Bench, lines: Sequence[Line], names: Sequence[str]) -> list[MetricGuess]:
    if lines:
        crossed = [match for line in lines if (match := _CROSSING.search(line.text))]
        if not crossed or any(_MARGIN.search(name) for name in names):
            return []
        node = crossed[0]["db"] or crossed[0]["m"]
        return [_guess(bench, "phase_margin", "phase_margin", "higher", node=node)]
    node = _output(bench, "ac")
    if not node:
        return []
    return [
        _guess(bench, "dc_gain", "dc_gain", "higher", node=node),
        _guess(bench, "gbw", "unity_gain_frequency", "higher", node=node),
        _guess(bench, "phase_margin", "phase_margin", "higher", node=node),
    ]


def _of_tran(bench: Bench) -> list[MetricGuess]:
    node = _output(bench, "tran")
    stepped = [
        words[1]
        for card in bench.cards
        if (words := split_words(card.text))[0][0] == "v" and "pulse" in card.text
    ]
    if not node or not stepped:
        return []
    arguments = {"node": node, "input": stepped[0]}
    return [
        _guess(bench, "slew_rate", "slew_rate", "higher", **arguments),
        _guess(bench, "settling_time", "settling_time", "lower", **arguments),
    ]


def _guess(bench: Bench, name: str, measure: str, better: Better, **arguments: str) -> MetricGuess:
    entry = find_measure(measure)
    return MetricGuess(
        name,
        entry.unit,
        bench.name,
        better,
        measure,
        arguments,
        "built-in measure; no line of the testbench gives it",
        optional=True,
    )


def _output(bench: Bench, kind: str) -> str:
    """The net that is plotted after an analysis, or that has the load; "" for neither."""
    driven = {words[1] for card in bench.cards if (words := split_words(card.text))[0][0] == "v"}
    shown = [net for k, text in bench.shown if k == kind for net in _SHOWN.findall(text)]
    loads = [
        net
        for card in bench.cards
        if card.text[0] == "c"
        for net in split_words(card.text)[1:3]
        if net not in ("0", "gnd")
    ]
    ports = [
        net for card in bench.cards if card.text[0] == "x" for net in split_words(card.text)[1:]
    ]
    likely = [net for net in (*loads, *ports) if _OUTPUT.match(net)]
    return next((net for net in (*shown, *likely, *loads) if net not in driven), "")
