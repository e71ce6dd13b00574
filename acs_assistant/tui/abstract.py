"""Widgets and screens that only their subclasses make whole."""

from __future__ import annotations

from abc import ABCMeta

from textual.widget import Widget


class AbstractMeta(ABCMeta, type(Widget)):  # type: ignore[misc]
    """Textual's metaclass and Python's for abstract classes, which know nothing of each other.

    A class with an ``abstractmethod`` left over cannot be made.
    """
