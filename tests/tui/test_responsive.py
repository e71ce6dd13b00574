"""The thread that draws is never held: every piece of its work is short, whatever else runs."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path

import pytest

from acs_assistant.llm.scripted import ScriptedModel
from acs_assistant.tui.screens.design import DesignScreen
from acs_assistant.tui.screens.sessions import SessionsScreen
from tests.tui.driving import idle, screen, until
from tests.tui.fakes import Clock, make_app, reply

STREAMED = "Word after word the reasoning comes, about `w_in` and **the margin** of gbw. " * 40


class Stretches:
    """Processor time of the drawing thread in each turn of its event loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds: list[float] = []
        run = asyncio.events.Handle._run

        def measured(handle: asyncio.events.Handle) -> None:
            start = time.thread_time()
            run(handle)
            self.seconds.append(time.thread_time() - start)

        monkeypatch.setattr(asyncio.events.Handle, "_run", measured)


async def test_no_stretch_of_work_holds_the_screen(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = [reply(n).replace("<think>", f"<think>{STREAMED}") for n in range(4)]
    app = make_app(tmp_path, clock, model=ScriptedModel(*long))
    async with app.run_test(size=(160, 48)) as pilot:
        await screen(pilot, SessionsScreen)
        await pilot.press("f")
        await screen(pilot, DesignScreen)
        gc.collect()
        gc.freeze()  # what other tests left in this process is not the app's work
        stretches = Stretches(monkeypatch)
        await pilot.press("shift+tab", "enter")
        for key in ("2", "3", "full_stop", "4", "5", "6", "1", "t", "t"):
            await pilot.press(key)
        shown = await idle(pilot)
        await until(pilot, lambda: shown.state.simulations >= 4)
    gc.unfreeze()
    times = sorted(stretches.seconds)
    assert times[int(0.99 * len(times))] < 0.05
    assert times[-1] < 0.5


async def test_text_is_joined_before_it_is_drawn(tmp_path: Path, clock: Clock) -> None:
    """A thousand pieces cost a handful of drawings."""
    from acs_assistant.events import Event, TextDelta, TurnStarted
    from acs_assistant.tui.runner import Mailbox

    notes: list[None] = []
    box = Mailbox(lambda: notes.append(None))
    box.put(TurnStarted(1, None))
    for _ in range(1000):
        box.put(TextDelta("reasoning", "a"))
    box.put(TextDelta("text", "b"))
    events: list[Event] = box.take()
    assert len(notes) == 1
    assert events == [
        TurnStarted(1, None),
        TextDelta("reasoning", "a" * 1000),
        TextDelta("text", "b"),
    ]
    assert box.take() == []
    box.put(TextDelta("text", "c"))
    assert len(notes) == 2
