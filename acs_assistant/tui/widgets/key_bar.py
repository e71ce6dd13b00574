"""The keys that do something now, in the order of the table, as many as the line has room for."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.widget import Widget

from acs_assistant.tui.keys import KEYS

_ORDER = {key.id: place for place, key in enumerate(KEYS)}
_HELP = "app.help"


@dataclass(frozen=True, slots=True)
class _Item:
    key: str
    label: str
    action: str
    tooltip: str
    start: int = 0

    @property
    def text(self) -> str:
        return f" {self.key} {self.label} "


class KeyBar(Widget, can_focus=False):
    """One line at the bottom. A click does what the key does; help is always there."""

    DEFAULT_CSS = """
    KeyBar {
        dock: bottom;
        height: 1;
        background: $panel;
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._active: dict[str, _Item] = {}
        self._items: list[_Item] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self._read())
        self._read()

    def _read(self) -> None:
        """Draws again when other keys do something now."""
        found: dict[str, _Item] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.show and active.enabled and binding.id and binding.id not in found:
                shown = self.app.get_key_display(binding)
                found[binding.id] = _Item(
                    shown, binding.description, binding.action, binding.tooltip
                )
        if found != self._active:
            self._active = found
            self.refresh()

    def render(self) -> Content:
        found = dict(self._active)
        help_item = found.pop(_HELP, None)
        room = self.size.width - (cell_len(help_item.text) if help_item else 0)
        self._items = []
        parts: list[str | tuple[str, str]] = []
        at = 0
        for id in sorted(found, key=lambda id: _ORDER.get(id, len(_ORDER))):
            item = found[id]
            if at + cell_len(item.text) > room:
                continue
            at = self._place(item, at, parts)
        if help_item is not None:
            parts.append(" " * (room - at))
            self._place(help_item, room, parts)
        return Content.assemble(*parts)

    def _place(self, item: _Item, at: int, parts: list[str | tuple[str, str]]) -> int:
        self._items.append(_Item(item.key, item.label, item.action, item.tooltip, at))
        parts += [(f" {item.key}", "bold $footer-key-foreground"), f" {item.label} "]
        return at + cell_len(item.text)

    def _at(self, x: int) -> _Item | None:
        return next((i for i in self._items if i.start <= x < i.start + cell_len(i.text)), None)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        item = self._at(event.x)
        self.tooltip = item.tooltip if item else None

    async def on_click(self, event: events.Click) -> None:
        item = self._at(event.x)
        if item is not None:
            await self.app.run_action(item.action, self.screen)
