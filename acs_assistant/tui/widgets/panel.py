"""A panel's title, drawn again only when it changes."""

from __future__ import annotations

from textual.widget import Widget


class Panel(Widget):
    """Setting ``border_title`` draws the whole panel, even when the title is the same."""

    _entitled: str | None = None

    def entitle(self, title: str) -> None:
        """Sets the title, in markup; the same title again costs nothing."""
        if title != self._entitled:
            self._entitled = title
            self.border_title = title
