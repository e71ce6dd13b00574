#!/usr/bin/env python3
"""Takes the pictures and the recorded session of docs/images from the running app: real model,
real ngspice.

    python scripts/screenshots.py                   (`make screenshots`)
    python scripts/screenshots.py --proposer tpe    another proposer

The session that it runs is kept out of the user's own: a temporary data folder that borrows the
device models.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from acs_assistant import paths

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from acs_assistant.tui.app import AcsApp

IMAGES = Path(__file__).parents[1] / "docs" / "images"
CIRCUIT = "two_stage_miller"
SPECS = ("dc_gain>=74", "gbw>=25meg", "phase_margin>=60", "power<=220u", "slew_rate>=14meg")


async def until(pilot: Pilot[None], what: str, ready: Callable[[], bool], seconds: float) -> None:
    """Waits for the app to get somewhere."""
    for _ in range(int(seconds * 10)):
        if ready():
            await pilot.pause()
            return
        await pilot.pause(0.1)
    raise SystemExit(f"the app did not get to: {what}")


def save(app: AcsApp, name: str) -> None:
    """Writes docs/images/NAME.svg."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    target = IMAGES / f"{name}.svg"
    target.write_text(app.export_screenshot(title="ACS Assistant"), encoding="utf-8")
    print(f"wrote {target.relative_to(IMAGES.parents[1])}", flush=True)


def checked(app: AcsApp) -> bool:
    """The first screen has said what is installed."""
    return bool(app.screen.query("#check")) and "Checking" not in str(
        app.screen.query_one("#check").render()
    )


class Recording:
    """A session as one SVG that plays by itself, in a smaller window than the pictures'."""

    SIZE = (112, 34)

    def __init__(self) -> None:
        self._frames: list[tuple[str, float]] = []

    async def frame(self, pilot: Pilot[None], seconds: float) -> None:
        """Adds the screen as it is now, shown for so long."""
        app = pilot.app
        size = app.size
        await pilot.resize_terminal(*self.SIZE)
        await pilot.pause(0.3)
        app.clear_notifications()
        await pilot.pause()
        self._frames.append((app.export_screenshot(title="ACS Assistant"), seconds))
        await pilot.resize_terminal(*size)

    def save(self, name: str) -> None:
        """Writes docs/images/NAME.svg: the frames over each other, each visible in its turn."""
        whole = sum(seconds for _, seconds in self._frames)
        box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', self._frames[0][0])
        if box is None:
            raise SystemExit("a screenshot has no size")
        styles, layers, start = [], [], 0.0
        for n, (svg, seconds) in enumerate(self._frames):
            begin, end = 100 * start / whole, 100 * (start + seconds) / whole
            hidden = f"0%{{visibility:hidden}}{begin:.3f}%{{visibility:visible}}" if n else ""
            styles.append(
                f"@keyframes f{n}{{{hidden or '0%{visibility:visible}'}"
                f"{end:.3f}%{{visibility:hidden}}}}"
                f"#f{n}{{visibility:hidden;animation:f{n} {whole:g}s step-end infinite}}"
            )
            layers.append(f'<g id="f{n}">{svg}</g>')
            start += seconds
        target = IMAGES / f"{name}.svg"
        target.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {box[1]} {box[2]}">'
            f"<style>{''.join(styles)}</style>{''.join(layers)}</svg>\n",
            encoding="utf-8",
        )
        print(f"wrote {target.relative_to(IMAGES.parents[1])}", flush=True)


async def take(proposer: str, turns: int) -> None:
    """Goes through a session as a person would and takes a picture at each stop."""
    from acs_assistant.cli.compose import build_services
    from acs_assistant.cli.tasks import make_task
    from acs_assistant.tui.app import AcsApp
    from acs_assistant.tui.screens.design import DesignScreen
    from acs_assistant.tui.screens.new_session import NewSessionScreen
    from acs_assistant.tui.state import Phase

    services = build_services()
    app = AcsApp(services)
    recording = Recording()
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, "the check", lambda: checked(app), 60)
        await recording.frame(pilot, 3.0)
        await pilot.press("n")
        await until(pilot, "new session", lambda: isinstance(app.screen, NewSessionScreen), 10)
        await pilot.pause(1.0)
        await pilot.press("end")
        await pilot.pause(1.5)
        save(app, "new-session")
        await recording.frame(pilot, 3.0)
        await pilot.press("escape")
        task = make_task(services.load_circuit(CIRCUIT), SPECS)
        app.new_session(task, proposer=proposer, model="", budget=10, seed=1, run=True)
        await until(pilot, "design screen", lambda: isinstance(app.screen, DesignScreen), 20)
        screen = app.screen
        assert isinstance(screen, DesignScreen)

        for turn in range(turns):
            await until(
                pilot,
                f"proposal {turn + 1}",
                lambda: screen.state.phase is Phase.ASKING or not screen.running,
                120,
            )
            if not screen.running:
                break
            await pilot.pause(0.8)
            if turn == 0:
                save(app, "first-proposal")
                await pilot.press("2")
                await recording.frame(pilot, 4.0)
                await pilot.press("1")
            save(app, "design")
            await recording.frame(pilot, 3.0)
            asked = screen.state.current
            await pilot.press("a")
            await until(
                pilot,
                "a result",
                lambda asked=asked: screen.state.current != asked or not screen.running,
                60,
            )
        await until(pilot, "the end", lambda: screen.state.phase in (Phase.ASKING, Phase.IDLE), 120)
        await pilot.pause(1.0)
        save(app, "result")
        await recording.frame(pilot, 4.0)
        await pilot.press("full_stop")
        await pilot.pause(0.5)
        await recording.frame(pilot, 3.0)
        recording.save("session")
        if screen.running:
            await pilot.press("escape")
            await until(pilot, "a stop", lambda: not screen.running, 30)
    services.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--proposer", default="model")
    parser.add_argument("--turns", type=int, default=3, help="proposals to accept")
    chosen = parser.parse_args()
    models = paths.pdk_dir()
    with tempfile.TemporaryDirectory() as home:
        if models.is_dir():
            (Path(home) / "acs-assistant").mkdir()
            (Path(home) / "acs-assistant" / "pdk").symlink_to(models)
        os.environ["XDG_DATA_HOME"] = home
        os.environ.pop("NO_COLOR", None)
        os.environ["COLORTERM"] = "truecolor"
        asyncio.run(take(chosen.proposer, chosen.turns))


if __name__ == "__main__":
    main()
