"""The benchmark's figures: success against simulations, and a box per circuit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from acs_assistant.bench.summary import Run, success_curve

CURVES, BOXES = "success.svg", "simulations.svg"
# Colour never stands alone: each proposer has a dash pattern and a name at the end of its line.
_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))


def write_figures(runs: Sequence[Run], out: Path) -> None:
    """Writes ``success.svg`` and ``simulations.svg`` to ``out``, and PNG of both."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "acs-assistant", "font.size": 9}):
        for name, draw in ((CURVES, _draw_curves), (BOXES, _draw_boxes)):
            figure = Figure(figsize=(7, 4.2), layout="constrained")
            draw(figure, runs)
            metadata = {"Date": None}
            figure.savefig(out / name, metadata=metadata)
            figure.savefig((out / name).with_suffix(".png"), dpi=150)


def _draw_curves(figure: Any, runs: Sequence[Run]) -> None:
    budget = max(run["budget"] for run in runs)
    axes = figure.add_subplot()
    for number, proposer in enumerate(_proposers(runs)):
        mine = [run for run in runs if run["proposer"] == proposer]
        mean, low, high = success_curve(mine, budget)
        steps = range(1, budget + 1)
        (line,) = axes.step(
            steps, 100 * mean, where="post", label=proposer, ls=_DASHES[number % len(_DASHES)]
        )
        axes.fill_between(
            steps, 100 * low, 100 * high, step="post", alpha=0.12, color=line.get_color(), lw=0
        )
    axes.set_xscale("log")
    ticks = [step for step in (1, 2, 3, 5, 10, 20, 50, 100, 200) if step <= budget]
    axes.set_xticks(ticks, [str(step) for step in ticks])
    axes.minorticks_off()
    axes.set(xlim=(1, budget), ylim=(0, 100))
    axes.set(xlabel="simulations", ylabel="tasks met, % (band: 95 % interval)")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", frameon=False)


def _draw_boxes(figure: Any, runs: Sequence[Run]) -> None:
    """Simulations to the first success; a run that met nothing stands beyond the budget."""
    proposers = _proposers(runs)
    circuits = list(dict.fromkeys(run["circuit"] for run in runs))
    budget = max(run["budget"] for run in runs)
    columns = min(4, len(circuits))
    rows = -(-len(circuits) // columns)
    figure.set_size_inches(2.6 * columns + 1.2, 0.32 * rows * len(proposers) + 1.4 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for number, axes in enumerate(grid.flat):
        if number >= len(circuits):
            axes.set_visible(False)
            continue
        data = [
            [
                run["first_met_at"] or 1.5 * budget
                for run in runs
                if run["circuit"] == circuits[number] and run["proposer"] == proposer
            ]
            for proposer in proposers
        ]
        axes.boxplot(data, orientation="horizontal", widths=0.6, flierprops={"markersize": 3})
        axes.set_xscale("log")
        axes.axvline(1.2 * budget, color="0.6", lw=0.8, ls=":")
        axes.set_title(circuits[number])
        axes.set_yticks(range(1, len(proposers) + 1), proposers)
        ticks = [step for step in (1, 3, 10, 30, 100) if step <= budget]
        axes.set_xticks([*ticks, 1.5 * budget], [*(str(step) for step in ticks), "never"])
        axes.minorticks_off()
        axes.grid(axis="x", alpha=0.3)
    figure.supxlabel("simulations to the first sizing that meets every spec")


def _proposers(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run["proposer"] for run in runs))
