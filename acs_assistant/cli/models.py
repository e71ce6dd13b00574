"""``acs-assistant models``."""

from __future__ import annotations

import click

from acs_assistant.cli.output import json_option, print_json, say, table


@click.group()
def models() -> None:
    """Language models of the package and of your data folder."""


@models.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List every installed model."""
    from acs_assistant.llm import list_models

    found = list_models()
    if as_json:
        print_json([card.as_json() for card in found])
        return
    if not found:
        say("No model is installed.")
        return
    rows = [
        [
            card.name + (" (default)" if card.default else ""),
            f"{card.size / 1e6:.1f} MB",
            f"{card.parameters / 1e6:.0f}M",
            card.quantization,
            card.error or card.description,
        ]
        for card in found
    ]
    say(table(rows, ("name", "size", "weights", "quantized", "")))


@models.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show the card of model NAME, or of a GGUF file."""
    from acs_assistant.llm import show_model

    card = show_model(name)
    if as_json:
        print_json({**card.as_json(), "card": card.card})
        return
    rows = [
        ["name", card.name],
        ["file", str(card.path)],
        ["sha256", card.sha256],
        ["architecture", card.architecture],
        ["weights", f"{card.parameters / 1e6:.1f}M, {card.quantization}"],
        ["context", str(card.context)],
        ["licence", card.licence],
    ]
    say(table(rows))
    if card.card:
        say("\n" + card.card.rstrip())


@models.command()
@click.argument("name")
def adopt(name: str) -> None:
    """Make model NAME, or a GGUF file, the default."""
    from acs_assistant import llm

    say(f"The default model is now {llm.adopt(name).name}.")


@models.command()
def rollback() -> None:
    """Go back to the default model before the last adopt."""
    from acs_assistant import llm

    say(f"The default model is {llm.rollback().name} again.")
