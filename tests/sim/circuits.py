"""Small circuits for the simulator's tests, built in memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from acs_assistant.domain import Circuit, Conditions, Metric, Parameter, Testbench


def circuit(
    folder: Path,
    benches: dict[str, str],
    metrics: Iterable[Metric] = (),
    *,
    netlist: str = "* empty\n",
    parameters: Iterable[Parameter] = (),
    pdk: str = "sky130",
    conditions: Conditions | None = None,
) -> Circuit:
    """A circuit whose files need not exist."""
    return Circuit(
        name="test",
        title="Test circuit",
        pdk=pdk,
        category="test",
        description="",
        path=folder,
        parameters=tuple(parameters),
        metrics=tuple(metrics),
        specs=(),
        conditions=conditions or Conditions(),
        netlist=netlist,
        testbenches=tuple(
            Testbench(name, folder / f"tb_{name}.spice", text) for name, text in benches.items()
        ),
    )


def metric(label: str, measure: str, bench: str = "main", /, **arguments: str | float) -> Metric:
    return Metric(label, "", bench, measure, arguments)


SIZES = """
.param w_in=20u l_in=0.5u w_ld=10u l_ld=0.5u w_tail=20u l_tail=0.5u
.param w_out=40u l_out=0.3u w_sink=40u c_c=2p r_z=1k i_bias=20u load=2p supply=1.8
"""


def _fet(name: str, nodes: str, device: str, width: str, length: str) -> str:
    return (
        f"X{name} {nodes} sky130_fd_pr__{device} w={{{width}/1u}} l={{{length}/1u}} nf=1 m=1 "
        f"ad={{{width}/1u*0.29}} as={{{width}/1u*0.29}} "
        f"pd={{2*{width}/1u+0.58}} ps={{2*{width}/1u+0.58}}\n"
    )


NAMES = ("w_in", "l_in", "w_ld", "l_ld", "w_tail", "l_tail", "w_out", "l_out", "w_sink", "c_c",
         "r_z", "i_bias")  # fmt: skip
PASSES = " ".join(f"{name}={{{name}}}" for name in NAMES)


def miller(nfet: str = "nfet_01v8", pfet: str = "pfet_01v8", passives: str = "") -> str:
    """A two-stage Miller amplifier with a choice of devices."""
    compensation = passives or "RZ d2 z {r_z}\nCC z out {c_c}\n"
    return (
        "* two-stage Miller\n"
        f".subckt amp inp inn out vdd vss {' '.join(f'{n}=1' for n in NAMES)}\n"
        + _fet("M1", "d1 inn tail vss", nfet, "w_in", "l_in")
        + _fet("M2", "d2 inp tail vss", nfet, "w_in", "l_in")
        + _fet("M3", "d1 d1 vdd vdd", pfet, "w_ld", "l_ld")
        + _fet("M4", "d2 d1 vdd vdd", pfet, "w_ld", "l_ld")
        + _fet("M5", "tail bias vss vss", nfet, "w_tail", "l_tail")
        + _fet("M6", "out d2 vdd vdd", pfet, "w_out", "l_out")
        + _fet("M7", "out bias vss vss", nfet, "w_sink", "l_tail")
        + _fet("M8", "bias bias vss vss", nfet, "w_tail", "l_tail")
        + "Ibias vdd bias {i_bias}\n"
        + compensation
        + ".ends\n"
    )


MILLER_BENCH = f"""* open loop and follower in one deck
.lib "sky130.lib.spice" tt
.include netlist.spice
{SIZES}
.temp 27
Vdd vdd 0 {{supply}}
Vin inp 0 dc {{supply/2}} ac 1
xdut inp fb out vdd 0 amp {PASSES}
Ebb buf 0 out 0 1
Rfb buf low 1meg
Cfb low 0 1meg
Efb fb 0 low 0 1
Cl out 0 {{load}}
Vstep s 0 pulse({{supply/2-0.2}} {{supply/2+0.2}} 100n 1n 1n 1u 10u)
xbuf s o2 o2 vdd 0 amp {PASSES}
Cl2 o2 0 {{load}}
.op
.ac dec 20 1 1g
.tran 5n 2.2u
.end
"""
MILLER_SIZING = {
    "w_in": 20e-6, "l_in": 0.5e-6, "w_ld": 10e-6, "l_ld": 0.5e-6, "w_tail": 20e-6,
    "l_tail": 0.5e-6, "w_out": 40e-6, "l_out": 0.3e-6, "w_sink": 40e-6, "c_c": 2e-12,
    "r_z": 1e3, "i_bias": 20e-6,
}  # fmt: skip
MILLER_METRICS = (
    metric("dc_gain", "dc_gain", node="out"),
    metric("gbw", "unity_gain_frequency", node="out"),
    metric("phase_margin", "phase_margin", node="out"),
    metric("power", "power", source="vdd"),
    metric("slew_rate", "slew_rate", node="o2", input="s"),
    metric("offset", "offset", node="o2", reference="s"),
    metric("area", "area"),
    metric("saturation", "saturation_margin"),
)


def miller_circuit(folder: Path, **options: str) -> Circuit:
    """The amplifier as a circuit with one testbench."""
    parameters = [
        Parameter(name, "m", value / 100, value * 100, value / 1e4)
        for name, value in MILLER_SIZING.items()
    ]
    return circuit(
        folder,
        {"main": MILLER_BENCH},
        MILLER_METRICS,
        netlist=miller(**options),
        parameters=parameters,
        conditions=Conditions(load=2e-12),
    )
