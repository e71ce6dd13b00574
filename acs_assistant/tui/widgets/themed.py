"""Rich text in the colours of the theme, for the widgets of Textual that draw Rich text."""

from __future__ import annotations

from rich.text import Text
from textual.app import App


def themed(app: App[object], *parts: str | tuple[str, str]) -> Text:
    """Like ``Content.assemble``; words that begin with ``$`` name theme variables."""
    text = Text(end="", no_wrap=True)
    for part in parts:
        if isinstance(part, str):
            text.append(part)
        else:
            text.append(part[0], " ".join(_resolve(app, word) for word in part[1].split()).strip())
    return text


def colour(app: App[object], name: str) -> str:
    """A theme variable as Rich writes colours; empty when it is not one colour."""
    value = app.theme_variables.get(name, "")
    return value[:7] if value.startswith("#") else ""


def _resolve(app: App[object], word: str) -> str:
    if not word.startswith("$"):
        return word
    name = word[1:]
    return colour(app, name) or colour(app, name.removeprefix("text-"))
