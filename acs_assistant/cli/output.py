"""What goes to the terminal: one JSON document, or plain tables; errors on stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

import click

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # OSC, DCS and their like, with their text
    r"|\x1b.?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
    r"|[\u202a-\u202e\u2066-\u2069]",  # text direction
    re.DOTALL,
)

_BAR = 30
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def plain(text: str) -> str:
    """Without terminal escapes: text of models and netlists is not ours to trust."""
    return _ESCAPES.sub("", text)


def complain(text: str) -> None:
    click.echo(plain(text), err=True)


def progress(text: str) -> None:
    """One line on stderr, for a person who waits."""
    if sys.stderr.isatty():
        click.echo(plain(text), err=True)


def draw_bar(done: int, total: int, what: str) -> None:
    """How far many simulations are, on one line of stderr that is drawn over; for a person only."""
    if sys.stderr.isatty():
        full = _BAR * done // max(total, 1)
        bar = "#" * full + "-" * (_BAR - full)
        click.echo(f"\r  [{bar}] {done} of {total} {what}", nl=done == total, err=True)


def say(text: str) -> None:
    click.echo(plain(text))


def print_json(document: Any) -> None:
    """NaN and infinity are not JSON: a document that holds one is a fault of ours."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=str))


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    """Columns two blanks apart; ones that hold only numbers are set to the right."""
    if not rows:
        return ""
    lines = [*([list(header)] if header else []), *([plain(c) for c in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    right = [
        all(re.fullmatch(r"[-+\d.].*|", line[column]) for line in lines[bool(header) :])
        for column in range(len(widths))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )
