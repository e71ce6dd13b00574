"""Aligned columns as one ``Content``: dense, themed, and cut to the width that there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len, set_cell_size
from textual.content import Content

Cell = str | tuple[str, str]
"""Text, or text with a style that names a theme variable ("$text-success")."""

GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        rank: 0 always stays; the highest rank is left out first when the width is short.
        shrink: May be cut with an ellipsis, down to this width; 0 may not.
        grow: Takes the width that is left over.
    """

    title: str
    align: Literal["left", "right", "middle"] = "left"
    rank: int = 0
    shrink: int = 0
    grow: bool = False


def text_of(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def columns(
    spec: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int, header: bool = True
) -> Content:
    """Lays rows out under their titles; never wider than ``width`` when columns may be dropped."""
    natural = [
        max([cell_len(column.title) if header else 0, *(cell_len(text_of(r[i])) for r in rows)])
        for i, column in enumerate(spec)
    ]
    kept = list(range(len(spec)))

    def total() -> int:
        return sum(natural[i] for i in kept) + GAP * (len(kept) - 1)

    while total() > width and any(spec[i].rank for i in kept):
        shrinkable = [i for i in kept if spec[i].shrink and natural[i] > spec[i].shrink]
        over = total() - width
        if shrinkable and over <= sum(natural[i] - spec[i].shrink for i in shrinkable):
            break
        kept.remove(max(kept, key=lambda i: (spec[i].rank, i)))
    for i in sorted(kept, key=lambda i: -spec[i].rank):
        over = total() - width
        if over > 0 and spec[i].shrink:
            natural[i] = max(spec[i].shrink, natural[i] - over)
    spare = width - total()
    for i in kept:
        if spec[i].grow and spare > 0:
            natural[i] += spare
            break
    lines: list[Content] = []
    if header:
        lines.append(
            _line([(spec[i].title, "$foreground-muted") for i in kept], [spec[i] for i in kept],
                  [natural[i] for i in kept])
        )  # fmt: skip
    for row in rows:
        lines.append(
            _line([row[i] for i in kept], [spec[i] for i in kept], [natural[i] for i in kept])
        )
    return Content("\n").join(lines)


def _line(cells: Sequence[Cell], spec: Sequence[Column], widths: Sequence[int]) -> Content:
    parts: list[str | tuple[str, str]] = []
    for n, (cell, column, width) in enumerate(zip(cells, spec, widths, strict=True)):
        text = text_of(cell)
        if cell_len(text) > width:
            text = set_cell_size(text, max(width - 1, 0)) + ("…" if width else "")
        padding = width - cell_len(text)
        left = {"left": 0, "right": padding, "middle": padding // 2}[column.align]
        fitted = " " * left + text + " " * (padding - left)
        if n:
            parts.append(" " * GAP)
        parts.append(fitted if isinstance(cell, str) else (fitted, cell[1]))
    return Content.assemble(*parts)


def fit(left: Content, right: Content, width: int) -> Content:
    """``left`` at the left edge and ``right`` at the right one; ``left`` gives way."""
    room = max(width - right.cell_length - 1, 0)
    if left.cell_length > room:
        left = left.truncate(room, ellipsis=True)
    return left + Content(" " * max(width - left.cell_length - right.cell_length, 0)) + right
