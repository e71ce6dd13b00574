"""A small session made by hand: known numbers, a side branch, hostile text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from acs_assistant.domain import (
    Circuit,
    Conditions,
    Decision,
    Evaluation,
    Measurement,
    Metric,
    OperatingPoint,
    Parameter,
    Proposal,
    Spec,
    Task,
    Testbench,
    Turn,
    Waveform,
)
from acs_assistant.report.record import Provenance, SessionRecord
from acs_assistant.scoring import score

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)> & $\\frac{1}{0}$'
SPECS = (Spec("dc_gain", ">=", 60.0), Spec("gbw", ">=", 1e7), Spec("power", "<=", 3e-4))


def circuit() -> Circuit:
    return Circuit(
        name="amp",
        title="Test amplifier",
        pdk="sky130",
        category="amplifier",
        description="One stage.",
        path=Path("amp"),
        parameters=(
            Parameter("w_in", "m", 1e-6, 1e-4, 1e-8, role="input pair width", devices=("M1", "M2")),
            Parameter("i_bias", "A", 1e-6, 1e-4, 1e-8, role="bias current", devices=("Ib",)),
        ),
        metrics=(
            Metric("dc_gain", "dB", "ac", "dc_gain", {"node": "out"}, "higher", "open-loop gain"),
            Metric("gbw", "Hz", "ac", "unity_gain_frequency", {"node": "out"}, "higher"),
            Metric("power", "W", "ac", "power", {"source": "vdd"}, "lower"),
        ),
        specs=SPECS,
        conditions=Conditions(load=5e-12),
        netlist=".subckt amp in out vdd vss w_in=1u i_bias=1u\n.ends\n",
        testbenches=(Testbench("ac", Path("tb_ac.spice"), "* ac\n.ac dec 20 1 1g\n"),),
        schematic="in --[M1 M2]-- out",
    )


def evaluation(gain: float, gbw: float, power: float) -> Evaluation:
    measurement = Measurement(
        "ok",
        {"dc_gain": gain, "gbw": gbw, "power": power},
        devices=(
            OperatingPoint("M1", "nmos", "saturation", 1e-5, 1.5e-4, 1e-6, 0.7, 0.9, 0.6, 0.12),
            OperatingPoint("M2", "pmos", "linear", 1e-5, 1.2e-4, 9e-6, 0.8, 0.1, 0.6, 0.18),
        ),
    )
    return Evaluation((measurement,), score(SPECS, (measurement,)))


def turn(index: int, parent: int | None, found: Evaluation | None, reasoning: str = "") -> Turn:
    sizing = {"w_in": 1e-5 * (index + 1), "i_bias": 1.23e-5}
    decision = (
        Decision("accepted", sizing)
        if found
        else Decision("rejected", reason="=too wide", by="engineer")
    )
    return Turn(index, parent, index, Proposal(sizing, "model", reasoning), decision, found, SPECS)


def response(gain: float = 1000.0, pole: float = 1e4, second: float = 3e7) -> Waveform:
    """Two poles: unity gain near ``gain * pole``."""
    frequency = np.logspace(0, 10, 201)
    s = 1j * frequency
    transfer = gain / ((1 + s / pole) * (1 + s / second))
    return Waveform(
        "ac", "ac", "frequency", tuple(frequency.tolist()), {"out": tuple(transfer.tolist())}
    )


def transient() -> Waveform:
    time = np.linspace(0, 1e-6, 101)
    out = 0.9 + 0.3 * (1 - np.exp(-time / 1e-7))
    vectors = {"out": tuple(out.tolist()), "vdd": (1.8,) * 101}
    return Waveform("tran", "tran", "time", tuple(time.tolist()), vectors)


def record() -> SessionRecord:
    """Turn 1 misses, 2 was rejected, 3 (a side branch) misses, 4 meets every spec."""
    turns = (
        turn(1, None, evaluation(55.0, 6e6, 2e-4), "Start wide."),
        turn(2, 1, None, "Widen."),
        turn(3, 1, evaluation(50.0, 2e7, 3.5e-4), "More current."),
        turn(4, 2, evaluation(62.5, 1.2e7, 2.1e-4), HOSTILE),
    )
    return SessionRecord(
        id="s1",
        created="2026-01-02T03:04:05+00:00",
        task=Task(circuit(), SPECS, Conditions(load=5e-12)),
        budget=10,
        turns=turns,
        provenance=Provenance("0.1", "model", "tiny", "ab" * 32, "1", "ngspice-39", "sky130", 7),
        messages=(
            {"role": "system", "content": "You size circuits."},
            {"role": "user", "content": HOSTILE},
            {
                "role": "assistant",
                "content": "",
                "reasoning_content": "Start wide.",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "simulate", "arguments": {"w_in": "20u"}},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "Turn 1: score 90 percent"},
        ),
        tools=({"type": "function", "function": {"name": "simulate", "parameters": {}}},),
        waveforms=(response(), transient()),
    )


def failed_record() -> SessionRecord:
    """One turn whose simulation failed, and no waveforms."""
    failed = Measurement("failed", {}, error=HOSTILE)
    found = Evaluation((failed,), score(SPECS, (failed,)))
    return replace(record(), turns=(turn(1, None, found, HOSTILE),), waveforms=())
