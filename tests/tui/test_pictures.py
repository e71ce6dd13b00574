"""Plots as pictures: what the terminal is asked, what it answers, and what is sent to it then."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from textual.geometry import Region

from acs_assistant.tui import graphics as g
from acs_assistant.tui.app import picture_driver
from acs_assistant.tui.graphics import Graphics, Inquiry

KITTY = {"TERM": "xterm-kitty"}
XTERM = {"TERM": "xterm-256color"}
ITERM = {"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}
ATTRIBUTES = "\x1b[?62;4;22c"
OK = "\x1b_Gi=31;OK\x1b\\"
PLACEHOLDER = "\U0010eeee"


# -- the conversation -------------------------------------------------------------------------


def test_kitty_is_asked_for_its_own_protocol() -> None:
    talk = Inquiry("auto", KITTY, (9, 18))
    assert talk.question == "\x1b[c"
    talk.question = ""
    assert talk.feed("\x1b[?62;c") == "" and talk.graphics is None
    assert talk.question.startswith("\x1b_Gi=31,") and "a=q" in talk.question
    assert talk.feed(OK) == ""
    assert talk.graphics == Graphics("kitty", (9, 18))


def test_the_size_of_a_cell_is_asked_when_the_kernel_does_not_know_it() -> None:
    talk = Inquiry("auto", XTERM, None)
    assert talk.question == "\x1b[16t\x1b[c"
    assert talk.feed("\x1b[6;21;11t" + ATTRIBUTES) == ""
    assert talk.graphics == Graphics("sixel", (11, 21))
    talk.resized((8, 16))
    assert talk.graphics == Graphics("sixel", (8, 16))


def test_sixels_of_cells_of_unknown_size_are_not_painted() -> None:
    talk = Inquiry("auto", XTERM, None)
    talk.feed(ATTRIBUTES)
    assert talk.graphics is None


@pytest.mark.parametrize(
    ("environ", "answer", "found"),
    [
        (ITERM, ATTRIBUTES, "iterm2"),
        ({**ITERM, "TMUX": "/tmp/tmux"}, ATTRIBUTES, "sixel"),
        ({**KITTY, "TMUX": "/tmp/tmux"}, "\x1b[?1;2c", None),
        (XTERM, "\x1b[?64;1;2;6c", None),
        (XTERM, "\x1b[?4c", None),
    ],
    ids=["iterm2", "iterm2-in-tmux", "kitty-in-tmux", "plain-xterm", "level-4-is-no-attribute"],
)
def test_the_best_of_what_a_terminal_knows(
    environ: Mapping[str, str], answer: str, found: str | None
) -> None:
    talk = Inquiry("auto", environ, (10, 20))
    talk.question = ""
    assert talk.feed(answer) == ""
    assert (talk.graphics.protocol if talk.graphics else None) == found
    assert talk.question == ""


def test_a_forced_protocol_waits_for_no_answer() -> None:
    talk = Inquiry("sixel", KITTY, (10, 20))
    assert talk.question == "" and talk.graphics == Graphics("sixel", (10, 20))


@pytest.mark.parametrize(
    "typed", ["a", "\x1b", "\x1b[A", "\x1b[6~", "\x1b[27u", "\x1bOP", "é\x1b_"]
)
def test_no_key_is_lost_between_answers_that_come_in_pieces(typed: str) -> None:
    stream = f"{typed}{ATTRIBUTES}{typed}{OK}{typed}"
    for cut in range(1, len(stream)):
        talk = Inquiry("auto", XTERM, (10, 20))
        keys = talk.feed(stream[:cut]) + talk.feed(stream[cut:]) + talk.release()
        assert keys == 3 * typed
        assert talk.graphics == Graphics("kitty", (10, 20))


def test_a_lone_escape_is_only_held_until_nothing_comes() -> None:
    talk = Inquiry("auto", XTERM, (10, 20))
    assert talk.feed("\x1b") == "" and talk.release() == "\x1b" and talk.release() == ""


@pytest.mark.parametrize(
    ("setting", "environ"),
    [
        ("never", KITTY),
        ("auto", {**KITTY, "TEXTUAL_DRIVER": "textual.drivers.web_driver:WebDriver"}),
        ("kitty", {**KITTY, "TEXTUAL_DRIVER": "textual.drivers.web_driver:WebDriver"}),
        ("auto", {**KITTY, "NO_COLOR": "1"}),
        ("auto", {"TERM": "linux"}),
        ("auto", {**XTERM, "TERM_PROGRAM": "Apple_Terminal"}),
    ],
)
def test_where_nothing_is_asked(setting: str, environ: Mapping[str, str]) -> None:
    assert picture_driver(setting, environ) is None


# -- what is written --------------------------------------------------------------------------


def picture(width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), "#14171b")
    image.paste("#7aa2c9", (0, 0, width // 2, height))
    return image


def test_a_kitty_image_in_chunks_can_be_read_again() -> None:
    noise = Image.frombytes("RGB", (90, 90), os.urandom(90 * 90 * 3))
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", g.kitty_image(noise, 7, 9, 5))
    assert chunks[0][0] == "a=T,U=1,f=100,q=2,i=7,c=9,r=5,m=1" and len(chunks) > 3
    assert [keys for keys, _ in chunks[1:]] == ["m=1"] * (len(chunks) - 2) + ["m=0"]
    assert all(len(data) <= 4096 for _, data in chunks)
    back = Image.open(BytesIO(b64decode("".join(data for _, data in chunks))))
    assert back.tobytes() == noise.tobytes()


def test_placeholders_are_cells_of_their_own() -> None:
    lines = g.kitty_cells(0x123456, picture(40, 40), 4, 2)
    assert [len(line) for line in lines] == [4, 4]
    cells = {segment.text for line in lines for segment in line}
    assert len(cells) == 8 and all(cell.startswith(PLACEHOLDER) for cell in cells)
    style = lines[0][0].style
    assert style is not None and style.color is not None
    assert tuple(style.color.get_truecolor()) == (0x12, 0x34, 0x56)


def test_sixel_and_iterm2_fill_their_cells_and_no_more() -> None:
    graphics = Graphics("sixel", (10, 20))
    assert g.pixel_size(graphics, 8, 5) == (80, 96), "whole bands of six rows"
    assert g.pixel_size(Graphics("iterm2", (10, 20)), 8, 5) == (80, 100)
    sixel = g.encoded(picture(80, 96), "sixel", 8, 5)
    assert sixel.startswith("\x1bP") and '"1;1;80;96' in sixel and sixel.endswith("\x1b\\")
    inline = g.encoded(picture(80, 100), "iterm2", 8, 5)
    assert re.match(r"\x1b\]1337;File=inline=1;size=\d+;width=8;height=5;", inline)
    assert g.placed("X", Region(3, 4, 8, 5)) == "\x1b7\x1b[5;4HX\x1b8"


def test_what_covers_a_picture_is_left_out() -> None:
    region = Region(10, 5, 40, 20)
    assert g.uncovered(region, []) == [region]
    assert g.uncovered(region, [Region(0, 0, 80, 30)]) == []
    covers = [Region(30, 20, 30, 10), Region(0, 0, 12, 7)]
    pieces = g.uncovered(region, covers)
    cells = [(x, y) for p in pieces for x in range(p.x, p.right) for y in range(p.y, p.bottom)]
    assert len(cells) == len(set(cells)), "no cell twice"
    assert set(cells) == {
        (x, y)
        for x in range(10, 50)
        for y in range(5, 25)
        if not any(cover.contains(x, y) for cover in covers)
    }


# -- the app in a pseudo-terminal -------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
from acs_assistant.tui.app import run
from tests.tui.fakes import REFERENCE, make_services
from tests.tui.saved import add_session, evaluated
services = make_services(Path(sys.argv[1]))
session = add_session(services.store)
for _ in range(2):
    evaluated(services.store, session, REFERENCE)
run(services)
"""
LIMIT = 150.0


class Terminal:
    """Runs the app and answers as a terminal does; everything that the app writes is kept."""

    def __init__(
        self, folder: Path, environ: Mapping[str, str], answers: Mapping[str, str], cell: bool
    ) -> None:
        self.written = ""
        self._answers = dict(answers)
        self.pid, self._file = pty.fork()
        if not self.pid:
            unset = ("TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "TMUX", "TEXTUAL_DRIVER")
            kept = {name: value for name, value in os.environ.items() if name not in unset}
            os.execve(
                sys.executable, [sys.executable, "-c", CHILD, str(folder)], {**kept, **environ}
            )
        pixels = (1600, 960) if cell else (0, 0)
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("4H", 48, 160, *pixels))

    def until(self, seen: Callable[[str], bool], what: str) -> None:
        end = time.monotonic() + LIMIT
        while not seen(self.written):
            assert time.monotonic() < end, f"waited in vain for {what}"
            if not select.select([self._file], [], [], 0.2)[0]:
                continue
            self.written += os.read(self._file, 65536).decode("utf-8", "replace")
            for question in [q for q in self._answers if q in self.written]:
                self.type(self._answers.pop(question))

    def type(self, text: str) -> None:
        os.write(self._file, text.encode())

    def close(self) -> None:
        self.type("\x11")
        with contextlib.suppress(OSError):  # the other side is closed
            self.until(lambda written: False, "the end")
        os.close(self._file)
        assert os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]) == 0


# what is set, answered at once, answered around a key press, known to the kernel, and then seen
TERMINALS = {
    "kitty": (KITTY, {"\x1b[c": "\x1b[?62;c"}, OK, True, "\x1b_Ga=T,U=1,f=100"),
    "sixel": (XTERM, {"\x1b[16t": "\x1b[6;20;10t"}, ATTRIBUTES, False, '\x1bP0;0;0q"1;1;'),
    "iterm2": (ITERM, {}, ATTRIBUTES, True, "\x1b]1337;File=inline=1;"),
    "silent": (XTERM, {}, "", True, "●"),
}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", TERMINALS)
def test_the_app_shows_what_the_terminal_can(tmp_path: Path, name: str) -> None:
    environ, answers, late, cell, sign = TERMINALS[name]
    terminal = Terminal(tmp_path, {"COLORTERM": "truecolor", **environ}, answers, cell)
    terminal.until(lambda written: "Two-stage" in written, "the sessions")
    terminal.type(f"{late}\r")
    terminal.until(lambda written: "Best score" in written, "the design screen")
    terminal.until(lambda written: sign in written, "the picture")
    if name == "kitty":
        terminal.until(lambda written: PLACEHOLDER in written, "its cells")
    terminal.close()
    sent = terminal.written
    others = {mark for *_, mark in TERMINALS.values()} - {sign, "●"}
    assert not any(mark in sent for mark in others)
    if name == "kitty":
        number = re.search(r"a=T,U=1,f=100,q=2,i=(\d+),", sent)
        assert number is not None and g.kitty_delete(int(number[1])) in sent
    if name == "silent":
        assert "\x1b_G" not in sent and "\x1bP" not in sent
