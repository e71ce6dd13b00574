"""The import screen over the real importer; only ngspice is replaced."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from pytest_textual_snapshot import SVGImageExtension
from syrupy.assertion import SnapshotAssertion
from textual.pilot import Pilot
from textual.widgets import DirectoryTree, Input, OptionList

from acs_assistant import library, paths
from acs_assistant.cancel import CancelToken
from acs_assistant.domain import Measurement
from acs_assistant.sim.port import SimulationRequest
from acs_assistant.tui.app import AcsApp
from acs_assistant.tui.screens.circuits import CircuitsScreen
from acs_assistant.tui.screens.importing import ImportScreen
from acs_assistant.tui.screens.new_session import NewSessionScreen
from acs_assistant.tui.screens.pick import PickDialog
from acs_assistant.tui.screens.sessions import SessionsScreen
from tests.tui.driving import screen, until
from tests.tui.fakes import Clock, make_services
from tests.tui.shots import SIZES, shoot

NETLIST = """\
* common-source stage
.subckt stage in out vdd vss
XM1 out in vss vss sky130_fd_pr__nfet_01v8 w='wn' l='ln' m=1
XM2 out bias vdd vdd sky130_fd_pr__pfet_01v8 w='wp' l='ln' m=1
XM3 bias bias vdd vdd sky130_fd_pr__pfet_01v8 w='wp' l='ln' m=1
Ib bias vss 'ibias'
.ends stage
"""
BENCH = """\
Gain of the stage
.include amp.sp
.include pdk/libs.tech/ngspice/corners/tt.spice
.param wn=10 wp=20 ln=0.5 ibias=20u vsup=1.8 cl=1p
V1 vdd 0 'vsup'
Vin in 0 dc 0.7 ac 1
Xdut in out vdd 0 stage
Cl out 0 'cl'
.ac dec 10 10 1g
.meas ac dc_gain find vdb(out) at=10
.meas ac gbw when vdb(out)=0
.control
plot vdb(out)
shell rm -rf somewhere
.endc
.end
"""


class Simulator:
    """Measures the same figures of any circuit; waits where a test says so."""

    version = "ngspice-fake"

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Event()

    def simulate(
        self, request: SimulationRequest, cancel: CancelToken | None = None
    ) -> Measurement:
        self.begun.set()
        while not self.go.wait(0.01):
            if cancel is not None:
                cancel.raise_if_cancelled()
        metrics = {"dc_gain": 31.4, "gbw": 87.2e6}
        return Measurement("ok", metrics, (), request.conditions)

    def map(
        self, requests: Iterable[SimulationRequest], cancel: CancelToken | None = None
    ) -> Iterator[tuple[int, Measurement]]:
        for n, request in enumerate(requests):
            yield n, self.simulate(request, cancel)

    def close(self) -> None:
        pass


@pytest.fixture
def simulator() -> Simulator:
    return Simulator()


@pytest.fixture
def app(
    tmp_path: Path, clock: Clock, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> AcsApp:
    (tmp_path / "amp.sp").write_text(NETLIST)
    (tmp_path / "tb.sp").write_text(BENCH)
    monkeypatch.chdir(tmp_path)
    services = make_services(tmp_path, simulator=simulator)  # type: ignore[arg-type]
    services.load_circuit = library.load_circuit
    services.list_circuits = library.list_circuits
    return AcsApp(services, clock=clock)


async def opened(pilot: Pilot[None]) -> ImportScreen:
    await screen(pilot, SessionsScreen)
    await pilot.press("c")
    await screen(pilot, CircuitsScreen)
    await pilot.press("i")
    await screen(pilot, ImportScreen)
    shown = pilot.app.screen
    assert isinstance(shown, ImportScreen)
    return shown


async def filled(pilot: Pilot[None], out: str = "made") -> ImportScreen:
    """Netlist and testbench typed; the folder a relative one, the same on every machine."""
    shown = await opened(pilot)
    await pilot.press(*"amp.sp", "enter")
    await until(pilot, lambda: len(shown.query("#netlist Input")) == 2, "a row for another file")
    await pilot.press("enter", *"tb.sp")
    if out:
        shown.query_one("#out", Input).value = out
    await pilot.pause()
    return shown


def report(shown: ImportScreen) -> str:
    return str(shown.query_one("#report-text").render())


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_from_files_to_a_session(
    app: AcsApp, simulator: Simulator, snapshot: SnapshotAssertion, size: tuple[int, int]
) -> None:
    svg = snapshot.use_extension(SVGImageExtension)
    simulator.go.clear()
    async with app.run_test(size=size) as pilot:
        shown = await filled(pilot)
        await shoot(pilot, svg, "form")
        await pilot.press("ctrl+s")
        await until(pilot, simulator.begun.is_set, "the simulation")
        await shoot(pilot, svg, "busy")
        simulator.go.set()
        await until(pilot, lambda: shown.made is not None, "the circuit")
        assert "shell rm -rf" in report(shown) and "Left out" in report(shown)
        assert "31.4" in report(shown)
        await shoot(pilot, svg, "report")
        assert shown.made is not None
        assert library.load_circuit(str(shown.made.folder)).name == "stage"
        await pilot.press("ctrl+l")
        await screen(pilot, CircuitsScreen)
        names = app.screen.query_one("#names", OptionList)
        assert names.highlighted == names.option_count - 1
        await until(pilot, lambda: "stage" in str(app.screen.query_one(".card-head").render()))
        await pilot.press("enter")
        await screen(pilot, NewSessionScreen)
        await until(pilot, lambda: "gbw" in str(app.screen.query(".spec-name").last().render()) or
                    len(app.screen.query(".spec-row")) >= 3)  # fmt: skip


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_an_error_shows_the_line_and_leaves_nothing_behind(
    app: AcsApp, tmp_path: Path, snapshot: SnapshotAssertion, size: tuple[int, int]
) -> None:
    gone = BENCH.replace(".include amp.sp", ".include gone.sp")
    (tmp_path / "tb.sp").write_text("\n".join(x for x in gone.split("\n") if "wn=10" not in x))
    async with app.run_test(size=size) as pilot:
        shown = await filled(pilot)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "gone.sp" in report(shown))
        assert "▶   2  .include gone.sp" in report(shown)
        await shoot(pilot, snapshot.use_extension(SVGImageExtension), "error")
        assert not (tmp_path / "made").exists()
        (tmp_path / "tb.sp").write_text(BENCH)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: shown.made is not None, "the circuit, after mending")


async def test_escape_stops_the_import_and_then_leaves(
    app: AcsApp, simulator: Simulator, tmp_path: Path
) -> None:
    simulator.go.clear()
    async with app.run_test() as pilot:
        shown = await filled(pilot)
        await pilot.press("ctrl+s")
        await until(pilot, simulator.begun.is_set, "the simulation")
        await pilot.press("escape")
        await until(pilot, lambda: "Nothing was written" in report(shown))
        assert not (tmp_path / "made").exists() and shown.made is None
        await pilot.press("escape")
        await screen(pilot, SessionsScreen)


async def test_a_filled_folder_is_left_alone(app: AcsApp, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "mine.txt").write_text("mine")
    async with app.run_test() as pilot:
        shown = await filled(pilot)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "holds something already" in report(shown))
    assert (tmp_path / "made" / "mine.txt").read_text() == "mine"


async def test_the_form_says_what_is_missing(app: AcsApp) -> None:
    async with app.run_test() as pilot:
        shown = await opened(pilot)

        async def complains(words: str) -> None:
            await pilot.press("ctrl+s")
            await until(pilot, lambda: words in str(shown.query_one("#fault").render()), words)

        await complains("Give the netlist")
        await pilot.press(*"amp.s")
        await complains("see the ✗")
        await pilot.press("p")
        await complains("at least one testbench")
        folder = shown.query_one("#out", Input).value
        assert folder == str(paths.user_circuits() / "amp")


async def test_a_file_is_picked_from_the_tree(app: AcsApp) -> None:
    async with app.run_test() as pilot:
        shown = await opened(pilot)
        await pilot.press("ctrl+o")
        await screen(pilot, PickDialog)
        tree = app.screen.query_one(DirectoryTree)
        await until(pilot, lambda: len(tree.root.children) > 2, "the folder's files")
        labels = [str(node.label) for node in tree.root.children]
        await pilot.press(*["down"] * (1 + labels.index("amp.sp")), "enter")
        await screen(pilot, ImportScreen)
        field = shown.query("#netlist Input").first(Input)
        await until(pilot, lambda: field.value.endswith("amp.sp"), "the picked path")
