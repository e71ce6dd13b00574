"""What the app does to the terminal and to the process it runs in."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
from textual.color import Color
from textual_hires_canvas import Canvas

from acs_assistant.tui.screens.sessions import SessionsScreen
from tests.tui.driving import asked, measured, screen
from tests.tui.fakes import Clock, make_app

GUARDED = """
import os, sys
from pathlib import Path
from acs_assistant.tui.stderr_guard import stderr_guard
with stderr_guard(Path(sys.argv[1])):
    os.write(2, b"noise of a library\\n")
    null = os.open(os.devnull, os.O_WRONLY)
    kept = os.dup(2)
    os.dup2(null, 2)
    sys.__stderr__.write("drawn\\n")
    sys.__stderr__.flush()
    os.dup2(kept, 2)
print("after", file=sys.stderr)
"""

HEAVY = ("matplotlib", "llama_cpp", "optuna", "PySpice", "torch", "numpy", "textual_plot")


def test_the_screen_is_drawn_while_a_library_points_stderr_elsewhere(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "stderr.log"
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, str(log)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == ""
    assert done.stderr == "drawn\nafter\n"
    assert log.read_text() == "noise of a library\n"


def test_nothing_heavy_is_imported_before_the_first_screen() -> None:
    code = (
        "import sys, acs_assistant.cli.compose, acs_assistant.tui.app,"
        "acs_assistant.tui.screens.sessions;"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ},
    )
    assert done.stdout.strip() == "[]"


async def test_no_color_leaves_greys(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = make_app(tmp_path, clock)
    async with app.run_test() as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        await asked(pilot)
        styles = {
            segment.style
            for strip in app.screen._compositor.render_strips(app.size)
            for segment in strip.apply_filter(app._filters[-1], Color.parse("black"))
            if segment.style is not None and segment.style.color is not None
        }
    assert styles
    for style in styles:
        red, green, blue = style.color.get_truecolor()
        assert red == green == blue


async def test_no_color_while_the_size_changes(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = make_app(tmp_path, clock)
    async with app.run_test(size=(160, 48)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        await asked(pilot)
        clock.advance(1.0)
        await pilot.press("a")
        await measured(pilot, 1)
        canvases = list(app.screen.query(Canvas))
        assert canvases
        for canvas in canvases:
            strip = canvas.render_line(canvas.size.height + 9)
            assert all(segment.style is not None for segment in strip)
        for size in ((60, 15), (160, 48), (40, 10), (120, 36)):
            await pilot.resize_terminal(*size)
            await pilot.press("3")
    assert not app._exception


def test_styles_name_theme_variables_only() -> None:
    import re

    folder = Path(__file__).parents[2] / "acs_assistant" / "tui"
    for sheet in folder.rglob("*.tcss"):
        text = re.sub(r"/\*.*?\*/", "", sheet.read_text(), flags=re.DOTALL)
        values = re.findall(r"(?:color|background|border[\w-]*):\s*([^;]+);", text)
        for value in values:
            assert not re.search(r"#[0-9a-fA-F]{3,8}\b|\b(red|green|blue|white|black)\b", value), (
                sheet.name,
                value,
            )


async def test_what_lives_as_long_as_a_session_is_not_looked_through_for_garbage(
    tmp_path: Path, clock: Clock
) -> None:
    app = make_app(tmp_path, clock)
    app.sets_apart = True
    gc.unfreeze()
    try:
        async with app.run_test() as pilot:
            await screen(pilot, SessionsScreen)
            assert not gc.get_freeze_count()
            await pilot.press("f")
            await asked(pilot)
            assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()
