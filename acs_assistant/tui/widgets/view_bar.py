"""The panels by number, for screens too small to show them side by side."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

VIEWS = {
    "proposal": "Proposal",
    "reasoning": "Reasoning",
    "plots": "Plots",
    "devices": "Devices",
    "history": "History",
    "schematic": "Schematic",
}


class ViewBar(Widget):
    """One line; a click or the number chooses."""

    view: reactive[str] = reactive("proposal")

    @dataclass
    class Chosen(Message):
        view: str

    def render(self) -> Content:
        parts: list[str | tuple[str, str]] = []
        for number, (name, label) in enumerate(VIEWS.items(), start=1):
            here = name == self.view
            style = "bold reverse $text-primary" if here else "$foreground-muted"
            parts += [(f" {number} {label} ", style), " "]
        return Content.assemble(*parts)

    def on_click(self, event: Click) -> None:
        start = 0
        for number, (name, label) in enumerate(VIEWS.items(), start=1):
            end = start + len(f" {number} {label} ")
            if start <= event.x - self.styles.padding.left < end:
                self.post_message(self.Chosen(name))
                return
            start = end + 1
