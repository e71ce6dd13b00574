"""Textual's driver for Unix terminals, which also asks the terminal for pictures."""

from __future__ import annotations

import fcntl
import os
import selectors
import struct
import termios
from codecs import getincrementaldecoder
from typing import TYPE_CHECKING, Any, cast

from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.events import Resize
from textual.message import Message

from acs_assistant.tui.graphics import Cell, Graphics, GraphicsFound, Inquiry

if TYPE_CHECKING:
    from acs_assistant.tui.app import AcsApp

_TICK = 0.1
"""Seconds without input after which the parser decides what a lone Escape was."""


class GraphicsDriver(LinuxDriver):
    """Asks once the app is on the screen; the answers never reach the app as keys."""

    def __init__(self, app: AcsApp, **parts: Any) -> None:
        super().__init__(app, **parts)
        setting = app.services.settings.interface.images
        self._inquiry = Inquiry(setting, os.environ, cell_size(self.fileno))
        self._told: Graphics | None = None
        self._asking = False

    def start_application_mode(self) -> None:
        super().start_application_mode()  # type: ignore[no-untyped-call]
        self._asking = True
        self._converse()

    def _converse(self) -> None:
        """Asks what is to be asked, and tells the app what was found."""
        if not self._asking:
            return
        question, self._inquiry.question = self._inquiry.question, ""
        if question:
            self.write(question)
        found = self._inquiry.graphics
        if found is not None and found != self._told:
            self._told = found
            self.send_message(GraphicsFound(found))

    def process_message(self, message: Message) -> None:
        if isinstance(message, Resize):
            self._measure()
        super().process_message(message)

    def _get_terminal_size(self) -> tuple[int, int]:
        self._measure()
        return super()._get_terminal_size()

    def _measure(self) -> None:
        """Another window or font: the cells may have another size."""
        self._inquiry.resized(cell_size(self.fileno))
        self._converse()

    def run_input_thread(self) -> None:
        """Reads what is typed; what the terminal answered goes to the inquiry instead."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")().decode
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if selector.select(_TICK):
                    data = os.read(self.fileno, 4096)
                    if not data:  # the terminal is gone; the signal that says so is on its way
                        self.exit_event.wait(_TICK)
                    typed = self._inquiry.feed(decode(data))
                    self._converse()
                else:
                    typed = self._inquiry.release()
                if typed:
                    for event in parser.feed(typed):
                        self.process_message(cast("Any", event))
                for event in parser.tick():
                    self.process_message(cast("Any", event))


def cell_size(fileno: int) -> Cell | None:
    """Pixels of a cell as the kernel knows them; None when the terminal has not said."""
    try:
        answer = fcntl.ioctl(fileno, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return None
    rows, columns, width, height = struct.unpack("4H", answer)
    if not (rows and columns and width >= columns and height >= rows):
        return None
    return width // columns, height // rows
