"""Changes the model that new sessions start with: the default, or one that the settings name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from acs_assistant.errors import AcsError
from acs_assistant.tui.text import plain

if TYPE_CHECKING:
    from acs_assistant.tui.app import AcsApp


async def use_default(app: AcsApp, change: Callable[..., Any], *arguments: str) -> str:
    """Adopts or rolls back; a model that the settings name would hide the default, so it goes.

    Returns:
        The default's name; empty when it failed, which was shown.
    """
    try:
        card = await app.offload(change, *arguments)
        await _name(app, "")
    except AcsError as error:
        app.fail(error)
        return ""
    return plain(str(card.name))


async def use_named(app: AcsApp, reference: str) -> str:
    """Writes a file or an address into the settings; the default stays what it was.

    Returns:
        The reference; empty when the file cannot be used or no server answers, which was shown.
    """
    try:
        # not in the store's thread: a server may take seconds to answer, or not to
        await asyncio.to_thread(app.services.check_model, reference)
        await _name(app, reference)
    except AcsError as error:
        app.fail(error)
        return ""
    return plain(reference)


async def _name(app: AcsApp, reference: str) -> None:
    services = app.services
    if services.settings.model.name == reference:
        return
    model = services.settings.model.model_copy(update={"name": reference})
    settings = services.settings.model_copy(update={"model": model})
    await app.offload(services.save_settings, settings)
    services.settings = settings
