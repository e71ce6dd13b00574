"""The command line: the composition root, the only place that builds concrete parts.

Exit status: 0 done (also when specs were not met), 2 bad input, 1 a fault of our own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from acs_assistant import __version__
from acs_assistant.cli.output import complain
from acs_assistant.errors import AcsError, InputError, InternalError

_GROUPS = {
    "bench": ("acs_assistant.cli.bench", "Compare proposers on a file of tasks."),
    "circuits": ("acs_assistant.cli.circuits", "List, show and check circuits."),
    "doctor": ("acs_assistant.cli.doctor", "Say what is installed and what mends the rest."),
    "gmid": ("acs_assistant.cli.gmid", "gm/Id charts of the PDK's transistors, as numbers."),
    "models": ("acs_assistant.cli.models", "List and show language models."),
    "pdk": ("acs_assistant.cli.pdk", "Install and list device models."),
    "serve": ("acs_assistant.cli.serve", "The terminal interface in a browser, on localhost."),
    "sessions": ("acs_assistant.cli.sessions", "List, show and export saved sessions."),
    "simulate": ("acs_assistant.cli.simulate", "Simulate one sizing and show every metric."),
    "solve": ("acs_assistant.cli.solve", "Size a circuit without a screen."),
    "train": ("acs_assistant.cli.train", "Train and export models (needs the train extra)."),
}


class _LazyGroup(click.Group):
    """Imports a command's module when it is used, so that ``--help`` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _GROUPS:
            return None
        from importlib import import_module

        module, _ = _GROUPS[cmd_name]
        command = getattr(import_module(module), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _GROUPS and not args[0].startswith("-"):
            from acs_assistant.errors import nearest

            raise InputError(f"there is no command '{args[0]}'.", hint=nearest(args[0], _GROUPS))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(_GROUPS.items())])


@click.group(
    cls=_LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="acs-assistant")
@click.pass_context
def app(ctx: click.Context) -> None:
    """A local language model sizes analog circuits; ngspice measures every proposal.

    Without a command the terminal interface starts.
    """
    if ctx.invoked_subcommand is None:
        _run_tui()


def _run_tui() -> None:
    in_browser = "TEXTUAL_DRIVER" in os.environ  # textual-serve talks through pipes
    if not in_browser and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError(
            "the terminal interface needs a terminal.",
            hint="Without one, use the commands: acs-assistant --help",
        )
    from acs_assistant.cli.compose import build_services
    from acs_assistant.tui.app import run

    services = build_services()
    try:
        run(services)
    finally:
        services.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits with its status."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        status = app.main(
            args=None if arguments is None else list(arguments),
            prog_name="acs-assistant",
            standalone_mode=False,
        )
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except AcsError as error:
        complain(str(error))
        return error.exit_status
    except click.ClickException as error:
        complain(f"Bad input: {error.format_message()}\n  {_usage(error)}")
        return 2
    except (click.Abort, KeyboardInterrupt):
        complain("Stopped.")
        return 130
    except BrokenPipeError:
        # The reader of our output is gone; Python must not complain of it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        complain(str(_internal(error)))
        return 1


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "acs-assistant"
    return f"See: {command} --help"


def _internal(error: Exception) -> InternalError:
    """The traceback goes to a file; the person gets its name."""
    import traceback

    from acs_assistant import paths

    log = paths.cache_dir() / "crash.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        hint = f"This is our fault. What happened is in {log}: please report it."
    except OSError:
        hint = "This is our fault; please report it."
    return InternalError(f"{type(error).__name__}: {error}", hint=hint)
