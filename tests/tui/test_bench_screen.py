"""The benchmark screen over result folders that the real reader reads."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from pytest_textual_snapshot import SVGImageExtension
from syrupy.assertion import SnapshotAssertion
from textual.pilot import Pilot
from textual.widgets import OptionList

from acs_assistant.bench.reading import find_results, read_folder
from acs_assistant.bench.summary import summarize, write_summary
from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.errors import InputError
from acs_assistant.tui.app import AcsApp
from acs_assistant.tui.screens.bench import BenchScreen
from acs_assistant.tui.screens.pick import PickDialog
from acs_assistant.tui.screens.sessions import SessionsScreen
from acs_assistant.tui.widgets.bench_view import box
from tests.bench.test_summary import run
from tests.tui.driving import screen, until
from tests.tui.fakes import Clock, make_services
from tests.tui.shots import SIZES, shoot


def runs(budget: int = 50) -> list[dict[str, Any]]:
    """Two circuits, two levels, three proposers of different worth."""
    chance = random.Random(4)
    made = []
    for circuit in ("ota_5t", "two_stage_miller"):
        for task in range(8):
            level = ("easy", "hard")[task % 2]
            for proposer, worth in (("model", 0.3), ("tpe", 0.06), ("random", 0.015)):
                left = min(budget, 1 + int(chance.expovariate(worth / (1 + (level == "hard")))))
                scores = [0.5 + 0.4 * n / budget for n in range(left)]
                if left < budget:
                    scores[-1] = 1.0
                one = run(f"{circuit}-{task}", proposer, scores, budget=budget, circuit=circuit)
                made.append({**one, "level": level})
    return made


def write(folder: Path, made: list[dict[str, Any]], *, ended: bool = True) -> Path:
    folder.mkdir(parents=True)
    text = "".join(json.dumps(one) + "\n" for one in made)
    (folder / "results.jsonl").write_text(text)
    if ended:
        write_summary(summarize(made), folder)
    return folder


@pytest.fixture
def app(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AcsApp:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("acs_assistant.tui.screens.bench.when", lambda stamp: "2026-11-23 15:04")
    services = make_services(tmp_path)
    services.find_benchmarks, services.read_benchmark = find_results, read_folder
    return AcsApp(services, clock=clock)


async def opened(pilot: Pilot[None]) -> BenchScreen:
    await screen(pilot, SessionsScreen)
    await pilot.press("b")
    await screen(pilot, BenchScreen)
    shown = pilot.app.screen
    assert isinstance(shown, BenchScreen)
    return shown


async def drawn(pilot: Pilot[None], shown: BenchScreen, words: str) -> str:
    await until(pilot, lambda: words in text(shown), words)
    return text(shown)


def text(shown: BenchScreen) -> str:
    parts = ("#title", "#shares-text", "#boxes-text")
    return "\n".join(str(shown.query_one(part).render()) for part in parts)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_a_folder_in_tables_curves_and_boxes(
    app: AcsApp, tmp_path: Path, snapshot: SnapshotAssertion, size: tuple[int, int]
) -> None:
    svg = snapshot.use_extension(SVGImageExtension)
    made = runs()
    write(tmp_path / "here" / "bench" / "three", made)
    async with app.run_test(size=size) as pilot:
        shown = await opened(pilot)
        seen = await drawn(pilot, shown, "16 tasks")
        model = summarize(made).overall["model"].met_at[10]
        assert f"{model}".replace("%", "") in seen
        await shoot(pilot, svg, "shares")
        if size[1] < 34:
            await pilot.press("2")
            await pilot.pause()
            await shoot(pilot, svg, "curves")
            await pilot.press("2")
            await until(pilot, lambda: "tpe" in str(shown.query_one("#curves").border_subtitle))
            await pilot.press("3")
            await pilot.pause()
            await shoot(pilot, svg, "boxes")
            await pilot.press("1")
        await pilot.press("l")
        await drawn(pilot, shown, "level easy: 8 tasks")
        for words in ("level hard: 8 tasks", "ota_5t: 8 tasks", "miller: 8 tasks", "all tasks"):
            await pilot.press("l")
            await drawn(pilot, shown, words)


async def test_a_benchmark_that_still_runs_is_read_and_left_alone(
    app: AcsApp, tmp_path: Path
) -> None:
    folder = write(tmp_path / "here" / "now", runs()[:9], ended=False)
    with (folder / "results.jsonl").open("a") as stream:
        stream.write('{"task": "half a li')
    before = (folder / "results.jsonl").read_bytes()
    async with app.run_test() as pilot:
        shown = await opened(pilot)
        await drawn(pilot, shown, "not ended")
    assert (folder / "results.jsonl").read_bytes() == before
    assert read_folder(folder).skipped == 1


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_without_results_it_says_where_they_come_from(
    app: AcsApp, tmp_path: Path, snapshot: SnapshotAssertion, size: tuple[int, int]
) -> None:
    async with app.run_test(size=size) as pilot:
        await screen(pilot, SessionsScreen)
        app.push_screen(BenchScreen((Path("bench"),)))
        await screen(pilot, BenchScreen)
        await until(pilot, lambda: "acs-assistant bench --tasks" in text(app.screen))  # type: ignore[arg-type]
        await shoot(pilot, snapshot.use_extension(SVGImageExtension), "empty")


async def test_a_broken_file_is_named_with_its_line(app: AcsApp, tmp_path: Path) -> None:
    good = json.dumps(runs()[0])
    folder = tmp_path / "here" / "broken"
    folder.mkdir()
    (folder / "results.jsonl").write_text(f"{good}\n[1, 2]\n{good}\n")
    async with app.run_test(size=(160, 48)) as pilot:
        shown = await opened(pilot)
        await drawn(pilot, shown, "results.jsonl:2:")


async def test_another_folder_is_opened_by_its_path(app: AcsApp, tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "else" / "where", runs())
    async with app.run_test() as pilot:
        shown = await opened(pilot)
        await drawn(pilot, shown, "acs-assistant bench")
        await pilot.press("o")
        await screen(pilot, PickDialog)
        await pilot.press("shift+tab", "end", "ctrl+u", *"nowhere", "enter")
        assert "nothing of that name" in str(app.screen.query_one(".fault").render())
        await pilot.press("ctrl+u", *str(elsewhere), "enter")
        await drawn(pilot, shown, "16 tasks")
        assert shown.query_one("#folders", OptionList).option_count == 1


def test_reading_can_be_stopped(tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(CancelledError):
        read_folder(write(tmp_path / "all", runs()), cancel)
    with pytest.raises(InputError, match="no run is done yet"):
        read_folder(write(tmp_path / "none", [], ended=False))
    with pytest.raises(InputError, match=r"holds no results\.jsonl"):
        read_folder(tmp_path)


def test_the_stored_summary_is_the_one_that_is_shown(tmp_path: Path) -> None:
    made = runs()
    ended = read_folder(write(tmp_path / "ended", made))
    assert ended.ended and ended.summary == summarize(made)
    (tmp_path / "ended" / "summary.json").write_text('{"budget": 3}')
    assert read_folder(tmp_path / "ended").summary == summarize(made)


def test_a_box_stands_at_its_quartiles() -> None:
    line = box([1, 10, 10, 100, float("inf")], budget=100, cells=23)
    assert line == "─" * 10 + "│" + "▒" * 10 + "─" * 2
    assert box([float("inf")], budget=100, cells=23) == " " * 22 + "│"
