"""What an import says: what is needed, what went wrong where, what became of each part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from textual.content import Content

from acs_assistant.engine.importing import Imported
from acs_assistant.errors import AcsError
from acs_assistant.tui.text import metric_unit, plain, quantity, spec_text
from acs_assistant.tui.widgets.columns import Cell, Column, columns

_AROUND = 2


def help_text() -> Content:
    return Content.assemble(
        ("SPICE files as you have them.\n\n", "bold"),
        "The netlist holds the .subckt to size: its .param values become parameters with bounds. "
        "A testbench instantiates it and measures with .meas lines, which become metrics.\n\n",
        (
            "Nothing in your files is changed. The report says what was taken, what reads "
            "differently now, and what was left out and why.",
            "$foreground-muted",
        ),
    )


def fault_text(error: AcsError, files: Sequence[Path]) -> Content:
    """The error with the lines of the file that it speaks of."""
    parts: list[Content] = [
        Content.styled(f"✗ {error.title}", "bold $text-error"),
        Content(plain(error.message)),
    ]
    excerpt = _excerpt(error, files)
    if excerpt is not None:
        parts += [Content(""), excerpt]
    if error.hint:
        parts += [Content(""), Content.assemble(("→ ", "$text-accent"), plain(error.hint))]
    parts += [
        Content(""),
        Content.styled("Mend it and import again; nothing was written.", "$foreground-muted"),
    ]
    return Content("\n").join(parts)


def _excerpt(error: AcsError, files: Sequence[Path]) -> Content | None:
    """The line, two before and two behind it."""
    if error.file is None or error.line is None:
        return None
    named = Path(error.file)
    path = next((p for p in files if p.name.lower() == named.name.lower()), named)
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    first = max(error.line - 1 - _AROUND, 0)
    shown = []
    for number, line in enumerate(lines[first : error.line + _AROUND], start=first + 1):
        here = number == error.line
        style = "bold $text-error" if here else "$foreground-muted"
        shown.append(Content.styled(f"{'▶' if here else ' '}{number:>4}  {plain(line)}", style))
    return Content("\n").join(shown) if shown else None


def report_text(made: Imported, width: int) -> Content:
    """The circuit that was made, its reference, and what was taken, changed and left out."""
    circuit = made.circuit
    failed = made.evaluation is not None and made.evaluation.status == "failed"
    parts: list[Content] = [
        Content.styled(f"✓ {plain(circuit.name)} is in {plain(str(made.folder))}",
                       "bold $text-success"),
    ]  # fmt: skip
    if failed and made.evaluation is not None:
        parts.append(
            Content.assemble(
                ("! Its reference does not simulate: ", "$text-warning"),
                plain(made.evaluation.error),
            )
        )
    specs = {spec.metric: spec for spec in circuit.specs}
    rows: list[list[Cell]] = []
    for metric in circuit.metrics:
        value = circuit.reference_metrics.get(metric.name)
        spec = specs.get(metric.name)
        proposed = "" if spec is None else spec_text(circuit, spec).removeprefix(f"{metric.name} ")
        rows.append([
            metric.name,
            quantity(value, metric.unit),
            (metric_unit(circuit, metric.name), "$foreground-muted"),
            (proposed, "$foreground-muted"),
        ])  # fmt: skip
    if rows:
        table = (Column("metric", shrink=10), Column("reference", "right"), Column(""),
                 Column("proposed spec", rank=1))  # fmt: skip
        parts += [Content(""), columns(table, rows, width)]
    for title, lines, style in (
        ("Taken", made.taken, "$text-success"),
        ("Reads differently now", made.changed, "$text-primary"),
        ("Left out", made.dropped, "$text-warning"),
    ):
        if lines:
            parts += [Content(""), Content.styled(f"{title} ({len(lines)})", f"bold {style}")]
            parts += [Content(f"· {plain(line)}") for line in lines]
    parts += [
        Content(""),
        Content.styled("Bounds, grids and targets are proposals: edit circuit.toml in that folder, "
                       "then look at it in the library (^l).", "$foreground-muted"),
    ]  # fmt: skip
    return Content("\n").join(parts)
