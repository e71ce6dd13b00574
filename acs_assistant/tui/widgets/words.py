"""Text that changes often: it moves the layout only when it takes another number of lines."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, cast

from markdown_it import MarkdownIt
from textual.content import Content
from textual.visual import VisualType
from textual.widgets import Markdown, Static
from textual.widgets._markdown import MarkdownParagraph

if TYPE_CHECKING:
    from textual.css.styles import RulesMap

    _Base = Static
else:  # a style sheet knows a widget by its first base that is one
    _Base = object


@cache
def _parser() -> MarkdownIt:
    """One for all: to build it takes longer than to parse a paragraph."""
    return MarkdownIt("gfm-like")


class _Steady(_Base):
    """A ``Static`` of automatic height whose other lines need not be laid out for every word."""

    def update(self, content: VisualType = "", *, layout: bool = True) -> None:
        width, height = self.content_size
        fits = (
            isinstance(content, Content)
            and width > 0
            and content.get_height(cast("RulesMap", self.styles), width) == height
        )
        super().update(content, layout=layout and not fits)


class Words(_Steady, Static):
    """Plain text."""


class _Paragraph(_Steady, MarkdownParagraph):
    """A paragraph; most pieces of a stream end in the line that they began in."""


class Thoughts(Markdown):
    """Markdown that streams."""

    BLOCKS = {**Markdown.BLOCKS, "paragraph_open": _Paragraph}  # noqa: RUF012

    def __init__(self, text: str = "", *, classes: str | None = None) -> None:
        super().__init__(text, classes=classes, parser_factory=_parser, open_links=False)
