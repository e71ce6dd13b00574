"""``acs-assistant train``: needs the train extra; nothing of it is imported before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from acs_assistant.cli.output import say
from acs_assistant.errors import InputError

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def train() -> None:
    """Make data, train models, export them."""


@train.command()
@click.option("--config", "config", type=_FILE, required=True, help="Recipe (TOML).")
@click.option("--out", type=_FOLDER, required=True, help="Folder for archives and sessions.")
def data(config: Path, out: Path) -> None:
    """Simulate sizings and make design sessions of them."""
    _require_extra()
    from acs_assistant.cli.compose import make_simulator
    from acs_assistant.training.config import DataConfig, load_config

    recipe = load_config(config, DataConfig)
    from acs_assistant.training.data import make_data

    simulator = make_simulator()
    try:
        make_data(recipe, simulator, out)
    finally:
        simulator.close()
    say(f"Written: {out}")


@train.command()
@click.option("--config", "config", type=_FILE, required=True, help="Recipe (TOML).")
@click.option("--out", type=_FOLDER, default=Path("runs/sft"), show_default=True)
@click.option("--resume", type=_FOLDER, help="Go on with the run in this folder.")
def sft(config: Path, out: Path, resume: Path | None) -> None:
    """Fine-tune on design sessions, supervised."""
    _require_extra()
    from acs_assistant.training.config import SftConfig, load_config

    recipe = load_config(config, SftConfig)
    folder = _resumed(resume) or out
    from acs_assistant.training.sft import train_sft

    say(f"Checkpoint: {train_sft(recipe, folder, resume=resume is not None)}")


@train.command()
@click.option("--config", "config", type=_FILE, required=True, help="Recipe (TOML).")
@click.option("--out", type=_FOLDER, default=Path("runs/grpo"), show_default=True)
@click.option("--resume", type=_FOLDER, help="Go on with the run in this folder.")
def grpo(config: Path, out: Path, resume: Path | None) -> None:
    """Train with GRPO: groups of whole sessions, each worth its best turn."""
    _reinforce("grpo", config, out, resume)


@train.command("tl-grpo")
@click.option("--config", "config", type=_FILE, required=True, help="Recipe (TOML).")
@click.option("--out", type=_FOLDER, default=Path("runs/tl-grpo"), show_default=True)
@click.option("--resume", type=_FOLDER, help="Go on with the run in this folder.")
def tl_grpo(config: Path, out: Path, resume: Path | None) -> None:
    """Train with TL-GRPO: a group of proposals at every turn (arXiv 2601.16480)."""
    _reinforce("tl-grpo", config, out, resume)


def _reinforce(
    method: Literal["grpo", "tl-grpo"], config: Path, out: Path, resume: Path | None
) -> None:
    _require_extra()
    from acs_assistant.cli.compose import make_simulator
    from acs_assistant.training.config import RlConfig, load_config

    recipe = load_config(config, RlConfig)
    folder = _resumed(resume) or out
    from acs_assistant.training.rl import train_rl

    simulator = make_simulator()
    try:
        made = train_rl(method, recipe, simulator, folder, resume=resume is not None)
    finally:
        simulator.close()
    say(f"Checkpoint: {made}")


@train.command()
@click.argument("checkpoint", type=_FOLDER)
@click.option("--quantize", type=click.Choice(["f16", "q8_0"]), default="q8_0", show_default=True)
@click.option("--out", type=_FILE, required=True, metavar="FILE.gguf")
@click.option("--name", default="", help="Name of the model in the file; its stem by default.")
@click.option("--description", default="", help="One line about the model.")
def export(
    checkpoint: Path, quantize: Literal["f16", "q8_0"], out: Path, name: str, description: str
) -> None:
    """Write CHECKPOINT as a GGUF that the app runs."""
    _require_extra()
    if not (checkpoint / "config.json").is_file():
        raise InputError(
            "not a checkpoint: it has no config.json.",
            hint="Give the folder 'checkpoint' inside the output folder of a training run.",
            file=checkpoint,
        )
    from acs_assistant.training.export_gguf import export_gguf

    written = export_gguf(checkpoint, out, quantize, name or out.stem, description)
    say(f"Written: {written} ({written.stat().st_size / 1e6:.1f} MB)")


def _resumed(folder: Path | None) -> Path | None:
    if folder is not None and not (folder / "checkpoint" / "trainer.pt").is_file():
        raise InputError(
            "there is no run to go on with: it has no checkpoint/trainer.pt.",
            hint="Give the --out folder of the run that was stopped.",
            file=folder,
        )
    return folder


def _require_extra() -> None:
    from importlib.util import find_spec

    packages = ("torch", "transformers", "tokenizers", "gguf")
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise InputError(
            f"training needs the packages {', '.join(missing)}.",
            hint="pip install 'acs-assistant[train]'",
        )
