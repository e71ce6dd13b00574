"""What screens that show two things side by side have in common: a table and plots in turns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from textual.containers import VerticalScroll

from acs_assistant.tui.keys import bindings
from acs_assistant.tui.screens.page import Bindings, Page
from acs_assistant.tui.widgets.plot import Plot


class PairScreen(Page):
    """A small screen shows the table or a plot; a key turns from one to the next.

    Attributes:
        PLOTS: Kinds of plots and their titles; a large screen begins with the first.
    """

    CSS_PATH = "compare.tcss"
    KEY_SCOPES: ClassVar[tuple[str, ...]] = ("compare", "page")
    BINDINGS: ClassVar[Bindings] = bindings("compare", "page")
    PLOTS: ClassVar[Mapping[str, str]]

    _plot = ""

    @abstractmethod
    def _draw(self) -> None:
        """Fills the table and the plot."""

    def action_plot(self, step: int) -> None:
        """The next plot; on a small screen the table stands among them."""
        kinds = [*([] if self._roomy else [""]), *self.PLOTS]
        self._plot = kinds[(kinds.index(self._shown) + step) % len(kinds)]
        self._draw()

    @property
    def _roomy(self) -> bool:
        return self.size.height >= 40

    @property
    def _shown(self) -> str:
        """The plot that is shown; empty for the table alone."""
        return self._plot or (next(iter(self.PLOTS)) if self._roomy else "")

    def on_resize(self) -> None:
        self.query_one(Plot).forget()
        self.call_after_refresh(self._draw)

    def _placed(self) -> tuple[str, Plot]:
        """The kind of plot that is shown, and where, after table and plot got their places."""
        shown, plot = self._shown, self.query_one(Plot)
        self.query_one(VerticalScroll).display = self._roomy or not shown
        plot.display = bool(shown)
        return shown, plot
