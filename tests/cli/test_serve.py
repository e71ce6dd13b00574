"""The app in a browser: what the server refuses, and a whole session clicked and typed.

The session needs Chromium and the ``browser`` extra; it is skipped, with the reason, without.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from acs_assistant.storage.store import Store
from tests.cli.conftest import home

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page, WebSocket

__all__ = ["home"]

SETTINGS = """\
[model]
threads = 1
candidates = 2
[session]
budget = 4
stop_when_met = false
[simulator]
workers = 1
[interface]
approval_delay = 0.0
"""
LIMIT = 90.0
SIZE = {"width": 1200, "height": 800}

pytest.importorskip("textual_serve", reason="the serve extra is not installed")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return int(taken.getsockname()[1])


def command(port: int) -> list[str]:
    return [sys.executable, "-m", "acs_assistant", "serve", "--port", str(port)]


@dataclass
class Served:
    port: int
    process: subprocess.Popen[str]
    folder: Path

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/"


@pytest.fixture
def served(home: Path) -> Iterator[Served]:
    """A server of its own, with settings that keep a session short."""
    settings = home / "config" / "acs-assistant" / "settings.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(SETTINGS)
    port = free_port()
    process = subprocess.Popen(
        command(port), cwd=home, env=dict(os.environ), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    end = time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < end:
        with socket.socket() as knock:
            if knock.connect_ex(("localhost", port)) == 0:
                break
        time.sleep(0.05)
    assert process.poll() is None, process.stdout.read() if process.stdout else ""
    yield Served(port, process, home)
    process.terminate()
    assert process.wait(LIMIT) == 0


def get(url: str, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=LIMIT) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_page_asks_nothing_of_other_machines(served: Served) -> None:
    status, page = get(served.url)
    assert status == 200
    named = [word for word in page.replace("'", '"').split('"') if "//" in word]
    assert named and all(f"localhost:{served.port}/" in word for word in named)


def test_pages_of_other_sites_are_refused(served: Served) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        status, text = get(served.url, **headers)
        assert status == 403 and f"localhost:{served.port}" in text
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg=="}  # fmt: skip
    status, _ = get(f"{served.url}ws", Origin=f"http://evil.example:{served.port}", **upgrade)
    assert status == 403
    assert get(served.url, Origin=f"http://127.0.0.1:{served.port}")[0] == 200


def test_a_taken_port_is_named_with_another(served: Served) -> None:
    done = subprocess.run(
        command(served.port), capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 2
    assert f"port {served.port} is taken" in done.stderr and "--port" in done.stderr


# -- in Chromium ----------------------------------------------------------------------------------


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[BrowserContext]:
    """A headless one of its own; skips the test where there is none."""
    api = pytest.importorskip(
        "playwright.async_api", reason="needs playwright: pip install 'acs-assistant[browser]'"
    )
    pytest.importorskip("pyte", reason="needs pyte: pip install 'acs-assistant[browser]'")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    async with api.async_playwright() as playwright:
        if found is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("needs Chromium: sudo apt install chromium, or playwright install chromium")
        browser = await playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu"]
        )
        context = await browser.new_context(viewport=SIZE)
        yield context
        await browser.close()


@dataclass
class Tab:
    """One page, and the terminal that its socket's bytes make."""

    page: Page
    screen: Any = None
    stream: Any = None
    asked: list[str] = field(default_factory=list)

    def listen(self) -> None:
        self.page.on("websocket", self._opened)
        self.page.on("request", lambda request: self.asked.append(request.url))

    def _opened(self, socket: WebSocket) -> None:
        import pyte

        query = parse_qs(urlsplit(socket.url).query)
        self.screen = pyte.Screen(int(query["width"][0]), int(query["height"][0]))
        self.stream = pyte.ByteStream(self.screen)
        socket.on("framesent", self._sent)
        socket.on("framereceived", self._received)

    def _sent(self, payload: str | bytes) -> None:
        if isinstance(payload, str) and payload.startswith('["resize"'):
            size = json.loads(payload)[1]
            self.screen.resize(size["height"], size["width"])

    def _received(self, payload: str | bytes) -> None:
        if isinstance(payload, bytes):
            self.stream.feed(payload)

    @property
    def text(self) -> str:
        return "" if self.screen is None else "\n".join(self.screen.display)

    async def sees(self, words: str) -> None:
        await until(lambda: words in self.text, f"{words!r} on the screen")

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.page.keyboard.press(key)

    async def click(self, words: str) -> None:
        """Clicks into the first cell of these words, where the browser draws it."""
        await self.sees(words)
        row = next(n for n, line in enumerate(self.screen.display) if words in line)
        column = self.screen.display[row].index(words)
        box = await self.page.locator(".xterm-screen").bounding_box()
        assert box is not None
        await self.page.mouse.click(
            box["x"] + (column + 1.5) * box["width"] / self.screen.columns,
            box["y"] + (row + 0.5) * box["height"] / self.screen.lines,
        )


async def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited in vain for {what}")
        await asyncio.sleep(0.05)


async def opened(context: BrowserContext, url: str) -> Tab:
    tab = Tab(await context.new_page())
    tab.listen()
    await tab.page.goto(url)
    return tab


@pytest.mark.timeout(600)
async def test_a_session_clicked_and_typed_and_a_second_tab(served: Served) -> None:
    async with chromium(served.folder) as context:
        tab = await opened(context, served.url)
        await tab.sees("first steps")
        await tab.page.locator(".xterm-screen").click()
        await tab.press("f")
        store = Store(served.folder / "data" / "acs-assistant" / "sessions.db")

        def turns() -> list[Any]:
            return store.turns(1) if store.sessions() else []

        def decided(kind: str) -> int:
            return sum(t.decision is not None and t.decision.kind == kind for t in turns())

        async def asked(count: int) -> None:
            await until(lambda: len(turns()) == count and turns()[-1].decision is None,
                        f"proposal {count}")  # fmt: skip
            await tab.sees("a Accept")

        await asked(1)
        await tab.click("a Accept")
        await until(lambda: decided("accepted") == 1, "the click")
        await asked(2)
        await tab.press("e")
        await tab.sees("Enter Simulate")
        await tab.press("Enter")
        await asked(3)
        await tab.press("r")
        await tab.sees("The model reads it")
        await tab.page.keyboard.type("less power please")
        await tab.press("Enter")
        await until(lambda: decided("rejected") == 1, "the rejection")
        await asked(4)

        # the socket's bytes are what is drawn: the page is no blank one
        picture = await tab.page.screenshot()
        assert len(picture) > 20_000
        assert all(f"localhost:{served.port}/" in url for url in tab.asked), tab.asked

        other = await opened(context, served.url)
        await other.page.get_by_role("heading", name="open in another tab").wait_for()
        await other.page.get_by_role("button", name="Continue here").click()
        await tab.page.get_by_text("This tab is closed").wait_for()
        await other.sees("sessions: 1")
        await other.page.locator(".xterm-screen").click()
        await other.press("Enter")
        tab = other
        await asked(4)
        await other.press("w")
        await other.sees("Enter chooses")
        await other.press("Enter", "Enter")
        await until(lambda: (served.folder / "session-1.spice").exists(), "the netlist")
        reasons = [t.decision.reason for t in turns() if t.decision is not None]
        assert "less power please" in reasons
        store.close()


@pytest.mark.timeout(600)
async def test_a_reload_in_mid_turn_loses_nothing(served: Served) -> None:
    async with chromium(served.folder) as context:
        tab = await opened(context, served.url)
        await tab.sees("first steps")
        await tab.page.locator(".xterm-screen").click()
        await tab.press("f")
        store = Store(served.folder / "data" / "acs-assistant" / "sessions.db")
        await tab.click("a Accept")
        await until(lambda: store.turns(1)[0].decision is not None, "the click")
        before = store.turns(1)
        tab.screen = None
        await tab.page.reload()
        await tab.sees("sessions: 1")
        await tab.page.locator(".xterm-screen").click()

        async def go_on() -> None:
            """The app before the reload may still hold the session for a moment."""
            end = time.monotonic() + LIMIT
            while "1 Proposal" not in tab.text and "Reasoning" not in tab.text:
                assert time.monotonic() < end, tab.text
                await tab.press("Enter")
                await asyncio.sleep(1.0)

        await go_on()
        if "Spc Go on" in tab.text:
            await tab.press("Space")
        await until(lambda: store.turns(1)[0].evaluation is not None, "the simulation")
        after = {turn.id: turn for turn in store.turns(1)}
        assert all(after[turn.id].proposal == turn.proposal for turn in before)
        assert all(after[turn.id].decision == turn.decision for turn in before if turn.decision)
        store.close()
