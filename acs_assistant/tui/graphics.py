"""Pictures in the terminal: which protocol it knows, and what is written to show one.

The terminal is asked while the app runs already, and its answers are taken out of what is typed: no
key press is lost, the first paint waits for nothing, and a terminal that says nothing gets the
native plots. Sources: Kitty graphics protocol (sw.kovidgoyal.net/kitty/graphics-protocol, Unicode
placeholders), iTerm2 inline images (iterm2.com/documentation-images.html), DEC STD 070 for the
primary device attributes (4 is Sixel), xterm's ctlseqs for the size of a cell.
"""

from __future__ import annotations

import io
import re
import sys
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from random import randrange
from typing import TYPE_CHECKING, Any, Literal

from textual.geometry import Region
from textual.message import Message

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.segment import Segment

Protocol = Literal["kitty", "iterm2", "sixel"]
Cell = tuple[int, int]
"""Width and height of a character cell in pixels."""

USUAL_CELL: Cell = (10, 20)
_CHUNK = 4096  # bytes of base64 in one Kitty command
_BAND = 6  # rows of pixels in one row of sixels
_QUESTION = 31  # the id under which support for Kitty's protocol is asked
_ASK_CELL = "\x1b[16t"
_ASK_ATTRIBUTES = "\x1b[c"
_ASK_KITTY = f"\x1b_Gi={_QUESTION},s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
_ANSWER = re.compile(
    r"\x1b\[\?(?P<attributes>[\d;]*)c"
    r"|\x1b\[6;(?P<height>\d+);(?P<width>\d+)t"
    rf"|\x1b_Gi={_QUESTION}[^;\x1b]*;(?P<kitty>[^\x1b]*)\x1b\\"
)
_BEGUN = re.compile(
    r"\x1b(\[(\?[\d;]*|6(;\d*){0,2})?|_(G(i(=(3(1([^\x1b]*\x1b?)?)?)?)?)?)?)?\Z"
)  # an answer that the rest of is still to come


@dataclass(frozen=True, slots=True)
class Graphics:
    """What the terminal can show, and the size of its cells."""

    protocol: Protocol
    cell: Cell


class GraphicsFound(Message):
    """The terminal has answered."""

    def __init__(self, graphics: Graphics) -> None:
        super().__init__()
        self.graphics = graphics


def may_ask(environ: Mapping[str, str]) -> bool:
    """Whether this terminal can be asked at all: not one that would print the question."""
    return (
        not environ.get("NO_COLOR")
        and environ.get("TERM", "") not in ("", "dumb", "linux")
        and environ.get("TERM_PROGRAM") != "Apple_Terminal"
    )


class Inquiry:
    """The conversation with the terminal, without the terminal.

    Args:
        setting: "auto", or the protocol to use whatever the terminal says.
        environ: What the terminal has set.
        cell: The size of a cell as the kernel knows it; None when it does not.

    Attributes:
        question: What to write to the terminal next; empty when there is nothing.
    """

    def __init__(self, setting: str, environ: Mapping[str, str], cell: Cell | None) -> None:
        self._environ = environ
        self._cell = cell
        self._protocol: Protocol | None = None
        self._held = ""
        self.question = "" if cell is not None else _ASK_CELL
        if setting in ("kitty", "iterm2", "sixel"):
            self._protocol = setting  # type: ignore[assignment]
        else:
            self.question += _ASK_ATTRIBUTES

    @property
    def graphics(self) -> Graphics | None:
        """The finding; None while there is none."""
        if self._protocol is None:
            return None
        return Graphics(self._protocol, self._cell or USUAL_CELL)

    def resized(self, cell: Cell | None) -> None:
        """The size of a cell may have changed."""
        self._cell = cell or self._cell

    def feed(self, text: str) -> str:
        """Takes the answers out of what came from the terminal; returns what was typed.

        The beginning of an answer is held back for the next call or for ``release``.
        """
        typed = _ANSWER.sub(self._answered, self._held + text)
        begun = _BEGUN.search(typed)
        self._held = begun[0] if begun else ""
        return typed.removesuffix(self._held)

    def release(self) -> str:
        """What was held back and is no answer after all: nothing came behind it."""
        held, self._held = self._held, ""
        return held

    def _answered(self, answer: re.Match[str]) -> str:
        if answer["height"] is not None:
            width, height = int(answer["width"]), int(answer["height"])
            if width and height:
                self._cell = (width, height)
        elif answer["attributes"] is not None:
            if self._protocol is None:
                self._choose(answer["attributes"].split(";"))
        elif answer["kitty"] == "OK":
            self._protocol = "kitty"
        return ""

    def _choose(self, attributes: Sequence[str]) -> None:
        """The best that the terminal knows.

        Konsole and WezTerm say that they know Kitty's protocol and do not know its placeholders, so
        only terminals that do are asked. What sits between, tmux and screen, passes Sixel only.
        """
        environ = self._environ
        term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
        nested = "TMUX" in environ or term.startswith(("tmux", "screen"))
        iterm = environ.get("LC_TERMINAL") == "iTerm2" or program in ("iTerm.app", "WezTerm")
        if iterm and not nested:
            self._protocol = "iterm2"
        elif "4" in attributes[1:]:
            self._protocol = "sixel" if self._cell is not None else None
        elif not nested and (
            term in ("xterm-kitty", "xterm-ghostty")
            or "KITTY_WINDOW_ID" in environ
            or program in ("kitty", "ghostty")
        ):
            self.question = _ASK_KITTY


# -- what is written --------------------------------------------------------------------------

_numbers = count(randrange(1, 0x800000))


def new_number() -> int:
    """A number for an image in Kitty: it fits into a colour of 24 bits."""
    return next(_numbers) & 0xFFFFFF or 1


def pixel_size(graphics: Graphics, columns: int, rows: int) -> tuple[int, int]:
    """Pixels of an image that fills so many cells and spills over into no other."""
    width, height = columns * graphics.cell[0], rows * graphics.cell[1]
    if graphics.protocol == "sixel":
        height -= height % _BAND
    return width, height


def kitty_image(image: Image, number: int, columns: int, rows: int) -> str:
    """Sends an image and lays it out for placeholders."""
    data = b64encode(_png(image)).decode("ascii")
    chunks = [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)]
    keys = f"a=T,U=1,f=100,q=2,i={number},c={columns},r={rows},"
    parts = []
    for place, chunk in enumerate(chunks, start=1):
        parts.append(f"\x1b_G{keys}m={int(place < len(chunks))};{chunk}\x1b\\")
        keys = ""
    return "".join(parts)


def kitty_delete(number: int) -> str:
    """Frees an image."""
    return f"\x1b_Ga=d,d=I,i={number},q=2\x1b\\"


def kitty_cells(number: int, image: Image, columns: int, rows: int) -> list[list[Segment]]:
    """The placeholders, a segment for each cell, so that what lies over them may cut anywhere."""
    from rich.console import Console
    from rich.segment import Segment

    picture = _library().Image(image, columns, rows)
    picture.terminal_image_id = number  # it is sent already
    console = Console(width=columns, height=rows)
    lines = []
    for text, style, _ in picture.__rich_console__(console, console.options):
        cells = text.rstrip("\n")
        size = len(cells) // columns
        lines.append([Segment(cells[at : at + size], style) for at in range(0, len(cells), size)])
    return lines


def encoded(image: Image, protocol: Protocol, columns: int, rows: int) -> str:
    """An image as "sixel" or "iterm2" writes it at the cursor; its size is in cells."""
    if protocol == "sixel":
        from textual_image._sixel import image_to_sixels

        return image_to_sixels(image)
    png = _png(image)
    return (
        f"\x1b]1337;File=inline=1;size={len(png)};width={columns};height={rows};"
        f"preserveAspectRatio=0:{b64encode(png).decode('ascii')}\x07"
    )


def placed(data: str, region: Region) -> str:
    """Writes something at a place of the screen and puts the cursor back."""
    return f"\x1b7\x1b[{region.y + 1};{region.x + 1}H{data}\x1b8"


def uncovered(region: Region, covers: Sequence[Region]) -> list[Region]:
    """Rectangles that make up what none of the covers hides."""
    pieces = [region]
    for cover in covers:
        rest: list[Region] = []
        for piece in pieces:
            hidden = piece.intersection(cover)
            if not hidden:
                rest.append(piece)
                continue
            rest += [
                Region(piece.x, piece.y, piece.width, hidden.y - piece.y),
                Region(piece.x, hidden.bottom, piece.width, piece.bottom - hidden.bottom),
                Region(piece.x, hidden.y, hidden.x - piece.x, hidden.height),
                Region(hidden.right, hidden.y, piece.right - hidden.right, hidden.height),
            ]
        pieces = [piece for piece in rest if piece]
    return pieces


def _png(image: Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="png", compress_level=2)
    return stream.getvalue()


class _NoTerminal:
    """Stands for stdout while a library is loaded that would ask the terminal through it."""

    def __init__(self, stream: object) -> None:
        self._stream = stream

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def _library() -> Any:
    """``textual_image.renderable.tgp``, loaded without its own questions to the terminal."""
    stdout = sys.__stdout__
    sys.__stdout__ = _NoTerminal(stdout)  # type: ignore[misc, assignment]
    try:
        from textual_image.renderable import tgp
    finally:
        sys.__stdout__ = stdout  # type: ignore[misc]
    return tgp
