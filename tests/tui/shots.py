"""Pictures of screens, the same on every machine."""

from __future__ import annotations

from syrupy.assertion import SnapshotAssertion
from textual.pilot import Pilot
from textual.widgets import Input

SIZES = [(80, 24), (120, 36), (160, 48)]


async def shoot(pilot: Pilot[None], svg: SnapshotAssertion, name: str) -> None:
    """Holds the screen as it is now against the stored picture."""
    for field in pilot.app.screen.query(Input):
        field.cursor_blink = False
    pilot.app.clear_notifications()
    await settled(pilot)
    assert pilot.app.export_screenshot() == svg(name=name)


async def settled(pilot: Pilot[None]) -> None:
    """Waits until the screen stays as it is: a new size moves the layout more than once."""
    same, before = 0, None
    while same < 4:
        if same < 2:  # what depends on how the size was reached is laid out anew
            pilot.app.screen.refresh(layout=True)
        await pilot.pause(0.03)
        now = pilot.app.screen._compositor.render_strips(pilot.app.size)
        same = same + 1 if now == before else 0
        before = now


async def shoot_sizes(pilot: Pilot[None], svg: SnapshotAssertion, name: str) -> None:
    """The screen at every size, as the window of a running app is made larger."""
    for width, height in SIZES:
        await pilot.resize_terminal(width, height)
        await pilot.pause()
        await shoot(pilot, svg, f"{name}-{width}x{height}")
