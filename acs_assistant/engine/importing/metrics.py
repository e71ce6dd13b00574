"""What a ``.meas`` line is likely to mean: its unit, and which way is better."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from acs_assistant.sim.spice import Line

Better = Literal["higher", "lower", "neither"]
_HIGHER = re.compile(
    r"gain|gbw|gain_bandwidth|bandwidth|^bw|ugf|phase_margin|^pm|psr|cmrr|^sr|slew|swing"
)
_LOWER = re.compile(
    r"power|noise|offset|^vos|^tc|settl|delay|ripple|dropout|^i_?(vdd|q|supply)|thd|overshoot"
)
_UNITS: tuple[tuple[str, str], ...] = (
    (r"vdb\(|db\(", "dB"),
    (r"_deg|degree", "deg"),
    (r"gbw|gain_bandwidth|bandwidth|^bw|ugf|freq", "Hz"),
    (r"power", "W"),
    (r"slew|^sr", "V/s"),
    (r"settl|delay|^t_", "s"),
    (r"offset|^vos|^v", "V"),
    (r"^i_?(vdd|q|supply)", "A"),
)


@dataclass(frozen=True, slots=True)
class MetricGuess:
    name: str
    unit: str
    testbench: str
    better: Better


def guess_metric(line: Line, testbench: str) -> MetricGuess:
    """From the name first, then from what the line measures."""
    words = line.text.split()
    kind, name = (words[1], words[2]) if len(words) > 2 else ("", "")
    text = line.text
    unit = ""
    if "when" in words and "find" not in words:
        unit = "Hz" if kind in ("ac", "noise") else "s" if kind == "tran" else ""
    else:
        for pattern, candidate in _UNITS:
            if re.search(pattern, name) or (candidate == "dB" and re.search(pattern, text)):
                unit = candidate
                break
    better: Better = "neither"
    if _HIGHER.search(name):
        better = "higher"
    elif _LOWER.search(name):
        better = "lower"
    if better == "higher" and re.search(r"psr|cmrr", name):
        better = "neither"  # as often written as a (negative) gain as it is as a ratio
    return MetricGuess(name, unit, testbench, better)
