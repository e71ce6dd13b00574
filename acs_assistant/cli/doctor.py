"""``acs-assistant doctor``."""

from __future__ import annotations

import click

from acs_assistant.cli.output import json_option, print_json, say


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what is installed, what is missing, and the command that mends it."""
    from acs_assistant import doctor as checks

    found = checks.check()
    if as_json:
        print_json(checks.document(found))
    else:
        say(checks.text(found))
