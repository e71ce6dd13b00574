"""Figures show the session's numbers, with labels a reader needs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acs_assistant.domain import Metric, Objective, Waveform
from acs_assistant.errors import InputError
from acs_assistant.report import figures
from acs_assistant.report.response import find_response, response
from tests.report import session

MAGIC = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}


def words(figure: figures.Figure) -> str:
    text = re.findall(r"<text[^>]*>([^<]*)</text>", figures.inline_svg(figure, "f", "t"))
    return "\n".join(text)


def test_progress_draws_the_running_best() -> None:
    figure = figures.progress(session.record())
    assert {"simulations", "score", "Best score against simulations"} <= set(
        words(figure).split("\n")
    )
    best = figure.axes[0].lines[0].get_ydata()
    assert len(best) == 3 and np.all(np.diff(best) >= 0) and best[-1] == 1.0
    assert figure.axes[0].get_xlim()[1] == 10.5


def test_margins_have_a_sign_in_every_cell() -> None:
    figure = figures.margins(session.record())
    cells = [text.get_text() for text in figure.axes[0].texts]
    assert cells == ["−8", "−17", "+4", "−40", "+100", "+20", "+33", "−17", "+30"]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == [
        "dc_gain >=", "gbw >=", "power <=",
    ]  # fmt: skip


def test_margins_of_a_failed_simulation() -> None:
    cells = [t.get_text() for t in figures.margins(session.failed_record()).axes[0].texts]
    assert cells == ["none"] * 3


def test_bode_marks_gbw_and_phase_margin() -> None:
    shown = words(figures.bode(session.record()))
    assert "GBW 9.53meg Hz" in shown and "PM 72.4°" in shown
    assert "gain (dB)" in shown and "phase (°)" in shown and "frequency (Hz)" in shown


@pytest.mark.parametrize("sign", [1, -1])
def test_response_finds_the_crossover(sign: int) -> None:
    wave = session.response(gain=1e3, pole=1e3, second=2e6)
    turned = replace(wave, y={"out": tuple(sign * value for value in wave.y["out"])})
    found = response(turned, "out")
    f = found.crossover
    assert f is not None and found.phase_margin is not None
    gain = 1e3 / abs((1 + 1j * f / 1e3) * (1 + 1j * f / 2e6))
    assert gain == pytest.approx(1.0, rel=2e-3)
    exact = 180 - np.degrees(np.arctan(f / 1e3) + np.arctan(f / 2e6))
    assert found.phase_margin == pytest.approx(exact, abs=0.1)
    assert found.phase[0] == pytest.approx(0, abs=0.1)


def test_response_that_never_falls_has_no_crossover() -> None:
    found = response(session.response(gain=0.5), "out")
    assert found.crossover is None and found.phase_margin is None
    record = replace(session.record(), waveforms=(session.response(gain=0.5),))
    assert "GBW" not in words(figures.bode(record))


def test_response_reads_the_node_of_the_gain() -> None:
    other = Waveform("ac", "ac", "frequency", (1.0, 10.0), {"v(out)": (5 + 0j, 4 + 0j)})
    record = replace(session.record(), waveforms=(other,))
    found = find_response(record)
    assert found is not None and found.node == "v(out)"
    assert find_response(replace(record, waveforms=())) is None


def test_step_leaves_flat_supplies_out() -> None:
    shown = words(figures.step(session.record())).split("\n")
    assert "out" in shown and "vdd" not in shown and "time (µs)" in shown


def test_pareto_joins_the_undominated() -> None:
    figure = figures.pareto(session.record(), "power", "gbw")
    assert {"power (W)", "gbw (Hz)"} <= set(words(figure).split("\n"))
    assert list(figure.axes[0].lines[0].get_xdata()) == [2e-4, 2.1e-4, 3.5e-4]


def test_tradeoff_sets_the_objective_against_speed() -> None:
    record = session.record()
    with pytest.raises(InputError, match="no trade-off"):
        figures.tradeoff(record)
    circuit = replace(record.task.circuit, objective=Objective("power"))
    record = replace(record, task=replace(record.task, circuit=circuit))
    assert {"power (W)", "gbw (Hz)"} <= set(words(figures.tradeoff(record)).split("\n"))
    only = replace(record, task=replace(record.task, specs=(session.SPECS[2],)))
    with pytest.raises(InputError, match="pulls against power"):
        figures.tradeoff(only)


def test_transfer_draws_a_dc_sweep() -> None:
    sweep = Waveform("dc", "dc", "v-sweep", (0.0, 0.9, 1.8), {"out": (0.0, 0.8, 1.7)})
    record = replace(session.record(), waveforms=(sweep,))
    assert {"v-sweep", "voltage (V)", "out"} <= set(words(figures.transfer(record)).split("\n"))


def test_the_turn_before_lies_behind_a_bode_plot() -> None:
    record = session.record()
    figure = figures.bode(replace(record, behind=(session.response(gain=10.0),)))
    behind, front = figure.axes[0].lines[:2]
    assert behind.get_color() == figures.PAPER.muted and front.get_color() == figures.PAPER.first
    assert behind.get_ydata()[0] == pytest.approx(20.0, abs=0.1)


def test_pixels_have_the_size_and_the_colours_asked_for() -> None:
    dark = figures.Look("#7aa2c9", "#d7a65f", "#86b56f", "#8a93a3", "#d4d8de", "#39424d", "#14171b")
    shot = figures.pixels(figures.bode(session.record(), dark), 640, 320, 100.0)
    assert shot.shape == (320, 640, 4)
    assert shot[0, 0].tolist() == [0x14, 0x17, 0x1B, 255]
    curve = np.all(np.abs(shot[:, :, :3].astype(int) - [0x7A, 0xA2, 0xC9]) < 4, axis=2)
    assert curve.sum() > 100, "the gain, in the first colour"


def test_undominated() -> None:
    higher, lower = Metric("a", "", "t", "m", better="higher"), Metric("b", "", "t", "m")
    points = np.array([[1.0, 1.0], [2.0, 1.0], [2.0, 2.0], [3.0, 5.0], [1.0, 0.5]])
    assert figures.undominated(points, (higher, lower)).tolist() == [1, 3, 4]


def test_a_session_with_nothing_to_draw_is_bad_input() -> None:
    empty = replace(session.record(), turns=(), waveforms=())
    for draw in figures.FIGURES.values():
        with pytest.raises(InputError):
            draw(empty)
    with pytest.raises(InputError, match="no metric 'gwb'"):
        figures.pareto(empty, "power", "gwb")


@pytest.mark.parametrize("kind", figures.FORMATS)
def test_save(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"bode.{kind}"
    figures.save(figures.bode(session.record()), path)
    data = path.read_bytes()
    assert data.startswith(MAGIC[kind]) and len(data) > 5000
    figures.save(figures.bode(session.record()), path)
    assert path.read_bytes() == data, "the same session gives the same file"


def test_save_refuses_other_endings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a figure"):
        figures.save(figures.bode(session.record()), tmp_path / "bode.gif")


def test_inline_svg_is_one_element_without_addresses() -> None:
    svg = figures.inline_svg(figures.bode(session.record()), "bode", 'a "b" <c>')
    assert svg.startswith('<svg role="img" aria-label="a &quot;b&quot; &lt;c>"')
    assert svg.rstrip().endswith("</svg>") and svg.count("<svg") == 1
    assert "http" not in svg and "<metadata" not in svg and "<!DOCTYPE" not in svg
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert len(ids) == len(set(ids)) and all(name.startswith("bode-") for name in ids)
    used = re.findall(r'(?:href="#|url\(#)([^")]+)', svg)
    assert used and set(used) <= set(ids)
