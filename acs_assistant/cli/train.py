"""``acs-assistant train``: needs the train extra; nothing of it is imported before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from acs_assistant.cli.output import complain, json_option, print_json, progress, say, table
from acs_assistant.errors import InputError

if TYPE_CHECKING:
    from acs_assistant.domain import Task
    from acs_assistant.llm import ModelCard
    from acs_assistant.sim.port import Simulator
    from acs_assistant.training.config import FromSessionsConfig
    from acs_assistant.training.evaluate import Report
    from acs_assistant.training.tuning import Outcome

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
@click.argument("circuit")
@click.option("--data", "folder", type=_FOLDER, required=True, help="What `train data` wrote.")
@click.option("--out", type=_FOLDER, required=True, help="Folder of models to put it into.")
@click.option("--edge", type=click.IntRange(min=0), default=0, show_default=True,
              help="Simulate so many sizings more, near the best trade-offs.")  # fmt: skip
def critic(circuit: str, folder: Path, out: Path, edge: int) -> None:
    """Fit the critic of CIRCUIT, which chooses among the model's draws."""
    _require_extra()
    from acs_assistant.library import load_circuit

    loaded = load_circuit(circuit)
    archive = folder / f"{loaded.name}.npz"
    if not archive.is_file():
        raise InputError(
            "there are no simulated sizings of this circuit.",
            hint=f"Make them with: acs-assistant train data --config FILE --out {folder}",
            file=archive,
        )
    from acs_assistant.training.archive import load_archive
    from acs_assistant.training.critic import make_critic

    if edge:
        from acs_assistant.cli.compose import make_simulator
        from acs_assistant.training.data import add_edge

        simulator = make_simulator()
        try:
            add_edge(archive, loaded, edge, simulator)
        finally:
            simulator.close()
    errors = make_critic(load_archive(archive, loaded), out)
    say(f"Written: {out / loaded.name}.critic.npz; errors in spreads: "
        + ", ".join(f"{name} {error:.3f}" for name, error in errors.items()))  # fmt: skip


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


@train.command("from-sessions")
@click.option("--session", "sessions", type=int, multiple=True, metavar="ID",
              help="A session to learn from; may be repeated. All of them by default.")  # fmt: skip
@click.option("--circuit", "circuit", default="", metavar="DIR",
              help="Instead: a circuit without sessions, simulated for it.")  # fmt: skip
@click.option("--model", default="", help="The model to start from; the one in use by default.")
@click.option("--config", "config", type=_FILE, help="Budget of each stage (TOML).")
@click.option("--out", type=_FOLDER, help="Folder of the run; one in the data folder by default.")
@click.option("--no-adopt", is_flag=True, help="Only train and evaluate; change no default.")
@json_option
def from_sessions(
    sessions: tuple[int, ...],
    circuit: str,
    model: str,
    config: Path | None,
    out: Path | None,
    no_adopt: bool,
    as_json: bool,
) -> None:
    """Fine-tune the model in use on saved sessions; adopt the result if it is not worse.

    A run that was stopped goes on when it is started again with the same sessions.
    """
    _require_extra()
    if circuit and sessions:
        raise InputError("--circuit and --session exclude each other.", hint="Leave one out.")
    from acs_assistant import llm
    from acs_assistant.cli.compose import make_simulator
    from acs_assistant.training.config import FromSessionsConfig, load_config

    recipe = FromSessionsConfig() if config is None else load_config(config, FromSessionsConfig)
    card = llm.show_model(model) if model else llm.default_model()
    simulator = make_simulator()
    try:
        if circuit:
            outcome = _for_circuit(circuit, card, recipe, simulator, out, not no_adopt)
        else:
            outcome = _for_sessions(sessions, card, recipe, simulator, out, not no_adopt)
    finally:
        simulator.close()
    if as_json:
        print_json(outcome.as_json())
        return
    before, after = outcome.before, outcome.after
    header = ("held-out draws", "before", "after")
    rows = [
        [f"met within {k}", f"{before.met_at[k]:.3f}", f"{after.met_at[k]:.3f}"]
        for k in sorted(after.met_at)
    ]
    rows.append(["mean reward", f"{before.reward:.3f}", f"{after.reward:.3f}"])
    say(table(rows, header))
    say(f"Model: {outcome.model}")
    if outcome.adopted:
        say(f"The default model is now {outcome.adopted}; `models rollback` takes it back.")
    elif outcome.not_worse:
        say(f"Not worse. Use it with: acs-assistant models adopt {outcome.model}")
    else:
        say(f"Worse than {card.name}, which stays in use.")


def _for_sessions(
    ids: tuple[int, ...],
    card: ModelCard,
    recipe: FromSessionsConfig,
    simulator: Simulator,
    out: Path | None,
    may_adopt: bool,
) -> Outcome:
    from acs_assistant import paths
    from acs_assistant.storage.store import Store
    from acs_assistant.training import from_sessions as tuning
    from acs_assistant.training.tuning import digest

    store = Store(paths.database())
    try:
        chosen = tuning.chosen_sessions(store, ids)
    finally:
        store.close()
    folder = out or _run_folder(digest(tuning.plan_of(chosen, card, recipe)))
    return tuning.train_from_sessions(
        chosen, card, recipe, simulator, folder, may_adopt=may_adopt, say=progress
    )


def _for_circuit(
    name: str,
    card: ModelCard,
    recipe: FromSessionsConfig,
    simulator: Simulator,
    out: Path | None,
    may_adopt: bool,
) -> Outcome:
    from acs_assistant.library import load_circuit

    circuit = load_circuit(name)
    from acs_assistant.training import for_circuit as tuning
    from acs_assistant.training.tuning import digest

    folder = out or _run_folder(digest(tuning.plan_for(circuit, card, recipe)))
    complain(tuning.estimate(circuit, recipe, simulator).text())
    return tuning.train_for_circuit(
        circuit, card, recipe, simulator, folder, may_adopt=may_adopt, say=progress
    )


def _run_folder(key: str) -> Path:
    from acs_assistant import paths

    return paths.data_dir() / "training" / key


@train.command()
@click.argument("model")
@click.option("--tasks", "tasks_file", type=_FILE, required=True, metavar="FILE.json",
              help="Tasks, as `bench` reads them.")  # fmt: skip
@click.option("--budget", type=click.IntRange(min=1), default=10, show_default=True,
              help="Simulations per task.")  # fmt: skip
@click.option("--independent", type=click.IntRange(min=0), default=0, show_default=True,
              help="Also draw this many first proposals per task, without history.")  # fmt: skip
@click.option("--temperature", type=click.FloatRange(min=0), default=0.6, show_default=True,
              help="From the second turn on; the first is greedy.")  # fmt: skip
@click.option("--critics", is_flag=True,
              help="Play as the app does, with critics, one task after another.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True)
@json_option
def evaluate(
    model: str,
    tasks_file: Path,
    budget: int,
    independent: int,
    temperature: float,
    critics: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Measure MODEL, an installed one or a GGUF file: tasks met, and how true its reasoning is."""
    _require_extra()
    if critics and independent:
        raise InputError("--critics and --independent exclude each other.", hint="Leave one out.")
    from acs_assistant.bench.taskfile import read_tasks
    from acs_assistant.cli.compose import make_simulator
    from acs_assistant.library import load_circuit
    from acs_assistant.llm import show_model

    entries = read_tasks(tasks_file)
    circuits = {name: load_circuit(name) for name in {entry.circuit for entry in entries}}
    tasks = [entry.task(circuits[entry.circuit]) for entry in entries]
    card = show_model(model)
    simulator = make_simulator()
    try:
        if critics:
            report = _with_critics(card, tasks, simulator, budget, temperature, seed)
        else:
            report = _alone(card, tasks, simulator, budget, independent, temperature, seed)
    finally:
        simulator.close()
    if as_json:
        print_json({"model": card.name, "budget": budget, "seed": seed, **report.as_json()})
        return
    say(_report_table(report))


def _with_critics(
    card: ModelCard,
    tasks: Sequence[Task],
    simulator: Simulator,
    budget: int,
    temperature: float,
    seed: int,
) -> Report:
    from acs_assistant.engine.critic import find_critic
    from acs_assistant.engine.proposers import ModelProposer, SamplingPolicy
    from acs_assistant.llm import open_model
    from acs_assistant.training.evaluate import evaluate_in_use

    model = open_model(str(card.path))
    try:
        report, _ = evaluate_in_use(
            tasks,
            ModelProposer(model, SamplingPolicy(temperature=temperature), find_critic),
            simulator,
            budget=budget,
            seed=seed,
            progress=lambda done, left: progress(f"{done} tasks played, {left} left"),
        )
    finally:
        model.close()
    return report


def _alone(
    card: ModelCard,
    tasks: Sequence[Task],
    simulator: Simulator,
    budget: int,
    independent: int,
    temperature: float,
    seed: int,
) -> Report:
    from acs_assistant.llm.batch import BatchSampler
    from acs_assistant.training.evaluate import evaluate as play
    from acs_assistant.training.samplers import prompt_of

    with BatchSampler(card.path) as sampler:
        report, _ = play(
            tasks,
            sampler,
            simulator,
            budget=budget,
            temperature=temperature,
            independent=independent,
            seed=seed,
            render=prompt_of(sampler),
            progress=lambda turn, left: progress(f"turn {turn}: {left} tasks left"),
        )
    return report


def _report_table(report: Report) -> str:
    def share(value: float) -> str:
        return "none to judge" if value != value else f"{100 * value:.1f} %"

    rows = [[f"met within {k}", share(v)] for k, v in report.met_at.items()]
    rows += [[f"met by {k} without history", share(v)] for k, v in report.independent_at.items()]
    rows += [
        ["predicted changes of the right sign", share(report.sign_right)],
        ["median error of predictions", share(report.relative_error)],
        ["named sizes that are in the call", share(report.named_sizes_kept)],
    ]
    return f"{report.tasks} tasks\n" + table(rows)


@train.command()
@click.argument("checkpoint", type=_FOLDER)
@click.option("--quantize", type=click.Choice(["f16", "bf16", "q8_0", "q4_k_m"]), default="q8_0",
              show_default=True)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE.gguf",
              help="The file to write; with --merged a folder.")  # fmt: skip
@click.option("--name", default="", help="Name of the model in the file; its stem by default.")
@click.option("--description", default="", help="One line about the model.")
@click.option("--adapter", is_flag=True,
              help="Only the low-rank adapters, for llama.cpp's --lora.")  # fmt: skip
@click.option("--merged", is_flag=True,
              help="A Hugging Face folder, adapters merged, for other programs.")  # fmt: skip
def export(
    checkpoint: Path,
    quantize: Literal["f16", "bf16", "q8_0", "q4_k_m"],
    out: Path,
    name: str,
    description: str,
    adapter: bool,
    merged: bool,
) -> None:
    """Write CHECKPOINT as a GGUF that the app runs."""
    _require_extra()
    if not (checkpoint / "config.json").is_file():
        raise InputError(
            "not a checkpoint: it has no config.json.",
            hint="Give the folder 'checkpoint' inside the output folder of a training run.",
            file=checkpoint,
        )
    if adapter and merged:
        raise InputError("--adapter and --merged exclude each other.", hint="Leave one out.")
    from acs_assistant.training import export_gguf

    if merged:
        say(f"Written: {export_gguf.export_merged(checkpoint, out)}")
        return
    name = name or out.stem
    if adapter:
        written = export_gguf.export_adapter(checkpoint, out, name)
    else:
        written = export_gguf.export_gguf(checkpoint, out, quantize, name, description)
    say(f"Written: {written} ({written.stat().st_size / 1e6:.1f} MB)")


def _resumed(folder: Path | None) -> Path | None:
    states = ("checkpoint/trainer.pt", "checkpoint.old/trainer.pt")
    if folder is not None and not any((folder / state).is_file() for state in states):
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
