"""``acs-assistant serve``."""

from __future__ import annotations

import errno
import shlex
import sys

import click

from acs_assistant.cli.output import say
from acs_assistant.errors import InputError


@click.command()
@click.option("--port", type=click.IntRange(1024, 65535), default=8000, show_default=True)
def serve(port: int) -> None:
    """Serve the terminal interface to a browser on this machine only.

    One tab at a time: a second one says so, and takes over when it is told to.
    """
    try:
        from acs_assistant.cli.browser import LocalServer
    except ImportError as error:
        raise InputError(
            "the serve extra is not installed.", hint="pip install 'acs-assistant[serve]'"
        ) from error
    command = f"{shlex.quote(sys.executable)} -m acs_assistant"
    server = LocalServer(command, port)
    say(f"Open http://localhost:{port} in a browser; Ctrl-C stops it.")
    try:
        server.serve()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise InputError(
            f"port {port} is taken by another program.", hint=f"Choose another: --port {port + 1}"
        ) from error
