"""``acs-assistant serve``."""

from __future__ import annotations

import shlex
import sys

import click

from acs_assistant.cli.output import say
from acs_assistant.errors import InputError


@click.command()
@click.option("--port", type=click.IntRange(1024, 65535), default=8000, show_default=True)
def serve(port: int) -> None:
    """Serve the terminal interface to a browser on this machine only."""
    try:
        from textual_serve.server import Server
    except ImportError as error:
        raise InputError(
            "the serve extra is not installed.", hint="pip install 'acs-assistant[serve]'"
        ) from error
    say(f"Open http://localhost:{port} in a browser; Ctrl-C stops it.")
    command = f"{shlex.quote(sys.executable)} -m acs_assistant"
    Server(command, host="localhost", port=port, title="ACS Assistant").serve()
