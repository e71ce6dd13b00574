"""How a fine-tuning run is shown: its stages, its curves, and what the evaluation found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content

from acs_assistant.tui.text import duration, plain
from acs_assistant.tui.training_run import Plan, Progress, Stage
from acs_assistant.tui.widgets.columns import Cell, Column, columns
from acs_assistant.tui.widgets.plot import Chart, Curve, Linear, Plot, Whole

_ORDER = (Stage.PREPARING, Stage.IMITATING, Stage.REINFORCING, Stage.EVALUATING)


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


class Figures(Plot):
    """One curve of training in a panel of its own."""


class TrainingPlots(Horizontal):
    """Loss, reward and success, side by side, over the seconds of their stage."""

    def compose(self) -> ComposeResult:
        for name in ("loss", "reward", "met"):
            yield Figures(id=f"plot-{name}", classes="panel")

    def on_mount(self) -> None:
        titles = {"loss": "Loss", "reward": "Reward", "met": "Specs met %"}
        for name, title in titles.items():
            self.query_one(f"#plot-{name}").border_title = title
        self.show(Progress())

    def show(self, progress: Progress) -> None:
        ticks = max(2, self.size.width // 26)
        imitation, reinforcement = progress.imitation, progress.reinforcement
        loss = _chart("Loss", imitation, "loss", "success", ticks)
        reward = _chart("Reward", reinforcement, "reward", "primary", ticks)
        met = _chart("Specs met %", reinforcement, "met", "accent", ticks, scale=100.0)
        for name, chart, empty in (
            ("loss", loss, "The loss comes with the imitation."),
            ("reward", reward, "The mean reward of a turn comes with TL-GRPO."),
            ("met", met, "The share of turns that meet every spec comes with TL-GRPO."),
        ):
            self.query_one(f"#plot-{name}", Figures).show(chart, empty)


def _chart(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    name: str,
    style: str,
    ticks: int,
    scale: float = 1.0,
) -> Chart | None:
    points = [
        (float(row["seconds"]), scale * float(row[name]))
        for row in rows
        if isinstance(row.get(name), int | float) and isinstance(row.get("seconds"), int | float)
    ]
    if not points:
        return None
    xs, ys = zip(*points, strict=True)
    few = len(points) == 1
    limits = (0.0, 100.0) if name == "met" else None
    caption = (
        f"{ys[0]:.3g} → {ys[-1]:.3g} in {rows[-1].get('step', len(rows))} steps · seconds across"
    )
    across = Whole()
    across.most = ticks
    return Chart(title, (Curve(xs, ys, style, points=few),), caption, across, Linear(),
                 ylimits=limits)  # fmt: skip


def stages_text(plan: Plan, progress: Progress, width: int) -> Content:
    """One line per stage, with a bar and the time left for the one at work."""
    stopping = progress.stage is Stage.STOPPING
    at = _ORDER.index(progress.stage) if progress.stage in _ORDER else -1
    budgets = {Stage.IMITATING: plan.imitate, Stage.REINFORCING: plan.reinforce}
    rows: list[list[Cell]] = []
    for n, stage in enumerate(_ORDER):
        budget = budgets.get(stage)
        takes = duration(budget) if budget is not None else ""
        if stopping or at < n:
            rows.append([("·", "$foreground-muted"), (stage.value, "$foreground-muted"), "",
                         (takes, "$foreground-muted")])  # fmt: skip
        elif at > n:
            rows.append([("✓", "$text-success"), stage.value, ("done", "$text-success"), ""])
        else:
            left = "" if progress.left is None else f"{duration(progress.left)} left of {takes}"
            rows.append([("▶", "$text-primary"), (stage.value, "bold"),
                         (_bar(progress), "$primary"), left or "at work"])  # fmt: skip
    table = (Column(""), Column("", shrink=16), Column("", rank=1), Column(""))
    body = columns(table, rows, width, header=False)
    if not stopping:
        return body
    words = "■ stopping: the last checkpoint is kept"
    return Content("\n").join([Content.styled(words, "$text-warning"), body])


def _bar(progress: Progress, cells: int = 16) -> str:
    if progress.left is None:
        return ""
    filled = round(cells * progress.share)
    return "█" * filled + "░" * (cells - filled)


def outcome_text(progress: Progress, model: str, width: int) -> Content:
    """Before against after on the held-out draws, and what to do now."""
    if progress.stage is Stage.FAILED:
        return Content.assemble(
            ("✗ Fine-tuning failed.\n\n", "bold $text-error"),
            f"{plain(progress.error)}\n\n",
            ("n chooses again.", "$foreground-muted"),
        )
    outcome = progress.outcome
    if outcome is None:
        return Content.assemble(
            ("■ Stopped.\n\n", "bold $text-warning"),
            "What was reached is kept. Start again with the same sessions and times (n, then ^s),\n"
            "and it goes on from its last checkpoint, at most a minute before the stop.",
        )
    before, after = outcome["before"], outcome["after"]
    rows: list[list[Cell]] = []
    for k in sorted(after["met_at"], key=int):
        one, two = float(before["met_at"][k]), float(after["met_at"][k])
        word = "simulation" if int(k) == 1 else "simulations"
        rows.append([f"met within {k} {word}", f"{100 * one:.0f} %", f"{100 * two:.0f} %",
                     _change(two - one, 100, " points")])  # fmt: skip
    one, two = float(before["reward"]), float(after["reward"])
    rows.append(["mean reward of the best turn", f"{one:.3f}", f"{two:.3f}", _change(two - one)])
    table = (Column(""), Column("in use", "right"), Column("new", "right"), Column("", rank=1))
    better = bool(outcome.get("not_worse"))
    verdict = (
        Content.styled("✓ Not worse than the model in use. a adopts it.", "bold $text-success")
        if better
        else Content.styled("✗ Worse than the model in use, which stays unless you adopt it (a).",
                            "bold $text-warning")
    )  # fmt: skip
    learned = (
        f"Learned from {outcome['right']} right and {outcome['rejected']} refused sizings of "
        f"{counted(outcome['sessions'], 'session')}; both models were measured on "
        f"{counted(outcome['draws'], 'held-out draw')} of specs around them."
    )
    return Content("\n").join([
        verdict,
        Content(""),
        columns(table, rows, width),
        Content(""),
        Content.styled(learned, "$foreground-muted"),
        Content.styled(f"New model: {plain(str(outcome['model']))}", "$foreground-muted"),
        Content.styled(f"In use: {plain(model)}", "$foreground-muted"),
    ])  # fmt: skip


def _change(difference: float, scale: float = 1.0, unit: str = "") -> Cell:
    value = scale * difference
    if abs(value) < 5e-4:
        return ("= the same", "$foreground-muted")
    text = f"{value:+.0f}{unit}" if unit else f"{value:+.3f}"
    return (f"▲ {text}", "$text-success") if value > 0 else (f"▼ {text}", "$text-error")
