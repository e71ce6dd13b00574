"""The gm/Id chart of a device, with its operating point on it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

import numpy as np
from textual import work
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.domain import OperatingPoint, Task, Turn
from acs_assistant.engine.drawing import device_chart, export_chart
from acs_assistant.errors import AcsError
from acs_assistant.report.gmid import AXES, DeviceChart, gmid
from acs_assistant.tui.keys import bindings
from acs_assistant.tui.screens.page import Bindings, Page
from acs_assistant.tui.state import sizing_of
from acs_assistant.tui.text import MISSING, plain
from acs_assistant.tui.widgets.devices import inversion
from acs_assistant.tui.widgets.key_bar import KeyBar
from acs_assistant.tui.widgets.plot import Chart, Curve, Decades, Linear, Plot
from acs_assistant.units import format_quantity

_STYLES = ("primary", "secondary", "foreground")


class GmIdScreen(Page):
    """One device at a time; its transistor is simulated once and then read from the cache.

    Args:
        points: Operating points of the turn.
        selected: Which device comes first.
    """

    CSS_PATH = "gmid.tcss"
    KEY_SCOPES: ClassVar[tuple[str, ...]] = ("gmid", "page")
    BINDINGS: ClassVar[Bindings] = bindings("gmid", "page")

    def __init__(
        self, task: Task, turn: Turn, points: tuple[OperatingPoint, ...], selected: int
    ) -> None:
        super().__init__()
        self.task_of_session = task
        self.turn = turn
        self.points = points
        self.selected = selected
        self.charts: dict[str, DeviceChart] = {}
        self.failures: dict[str, str] = {}
        self._axis = 0
        self._cancel = CancelToken()

    @property
    def point(self) -> OperatingPoint:
        """The device that is looked at."""
        return self.points[self.selected]

    def compose(self) -> ComposeResult:
        yield Static(classes="page-title", markup=False)
        yield Plot(id="gmid", classes="panel")
        yield Static(id="gmid-words", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        self.acs.theme_changed_signal.subscribe(self, lambda _: self._recolour())
        self._look()

    def on_unmount(self) -> None:
        self._cancel.cancel()

    def _recolour(self) -> None:
        self.query_one(Plot).forget()
        self._draw()

    def _look(self) -> None:
        self._draw()
        if self.point.name not in self.charts:
            self._characterise()

    @work(exclusive=True, group="characterise")
    async def _characterise(self) -> None:
        point, turn, task = self.point, self.turn, self.task_of_session
        self._cancel.cancel()
        cancel = self._cancel = CancelToken()
        self.failures.pop(point.name, None)

        def work() -> DeviceChart:
            return device_chart(
                self.acs.services.simulator(), task.circuit, sizing_of(turn), task.conditions,
                turn, point, cancel,
            )  # fmt: skip

        try:
            self.charts[point.name] = await asyncio.to_thread(work)
        except CancelledError:
            return
        except AcsError as error:
            self.failures[point.name] = f"{plain(error.message)}\n{plain(error.hint)}".strip()
        if self.is_mounted:
            self._draw()

    # -- keys -------------------------------------------------------------------------------

    def action_device(self, step: int) -> None:
        """The next device, or the one before."""
        self.selected = (self.selected + step) % len(self.points)
        self._look()

    def action_axis(self, step: int) -> None:
        """The next quantity against gm/Id."""
        self._axis = (self._axis + step) % len(AXES)
        self._draw()

    @work(group="dialog", exclusive=True)
    async def action_figure(self) -> None:
        from acs_assistant.tui.screens.figure import FigureDialog

        chart = self.charts.get(self.point.name)
        if chart is None:
            self.notify("There is no chart of this device to write.")
            return

        def write(name: str, path: Path) -> None:
            export_chart(chart, path)

        what = f"gm/Id of {chart.device}: Id/W, gm/gds and fT"
        stem = f"{self.task_of_session.circuit.name}-{chart.device.lower()}"
        await self.app.push_screen_wait(FigureDialog([("gmid", what)], "gmid", stem, write))

    # -- drawing ----------------------------------------------------------------------------

    def on_resize(self) -> None:
        self.query_one(Plot).forget()
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        point = self.point
        title = self.query_one(".page-title", Static)
        title.update(f"gm/Id of {point.name} · {point.kind} · turn {self.turn.index}")
        plot, words = self.query_one(Plot), self.query_one("#gmid-words", Static)
        chart = self.charts.get(point.name)
        fault = self.failures.get(point.name)
        name, label, unit = AXES[self._axis]
        plot.entitle(f"{label}{f' ({unit})' if unit else ''} over gm/Id (1/V)")
        empty = "Simulating the transistor at several lengths; the next time it is at hand…"
        if fault is not None:
            empty = f"✗ There is no chart of {point.name}: {fault}"
        if chart is None:
            plot.show(None, empty)
        else:
            plot.show(device_plot(chart, name), empty, lambda look: gmid(chart, look, name))
        words.update(_words(chart, point) if chart is not None else Content(""))


def device_plot(chart: DeviceChart, name: str) -> Chart:
    """One quantity against gm/Id, on a log axis, and the device as a point.

    Args:
        name: An attribute of ``Curve`` and ``Point`` in ``report.gmid``.
    """
    curves = [
        Curve(
            tuple(curve.gm_over_id.tolist()),
            tuple(np.log10(np.maximum(getattr(curve, name), 1e-30)).tolist()),
            style,
        )
        for curve, style in zip(chart.curves, _STYLES, strict=False)
    ]
    value = getattr(chart.point, name)
    if value:
        here = (chart.point.gm_over_id,), (float(np.log10(value)),)
        curves.append(Curve(*here, "accent", points=True))
    others = " and ".join(f"{format_quantity(c.length, 3)}m" for c in chart.curves[1:])
    own = format_quantity(chart.length, 3)
    caption = f"● {chart.device} · line: L {own}m" + (f", thinner: {others}" if others else "")
    caption += f" · curves at Vds {chart.vds:g} V"
    return Chart(f"gm/Id of {chart.device}: {name}", tuple(curves), caption, Linear(), Decades())


def _words(chart: DeviceChart, point: OperatingPoint) -> Content:
    place = chart.point
    speed = MISSING if place.speed is None else f"{format_quantity(place.speed, 3)} Hz"
    return Content.assemble(
        (f"{chart.device} ", "bold"),
        f"{chart.transistor}  W {format_quantity(chart.width, 4)}m  L "
        f"{format_quantity(chart.length, 4)}m  {point.region}\n",
        f"gm/Id {place.gm_over_id:.1f} /V ({inversion(place.gm_over_id)} inversion)  "
        f"Id/W {format_quantity(place.density, 3)} A/m  gm/gds {place.gain:.0f}  fT {speed}  "
        f"Id {format_quantity(point.id, 3)} A  vds−vdsat {1e3 * (point.vds - point.vdsat):.0f} mV",
    )
