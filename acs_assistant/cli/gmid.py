"""``acs-assistant gmid``: charts of a transistor as numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from acs_assistant.cli.output import json_option, print_json, say, table


def _installed() -> list[str]:
    from acs_assistant.sim.pdk import list_pdks

    return [status.name for status in list_pdks() if status.installed] or ["sky130"]


def _found(
    device: str, pdks: Sequence[str], devices: Callable[[str], list[str]]
) -> tuple[str, str]:
    """The PDK that has a transistor of this name, and its whole name."""
    for pdk in pdks:
        for name in devices(pdk):
            if name == device or name.endswith(f"__{device}"):
                return pdk, name
    return pdks[0], device


@click.command()
@click.argument("device", required=False)
@click.option("--pdk", default=None,
              help="[default: the first that has DEVICE; sky130]")  # fmt: skip
@click.option("--length", "lengths", multiple=True, metavar="L",
              help="Channel length such as 500n; may be repeated.")  # fmt: skip
@click.option("--gm-id", "ratios", multiple=True, type=float, metavar="N",
              help="gm/Id in 1/V; may be repeated.  [default: 5 8 10 12 15 18 20 22]")  # fmt: skip
@click.option("--vds", default=None, metavar="V", help="[default: half of the PDK's supply]")
@click.option("--corner", default="tt", show_default=True)
@click.option("--temp", default="27", show_default=True, metavar="C")
@json_option
def gmid(
    device: str | None,
    pdk: str | None,
    lengths: tuple[str, ...],
    ratios: tuple[float, ...],
    vds: str | None,
    corner: str,
    temp: str,
    as_json: bool,
) -> None:
    """Show Id/W, intrinsic gain and fT of transistor DEVICE against gm/Id.

    Without a DEVICE the transistors of the PDK are listed.
    """
    from acs_assistant.cli.compose import make_simulator
    from acs_assistant.cli.tasks import parse_corner
    from acs_assistant.engine.specs import parse_value
    from acs_assistant.errors import InputError
    from acs_assistant.sim import gmid as charts
    from acs_assistant.units import format_quantity

    if device is None:
        names = charts.devices(pdk or "sky130")
        if as_json:
            print_json(names)
        else:
            say("\n".join(names))
        return
    pdk, device = _found(device, [pdk] if pdk else _installed(), charts.devices)
    wanted = sorted(parse_value(length, "m") for length in lengths)
    simulator = make_simulator()
    try:
        found = charts.characterize(
            simulator,
            pdk,
            device,
            vds=None if vds is None else parse_value(vds, "V"),
            corner=parse_corner(corner),
            temperature=parse_value(temp, "C"),
        )
    finally:
        simulator.close()
    points, missing = [], []
    for length in wanted or [float(value) for value in found.lengths]:
        for ratio in ratios or (5.0, 8.0, 10.0, 12.0, 15.0, 18.0, 20.0, 22.0):
            try:
                points.append(found.at(ratio, length))
            except InputError as error:
                missing.append(error)
    if missing and not points:
        raise missing[0]
    if as_json:
        print_json(
            {
                "device": device,
                "pdk": pdk,
                "corner": found.corner,
                "temperature": found.temperature,
                "vds": found.vds,
                "points": [
                    {
                        "length": point.length,
                        "gm_over_id": point.gm_over_id,
                        "vgs": point.vgs,
                        "current_density": point.current_density,
                        "intrinsic_gain": point.intrinsic_gain,
                        "transit_frequency": point.transit_frequency,
                    }
                    for point in points
                ],
            }
        )
        return
    rows = [
        [
            format_quantity(point.length),
            f"{point.gm_over_id:g}",
            format_quantity(point.vgs, 3),
            format_quantity(point.current_density * 1e-6, 3),
            f"{point.intrinsic_gain:.1f}",
            format_quantity(point.transit_frequency, 3),
        ]
        for point in points
    ]
    say(f"{device}, {found.corner}, {found.temperature:g} C, Vds {found.vds:g} V\n")
    say(table(rows, ("L (m)", "gm/Id (1/V)", "Vgs (V)", "Id per um (A)", "gm/gds", "fT (Hz)")))
