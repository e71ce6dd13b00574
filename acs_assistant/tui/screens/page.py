"""What the screens share: a page with a title and keys, and a dialog that answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Coroutine
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.css.query import NoMatches
from textual.dom import DOMNode
from textual.reactive import Reactive
from textual.screen import ModalScreen, Screen
from textual.widget import MountError, Widget
from textual.worker import Worker

from acs_assistant.tui.abstract import AbstractMeta
from acs_assistant.tui.keys import bindings

if TYPE_CHECKING:
    from acs_assistant.tui.app import AcsApp

Answer = TypeVar("Answer")
Bindings = list[Binding | tuple[str, str] | tuple[str, str, str]]


def acs(widget: Widget) -> AcsApp:
    """The running app, typed."""
    return cast("AcsApp", widget.app)


class Leavable(DOMNode):
    """A screen that may be left while its workers wait for a thread.

    What they bring then has nowhere to be shown: panels that are being removed are no fault.
    """

    @property
    def leaving(self) -> bool:
        """The screen, or the whole app, is on its way out."""
        app = self.app
        return self._pruning or self._closing or app._exit or app._closing

    def run_worker(self, work: Any, *args: Any, **kwargs: Any) -> Worker[Any]:
        if not kwargs.get("thread"):
            work = self._leavable(work)
        return super().run_worker(work, *args, **kwargs)

    def _leavable(self, work: Any) -> Callable[[], Coroutine[Any, Any, Any]]:
        async def run() -> Any:
            try:
                result = work() if callable(work) else work
                return await result if isawaitable(result) else result
            except (NoMatches, MountError):
                if not self.leaving:
                    raise
                return None

        return run


class AcsScreen(Leavable, Screen[None]):
    """A screen. ``KEY_SCOPES`` says which keys the help and the palette list."""

    KEY_SCOPES: ClassVar[tuple[str, ...]] = ()
    AUTO_FOCUS: ClassVar[str | None] = ""
    # Textual would draw the whole screen at every change of focus
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)

    @property
    def acs(self) -> AcsApp:
        return acs(self)


class Page(AcsScreen):
    """A screen beside the work, that Escape leaves."""

    KEY_SCOPES: ClassVar[tuple[str, ...]] = ("page",)
    BINDINGS: ClassVar[Bindings] = bindings("page")

    async def action_back(self) -> None:
        self.dismiss()


class Dialog(Leavable, ModalScreen[Answer | None], Generic[Answer], metaclass=AbstractMeta):
    """A box over the screen that ends with an answer, or with None."""

    KEY_SCOPES: ClassVar[tuple[str, ...]] = ("dialog",)
    BINDINGS: ClassVar[Bindings] = bindings("dialog")
    BOX_TITLE: ClassVar[str] = ""

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box", can_focus=False) as box:
            box.border_title = self.BOX_TITLE
            box.border_subtitle = self.subtitle()
            yield from self.body()

    @abstractmethod
    def body(self) -> ComposeResult:
        """What is in the box."""

    def subtitle(self) -> str:
        return "Enter does it · Esc closes"

    @property
    def acs(self) -> AcsApp:
        return acs(self)

    def action_cancel(self) -> None:
        self.dismiss(None)
