"""A figure of matplotlib as a picture in the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from rich.segment import Segment
from textual.app import App
from textual.errors import NoWidget
from textual.geometry import Region, Size
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from acs_assistant.report.figures import PAPER, Look, pixels
from acs_assistant.tui import graphics as g
from acs_assistant.tui.widgets.themed import colour

if TYPE_CHECKING:
    from PIL.Image import Image

    from acs_assistant.tui.app import AcsApp
    from acs_assistant.tui.widgets.plot import Drawing

_WORDS = 5.0
"""Dots an inch for each pixel of a cell's height: a figure's words are as high as the screen's."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A picture that is ready to be shown.

    Attributes:
        size: In cells.
        number: Its number in Kitty.
        data: What sends it (Kitty) or paints it (the others).
        cells: Placeholders for it in Kitty.
    """

    graphics: g.Graphics
    size: Size
    image: Image
    number: int
    data: str
    cells: list[list[Segment]]


def draw(drawing: Drawing, look: Look, graphics: g.Graphics, size: Size, number: int) -> Drawn:
    """Draws and encodes; slow, so in a thread.

    Raises:
        AcsError: The figure has nothing to draw.
    """
    from PIL.Image import fromarray

    columns, rows = size
    dots = g.pixel_size(graphics, columns, rows)
    image = fromarray(pixels(drawing(look), *dots, graphics.cell[1] * _WORDS)).convert("RGB")
    if graphics.protocol == "kitty":
        data = g.kitty_image(image, number, columns, rows)
        cells = g.kitty_cells(number, image, columns, rows)
        return Drawn(graphics, size, image, number, data, cells)
    data = g.encoded(image, graphics.protocol, columns, rows)
    return Drawn(graphics, size, image, number, data, [])


def look_of(app: App[object]) -> Look:
    """The theme's colours."""
    names = {"first": "primary", "second": "accent", "met": "success", "muted": "secondary",
             "ink": "foreground", "grid": "panel", "paper": "background"}  # fmt: skip
    return Look(
        **{field: colour(app, name) or getattr(PAPER, field) for field, name in names.items()}
    )


class Picture(Widget, can_focus=False):
    """Cells that a picture fills.

    Kitty draws it under placeholders, which are cells like others. The other protocols paint over
    cells: what lies above is left out, and every frame that writes those cells paints again.
    """

    ALLOW_SELECT = False

    def __init__(self, *, classes: str = "") -> None:
        super().__init__(classes=classes)
        self.number = g.new_number()
        self._drawn: Drawn | None = None
        self._written = False
        self._pieces: dict[Region, str] = {}

    @property
    def acs(self) -> AcsApp:
        return cast("AcsApp", self.app)

    def on_mount(self) -> None:
        self.acs.pictures.add(self)

    def on_unmount(self) -> None:
        self.acs.pictures.discard(self)
        if self._drawn is not None and self._drawn.cells:
            self.acs.send(g.kitty_delete(self.number))

    def show(self, drawn: Drawn) -> None:
        """Shows it from the next frame on."""
        if drawn.cells:
            self.acs.send(drawn.data)
        self._drawn = drawn
        self._pieces.clear()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        self._written = True
        drawn = self._drawn
        if drawn is None or y >= len(drawn.cells) or drawn.size != self.size:
            return Strip.blank(self.size.width, self.rich_style)
        ground = self.rich_style.background_style
        cells = [Segment(text, ground + style if style else ground)
                 for text, style, _ in drawn.cells[y]]  # fmt: skip
        return Strip(cells, len(cells))

    def render_lines(self, crop: Region) -> list[Strip]:
        self._written = True  # the cells are written, from the cache of lines too
        return super().render_lines(crop)

    def painting(self) -> str:
        """What paints it into the frame that is being written; empty when nothing is to be."""
        drawn = self._drawn
        if not self._written or drawn is None or drawn.cells or not self.display:
            return ""
        screen = self.screen
        if not screen.is_active or drawn.size != self.size:
            return ""
        self._written = False
        where = _place(self, screen)
        if where.size != drawn.size:
            return ""
        covers = [toast.region for toast in screen.query("Toast")]
        return "".join(
            g.placed(self._piece(drawn, piece.translate(-where.offset)), piece)
            for piece in g.uncovered(where, covers)
        )

    def _piece(self, drawn: Drawn, piece: Region) -> str:
        """A part of the picture, encoded; the parts are kept."""
        if piece.size == drawn.size:
            return drawn.data
        if piece not in self._pieces:
            width, height = drawn.graphics.cell
            box = (piece.x * width, piece.y * height, piece.right * width, piece.bottom * height)
            part = drawn.image.crop((*box[:3], min(box[3], drawn.image.height)))
            self._pieces[piece] = g.encoded(part, drawn.graphics.protocol, *piece.size)
        return self._pieces[piece]


def _place(widget: Widget, screen: Screen[object]) -> Region:
    """Where it is on the screen; empty when it is not."""
    try:
        return screen.find_widget(widget).visible_region
    except NoWidget:  # not laid out yet, or not any more
        return Region()
