"""``acs-assistant pdk``."""

from __future__ import annotations

from dataclasses import asdict

import click

from acs_assistant.cli.output import json_option, print_json, progress, say, table


@click.group()
def pdk() -> None:
    """Device models. $PDK_ROOT/$PDK is used instead when it is set."""


@pdk.command()
@click.argument("name")
def install(name: str) -> None:
    """Download device models NAME (sky130) and check them."""
    from acs_assistant.sim.pdk import install_pdk

    found = install_pdk(name, lambda message, part: progress(f"  {message}"))
    say(f"{found.name} {found.version}: {found.library}")


@pdk.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the device models that are known, and where they are."""
    from acs_assistant.sim.pdk import list_pdks

    found = list_pdks()
    if as_json:
        print_json([asdict(status) for status in found])
        return
    rows = [
        [p.name, p.source if p.installed else "not installed", p.version, p.folder, p.licence]
        for p in found
    ]
    say(table(rows, ("name", "", "version", "folder (for NGSPICE_INPUT_DIR)", "licence")))
