"""The application: themes, keys, screens, and the one thread that talks to the store."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar, ParamSpec, TypeVar

from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.dom import DOMNode
from textual.driver import Driver
from textual.screen import Screen
from textual.signal import Signal

from acs_assistant import paths
from acs_assistant.errors import AcsError, InternalError
from acs_assistant.tui.graphics import Graphics, GraphicsFound, may_ask
from acs_assistant.tui.keys import KEYS, bindings, unknown_ids
from acs_assistant.tui.runner import step_back
from acs_assistant.tui.stderr_guard import stderr_guard
from acs_assistant.tui.text import plain
from acs_assistant.tui.themes import DARK, THEMES

if TYPE_CHECKING:
    from acs_assistant.domain import Task
    from acs_assistant.engine.services import Services
    from acs_assistant.engine.session import Session
    from acs_assistant.tui.training_run import TrainingRun
    from acs_assistant.tui.widgets.picture import Picture

LEAVE_SECONDS = 10.0
"""How long leaving waits for model and simulator to stop."""

P = ParamSpec("P")
T = TypeVar("T")


class AcsApp(App[None]):
    """Screens over ``Services``. Nothing here waits for a model, a simulator or the disk.

    Attributes:
        services: Settings, store, and the makers of the slow parts.
        clock: Monotonic seconds; tests give their own.
        opened: Sessions that this app holds, also while they close behind the screen.
        training: The fine-tuning that runs, or ran last; it outlives its screen.
        sets_apart: Keep long collections of garbage away from the drawing thread; the process is
            the app's own then.
        graphics: How this terminal shows pictures; None while that is not known, or it cannot.
        pictures: Those that are on a screen.
    """

    CSS_PATH = "app.tcss"
    TITLE = "ACS Assistant"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[Binding | tuple[str, str] | tuple[str, str, str]]] = bindings("app")
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide"), (150, "-rich")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (34, "-tall")]  # noqa: RUF012

    def __init__(
        self,
        services: Services,
        *,
        clock: Callable[[], float] = time.monotonic,
        driver_class: type[Driver] | None = None,
    ) -> None:
        super().__init__(driver_class=driver_class)
        self.services = services
        self.clock = clock
        self.opened: set[int] = set()
        self.sets_apart = False
        self.closing: dict[int, threading.Thread] = {}
        self.training: TrainingRun | None = None
        self.graphics: Graphics | None = None
        self.graphics_changed_signal: Signal[Graphics] = Signal(self, "graphics-changed")
        self.pictures: set[Picture] = set()
        self._store_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._artist = ThreadPoolExecutor(1, "artist", step_back)
        for theme in THEMES:
            self.register_theme(theme)
        chosen = services.settings.interface.theme
        self.theme = chosen if chosen in self.available_themes else DARK.name

    async def offload(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs disk work in the store's thread and waits for it without blocking the screen."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._store_thread, lambda: work(*args, **kwargs))

    # -- pictures ----------------------------------------------------------------------------

    def on_graphics_found(self, message: GraphicsFound) -> None:
        """Kitty's placeholders carry a number in their colour, which 256 colours cannot say."""
        found = message.graphics
        if found.protocol == "kitty" and self.console.color_system != "truecolor":
            return
        self.graphics = found
        self.graphics_changed_signal.publish(found)

    async def draw(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a drawing in the one thread for them, which stands back behind the screen's."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._artist, lambda: work(*args, **kwargs))

    def send(self, data: str) -> None:
        """Writes to the terminal, between two frames."""
        if self._driver is not None and data:
            self._driver.write(data)

    def _end_update(self) -> None:
        """Pictures that are painted over cells belong into the frame that wrote the cells."""
        for picture in self.pictures:
            self.send(picture.painting())
        super()._end_update()

    # -- the life of the app -----------------------------------------------------------------

    def on_mount(self) -> None:
        from acs_assistant.tui.screens.sessions import SessionsScreen

        self._use_keymap()
        self.push_screen(SessionsScreen())

    def _use_keymap(self) -> None:
        keymap = self.services.settings.keys
        wrong = unknown_ids(keymap)
        if wrong:
            self.notify(
                f"The key map names no such key: {', '.join(wrong)}. F1 lists every id.",
                title="Key map",
                severity="warning",
                markup=False,
            )
        self.set_keymap({id: key for id, key in keymap.items() if id not in wrong})

    def handle_bindings_clash(self, clashed_bindings: set[Binding], node: DOMNode) -> None:
        names = ", ".join(sorted(binding.id or binding.key for binding in clashed_bindings))
        self.notify(
            f"Two keys of the key map are the same: {names}.",
            title="Key map",
            severity="warning",
            markup=False,
        )

    def fail(self, error: BaseException) -> None:
        """Shows an error with what to do next. The app goes on."""
        if not isinstance(error, AcsError):
            error = InternalError(f"{type(error).__name__}: {error}")
        text = plain(error.message) + (f"\n{plain(error.hint)}" if error.hint else "")
        self.notify(text, title=error.title, severity="error", timeout=12, markup=False)

    @work(group="open", exclusive=True)
    async def new_session(
        self, task: Task, *, proposer: str, model: str, budget: int, seed: int, run: bool
    ) -> None:
        """Stores a session and shows it."""
        try:
            session = await self.offload(
                self.services.new_session,
                task, proposer=proposer, model=model, budget=budget, seed=seed,
            )  # fmt: skip
        except AcsError as error:
            self.fail(error)
            return
        await self._show(session, run=run)

    @work(group="open", exclusive=True)
    async def open_session(self, session: int) -> None:
        """Opens a stored session where it was left."""
        leaving = self.closing.pop(session, None)
        if leaving is not None:
            await asyncio.to_thread(leaving.join)
        try:
            opened = await self.offload(self.services.open_session, session)
        except AcsError as error:
            self.fail(error)
            return
        await self._show(opened, run=False)

    async def _show(self, session: Session, *, run: bool) -> None:
        from acs_assistant.tui.screens.design import DesignScreen
        from acs_assistant.tui.screens.new_session import NewSessionScreen

        self.opened.add(session.id)
        screen = DesignScreen(session, run=run)
        if isinstance(self.screen, NewSessionScreen):
            await self.switch_screen(screen)
        else:
            await self.push_screen(screen)
        if self.sets_apart:
            self.call_after_refresh(_set_apart)

    # -- actions of every screen --------------------------------------------------------------

    def action_help(self) -> None:
        from acs_assistant.tui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(scopes_of(self.screen)))

    def action_doctor(self) -> None:
        from acs_assistant.tui.screens.doctor import DoctorScreen

        if not isinstance(self.screen, DoctorScreen):
            self.push_screen(DoctorScreen())

    def action_settings(self) -> None:
        from acs_assistant.tui.screens.settings import SettingsScreen

        if not isinstance(self.screen, SettingsScreen):
            self.push_screen(SettingsScreen())

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette is the table of keys, and the themes."""
        for key in KEYS:
            if key.scope in (*scopes_of(screen), "app") and key.id != "app.palette":
                yield SystemCommand(
                    f"{key.label}  ({key.display})", key.tooltip, self._runner(screen, key.action)
                )
        for theme in THEMES:
            name = theme.name
            yield SystemCommand(
                f"Theme: {name.removeprefix('acs-')}",
                "Colours of the screen",
                lambda name=name: setattr(self, "theme", name),
            )

    def _runner(self, screen: Screen[object], action: str) -> Callable[[], None]:
        async def act() -> None:
            await self.run_action(action, screen)

        def start() -> None:
            self.call_later(act)

        return start

    async def action_quit(self) -> None:
        """Leaves at once: every stage of every session is on disk already."""
        self.exit()

    def on_unmount(self) -> None:
        if self.training is not None:
            self.training.stop()
        self._store_thread.shutdown(wait=False, cancel_futures=True)
        self._artist.shutdown(wait=False, cancel_futures=True)


def _set_apart() -> None:
    """What lives as long as a session is no longer looked through for garbage.

    A full collection over it takes the drawing thread some 150 ms, about once a turn. What an
    earlier session left is looked through once more first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def scopes_of(screen: Screen[object]) -> tuple[str, ...]:
    """Scopes of the key table that a screen answers to."""
    return tuple(getattr(screen, "KEY_SCOPES", ()))


def picture_driver(setting: str, environ: Mapping[str, str]) -> type[Driver] | None:
    """The driver that asks the terminal for pictures; None where that is not wanted or no use.

    Args:
        setting: ``interface.images`` of the settings.
        environ: A browser's session names another driver in it.
    """
    if setting == "never" or "TEXTUAL_DRIVER" in environ or sys.platform == "win32":
        return None
    if setting == "auto" and not may_ask(environ):
        return None
    from acs_assistant.tui.graphics_driver import GraphicsDriver

    return GraphicsDriver


def run(services: Services) -> None:
    """Runs the app in this terminal until it is left."""
    log = None if os.environ.get("ACS_ASSISTANT_NO_LOG") else paths.cache_dir() / "stderr.log"
    with stderr_guard(log):
        # the drawing thread gets the interpreter back from the engine's within a millisecond
        sys.setswitchinterval(0.001)
        driver = picture_driver(services.settings.interface.images, os.environ)
        app = AcsApp(services, driver_class=driver)
        app.sets_apart = True
        app.run()
        for leaving in app.closing.values():
            leaving.join(LEAVE_SECONDS)
