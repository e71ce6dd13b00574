"""Every recipe that we ship is one that the commands take."""

from __future__ import annotations

from pathlib import Path

import pytest

from acs_assistant import training
from acs_assistant.library import load_circuit
from acs_assistant.training.config import (
    DataConfig,
    FromSessionsConfig,
    RlConfig,
    SftConfig,
    load_config,
)

FOLDER = Path(training.__file__).parent / "recipes"
RECIPES = sorted(FOLDER.rglob("*.toml"))
REINFORCED = ("tl-grpo", "grpo")


def kind(path: Path) -> type[DataConfig | FromSessionsConfig | RlConfig | SftConfig]:
    if path.stem == "from-sessions":
        return FromSessionsConfig
    if path.stem.startswith("data"):
        return DataConfig
    return RlConfig if path.stem.startswith(REINFORCED) else SftConfig


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_recipe_loads_and_names_what_there_is(path: Path) -> None:
    recipe = load_config(path, kind(path))  # type: ignore[type-var]
    for name in getattr(recipe, "circuits", []):
        load_circuit(name)


def test_there_are_recipes_from_the_smallest_to_the_largest() -> None:
    names = {path.parent.name for path in RECIPES}
    assert {"cpu-small", "qwen3-600m-lora", "qwen3-8b-lora", "qwen3-30b-a3b"} <= names


def test_grpo_and_tl_grpo_spend_the_same() -> None:
    """The baseline is compared at equal simulations a step: whole sessions of fewer tasks."""
    found = {
        name: load_config(FOLDER / "cpu-small" / f"{name}.toml", RlConfig) for name in REINFORCED
    }
    ours, theirs = found["tl-grpo"], found["grpo"]
    assert ours.tasks == theirs.tasks * theirs.turns
    same = {"tasks": ours.tasks, "seconds": ours.seconds}
    assert ours.model_dump() == {**theirs.model_dump(), **same}


@pytest.mark.parametrize("name", ["qwen3-600m-lora", "qwen3-8b-lora", "qwen3-30b-a3b"])
def test_reinforcement_goes_on_with_the_adapters_of_the_supervised_recipe(name: str) -> None:
    sft = load_config(FOLDER / name / "sft.toml", SftConfig)
    rl = load_config(FOLDER / name / "tl-grpo.toml", RlConfig)
    assert sft.lora.rank and not rl.lora.rank
    assert (rl.fsdp, rl.weights) == (sft.fsdp, sft.weights)
    assert rl.rollouts != "server" or (rl.server and rl.adapters)
