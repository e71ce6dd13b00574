#!/usr/bin/env python3
"""Writes the reference pages from the code: docs/commands.md, keys.md, settings.md, measures.md.

python scripts/reference.py           write them (`make docs`)
python scripts/reference.py --check   exit status 1 when one is out of date
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

DOCS = Path(__file__).parents[1] / "docs"
MADE = "<!-- Written by scripts/reference.py from the code: change it there, then `make docs`. -->"


def commands() -> str:
    """Every command with its options, from click."""
    intro = (
        f"# Commands\n\n{MADE}\n\n`--json` prints one JSON document on stdout and nothing else "
        "there. Exit status: 0 done (also when specs were not met), 2 bad input (one message on "
        "stderr that names the file, the line and the mend), 1 a fault of ours.\n"
    )
    pages = [
        f"\n## `{context.command_path}`\n\n```text\n{command.get_help(context)}\n```\n"
        for command, context in walk_commands()
    ]
    return intro + "".join(pages)


def walk_commands() -> Iterator[tuple[click.Command, click.Context]]:
    """Every command of the program, groups first, each with the context that names it."""
    from acs_assistant.cli import app

    def walk(
        command: click.Command, context: click.Context
    ) -> Iterator[tuple[click.Command, click.Context]]:
        if command.hidden:
            return
        yield command, context
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                if child is not None:
                    yield from walk(child, click.Context(child, context, name, **_WIDE))

    yield from walk(app, click.Context(app, info_name="acs-assistant", **_WIDE))


_WIDE = {"terminal_width": 96, "max_content_width": 96}


def keys() -> str:
    """Every key, from the table that footer, palette and help also come from."""
    from acs_assistant.tui.keys import KEYS

    lines = [
        f"# Keys\n\n{MADE}\n",
        "Every key has an id; the footer shows the common ones, `?` all of the screen, and the "
        "palette (Ctrl+P) finds them by name.\n",
    ]
    for scope in dict.fromkeys(key.scope for key in KEYS):
        lines.append(f"## {scope.capitalize()}\n\n| key | what it does | id |\n|---|---|---|")
        lines += [
            f"| `{key.display}` | {key.label}: {key.tooltip} | `{key.id}` |"
            for key in KEYS
            if key.scope == scope
        ]
        lines.append("")
    return "\n".join(lines)


def settings() -> str:
    """Every setting with its default, from the pydantic model."""
    from acs_assistant.config import Settings

    lines = [
        f"# Settings\n\n{MADE}\n",
        "`settings.toml` in the configuration folder ([files.md](files.md)). A missing file means "
        "these defaults; an unknown key is refused with the nearest known one.\n",
    ]
    for name, section in Settings().__dict__.items():
        if isinstance(section, dict):
            lines.append(f"## `[{name}]`\n\n{Settings.model_fields[name].description}\n")
            continue
        lines.append(f"## `[{name}]`\n\n{inspect.getdoc(type(section))}\n")
        lines.append("| setting | default | what it does |\n|---|---|---|")
        for key, field in type(section).model_fields.items():
            default = getattr(section, key)
            written = str(default).lower() if isinstance(default, bool) else repr(default)
            lines.append(f"| `{key}` | `{written}` | {field.description} |")
        lines.append("")
    return "\n".join(lines)


def measures() -> str:
    """Every built-in measure with its definition, from the registry."""
    from acs_assistant.sim.measures import MEASURES

    lines = [
        f"# Measures\n\n{MADE}\n",
        "What a `[[metric]]` of `circuit.toml` may name as its `measure`, with the arguments it "
        "takes (those in brackets have a default). Numbers are in SI units, gains in dB.\n",
    ]
    for name, entry in sorted(MEASURES.items()):
        arguments = ", ".join(
            argument.name if argument.required else f"[{argument.name}]"
            for argument in entry.arguments
        )
        analysis = f"`.{entry.analysis}`" if entry.analysis else "any analysis"
        unit = f", {entry.unit}" if entry.unit else ""
        lines.append(f"## `{name}`\n\n{analysis}{unit}; arguments: {arguments or 'none'}\n")
        lines.append(f"{entry.definition}\n")
    return "\n".join(lines)


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands,
    "keys.md": keys,
    "settings.md": settings,
    "measures.md": measures,
}


def stale() -> dict[str, str]:
    """The pages that do not say what the code says, with what they should say."""
    made = {name: make().rstrip() + "\n" for name, make in PAGES.items()}
    return {
        name: text
        for name, text in made.items()
        if not (DOCS / name).is_file() or (DOCS / name).read_text("utf-8") != text
    }


def main() -> int:
    wrong = stale()
    if "--check" in sys.argv[1:]:
        for name in wrong:
            print(f"docs/{name} is out of date: make docs", file=sys.stderr)
        return 1 if wrong else 0
    for name, text in wrong.items():
        (DOCS / name).write_text(text, "utf-8")
        print(f"wrote docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
