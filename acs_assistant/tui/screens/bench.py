"""Benchmark results: folders, shares met with their intervals, curves, boxes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from acs_assistant import paths
from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.errors import AcsError
from acs_assistant.tui.keys import bindings
from acs_assistant.tui.screens.page import Bindings, Page
from acs_assistant.tui.text import plain, when
from acs_assistant.tui.widgets.bench_view import boxes_text, shares_table, success_chart
from acs_assistant.tui.widgets.key_bar import KeyBar
from acs_assistant.tui.widgets.training_view import Figures, counted

VIEWS = ("shares", "curves", "boxes")


class BenchScreen(Page):
    """Left the folders; the rest is of the one under the cursor. Reading never blocks."""

    CSS_PATH = "bench.tcss"
    KEY_SCOPES: ClassVar[tuple[str, ...]] = ("bench", "page")
    BINDINGS: ClassVar[Bindings] = [*bindings("page"), *bindings("bench")]

    def __init__(self, places: tuple[Path, ...] = ()) -> None:
        super().__init__()
        self._places = places or (Path.cwd(), paths.data_dir() / "bench")
        self._found: list[Any] = []
        self._results: Any = None
        self._curves: dict[str, Any] = {}
        self._scope = 0
        self._chosen = 0
        self._cancel = CancelToken()

    def compose(self) -> ComposeResult:
        yield Static("Benchmarks", classes="page-title", id="title", markup=False)
        with Horizontal(id="bench"):
            yield OptionList(id="folders", compact=True, markup=False, classes="panel")
            with Vertical(id="results"):
                with VerticalScroll(id="shares", classes="panel"):
                    yield Static("Looking for results…", markup=False, id="shares-text")
                yield Figures(id="curves", classes="panel")
                with VerticalScroll(id="boxes", classes="panel"):
                    yield Static("", markup=False, id="boxes-text")
        yield KeyBar()

    def on_mount(self) -> None:
        titles = {"folders": "Folders", "shares": "Specs met, %",
                  "curves": "Specs met against simulations, %",
                  "boxes": "Simulations to the first success"}  # fmt: skip
        for name, title in titles.items():
            self.query_one(f"#{name}").border_title = title
        self.query_one("#folders").focus()
        self.acs.theme_changed_signal.subscribe(self, lambda _: self._draw())
        self.action_view("shares")
        self._find()

    def on_unmount(self) -> None:
        self._cancel.cancel()

    # -- folders ------------------------------------------------------------------------------

    @work(group="fill", exclusive=True)
    async def _find(self) -> None:
        self._found = list(await asyncio.to_thread(self.acs.services.find_benchmarks, self._places))
        self._list()
        if not self._found:
            self._say(
                Content.assemble(
                    "No results here yet. They come from\n\n",
                    ("  acs-assistant bench --tasks FILE.json --proposers model,tpe --out DIR\n\n",
                     "$text-accent"),
                    f"in {', '.join(str(place) for place in self._places)} and below; "
                    "o opens another folder.",
                )
            )  # fmt: skip

    def _list(self) -> None:
        folders = self.query_one("#folders", OptionList)
        folders.clear_options()
        for one in self._found:
            sign = "✓" if one.ended else "…"
            folders.add_option(
                Option(f"{sign} {plain(self._label(one.folder))}\n  {when(one.changed)}")
            )
        if self._found:
            folders.highlighted = 0

    def _label(self, folder: Path) -> str:
        for place in self._places:
            if folder != place and folder.is_relative_to(place):
                return str(folder.relative_to(place))
        return folder.name

    @on(OptionList.OptionHighlighted, "#folders")
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self._read(self._found[event.option_index].folder)

    @work(group="load", exclusive=True)
    async def _read(self, folder: Path) -> None:
        read = self.acs.services.read_benchmark
        if read is None:
            self._say(Content("Benchmarks cannot be read here."))
            return
        self._cancel.cancel()
        self._cancel = cancel = CancelToken()
        self._results = None
        self._say(Content(f"Reading {plain(folder.name)}…"))
        try:
            results = await asyncio.to_thread(read, folder, cancel, self._progress(folder, cancel))
        except CancelledError:
            return
        except AcsError as error:
            self._say(
                Content.assemble(
                    (f"✗ {plain(error.message)}\n", "$text-error"),
                    (plain(error.hint), "$text-accent"),
                )
            )
            return
        if not cancel.cancelled:
            self._results, self._scope, self._chosen, self._curves = results, 0, 0, {}
            await self._scoped()

    def _progress(self, folder: Path, cancel: CancelToken) -> Any:
        """Says how much is read, some times a second."""
        last = time.monotonic()

        def said(share: float) -> None:
            nonlocal last
            if time.monotonic() - last > 0.2 and not cancel.cancelled:
                last = time.monotonic()
                text = f"Reading {plain(folder.name)}… {100 * share:.0f} %"
                self.app.call_from_thread(self._say, Content(text))

        return said

    async def _scoped(self) -> None:
        """Works out the curves of the scope, off the thread that draws."""
        results, scope = self._results, self._scope_name()
        if scope not in self._curves:
            curves = await asyncio.to_thread(results.curves, scope)
            if results is not self._results:
                return
            self._curves[scope] = curves
        self._draw()

    # -- drawing ------------------------------------------------------------------------------

    def _say(self, text: Content) -> None:
        self.query_one("#shares-text", Static).update(text)
        self.query_one("#curves", Figures).show(None, "")
        self.query_one("#boxes-text", Static).update("")

    def _scope_name(self) -> str:
        names = list(self._results.scopes())
        return str(names[self._scope % len(names)])

    def _draw(self) -> None:
        results = self._results
        self.refresh_bindings()
        if results is None or self._scope_name() not in self._curves:
            return
        scope = self._scope_name()
        group, names = results.scopes()[scope], list(results.summary.overall)
        first = next(iter(group.values()))
        state = "" if results.ended else " · not ended"
        self.query_one("#title", Static).update(
            f"Benchmarks · {plain(results.folder.name)} · {scope}: {counted(first.tasks, 'task')}, "
            f"{counted(results.summary.seeds, 'seed')}, "
            f"{counted(results.summary.budget, 'simulation')}{state}"
        )
        width = self.query_one("#shares").scrollable_content_region.width
        self.query_one("#shares-text", Static).update(shares_table(group, names, max(width, 40)))
        chosen = names[self._chosen % len(names)]
        self.query_one("#curves", Figures).show(
            success_chart(self._curves[scope], names, chosen), ""
        )
        self.query_one("#curves").border_subtitle = f"thin lines: interval of {chosen}"
        width = self.query_one("#boxes").scrollable_content_region.width
        self.query_one("#boxes-text", Static).update(
            boxes_text(results.firsts(), names, results.summary.budget, max(width, 40))
        )

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    # -- keys ---------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "scope":
            return self._results is not None
        return True

    def action_view(self, view: str) -> None:
        """The one view that a small screen shows; again: the next proposer's interval."""
        if self.has_class(f"-{view}") and view == "curves":
            self._chosen += 1
        for name in VIEWS:
            self.set_class(name == view, f"-{name}")
        self.call_after_refresh(self._draw)

    @work(group="scope", exclusive=True)
    async def action_scope(self) -> None:
        self._scope += 1
        await self._scoped()

    @work(group="folder", exclusive=True)
    async def action_folder(self) -> None:
        from acs_assistant.tui.screens.pick import PickDialog

        picked = await self.app.push_screen_wait(
            PickDialog("Folder with results.jsonl", Path.cwd(), folders=True)
        )
        if picked is not None:
            self._places = (picked,)
            self._find()

    def action_again(self) -> None:
        self._find()
