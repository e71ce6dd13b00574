"""The web server behind ``serve``: this machine only, one tab at a time, nothing from elsewhere."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import aiohttp_jinja2
from aiohttp import web
from aiohttp.typedefs import Handler
from textual_serve.server import Server

PAGES = Path(__file__).with_name("page")
GRACE = 3.0
"""Seconds that a tab waits for the one before it to go, as when a page is loaded again."""


class LocalServer(Server):
    """Serves one tab.

    Every tab is a process with a model and simulator workers of its own, and they would fight for
    the same cores. So a second tab says that there is a first, and takes over when it is told to.
    """

    def __init__(self, command: str, port: int) -> None:
        super().__init__(
            command, host="localhost", port=port, title="ACS Assistant", templates_path=PAGES
        )
        self._tab: asyncio.Task[Any] | None = None
        self._free = asyncio.Event()
        self._free.set()

    def initialize_logging(self) -> None:
        logging.basicConfig(level="WARNING", format="%(message)s")

    async def on_startup(self, app: web.Application) -> None:
        """The command has said where it listens."""

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.router.add_post("/", self.handle_take_over)
        app.middlewares.append(self._guard)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuses pages of other sites, which a browser would let talk to this machine."""
        hosts = {f"{name}:{self.port}" for name in ("localhost", "127.0.0.1", "[::1]")}
        origin = request.headers.get("Origin")
        own = origin is None or origin.removeprefix("http://") in hosts
        if request.host not in hosts or not own:
            raise web.HTTPForbidden(text=f"Open http://localhost:{self.port} on this machine.")
        response = await handler(request)
        if not response.prepared:
            response.headers["Content-Security-Policy"] = "frame-ancestors 'none'"
            response.headers["Cache-Control"] = "no-store"
        return response

    async def _available(self) -> bool:
        try:
            await asyncio.wait_for(self._free.wait(), GRACE)
        except TimeoutError:
            return False
        return True

    async def handle_index(self, request: web.Request) -> Any:
        if await self._available():
            return await super().handle_index(request)
        context = {"static": "/static/", "title": self.title}
        return aiohttp_jinja2.render_template("busy.html", request, context)

    async def handle_take_over(self, request: web.Request) -> web.StreamResponse:
        """Ends the tab that is open; its sessions are stored already."""
        if self._tab is not None:
            self._tab.cancel()
        raise web.HTTPSeeOther("/")

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        if not await self._available():
            refused = web.WebSocketResponse()
            await refused.prepare(request)
            await refused.close(message=b"open in another tab")
            return refused
        self._free.clear()
        self._tab = asyncio.current_task()
        try:
            return await super().handle_websocket(request)
        finally:
            self._tab = None
            self._free.set()
