"""Widgets and screens that only their subclasses make whole."""

from __future__ import annotations

from abc import ABCMeta
from typing import TYPE_CHECKING

from textual.widget import Widget

if TYPE_CHECKING:
    from textual.message_pump import _MessagePumpMeta as _WidgetMeta
else:
    _WidgetMeta = type(Widget)


class AbstractMeta(ABCMeta, _WidgetMeta):
    """Textual's metaclass and Python's for abstract classes, which know nothing of each other.

    A class with an ``abstractmethod`` left over cannot be made.
    """
