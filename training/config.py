"""Recipes: what a TOML file under ``training/recipes/`` may say; defaults that a laptop bears."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from acs_assistant.errors import ConfigError, nearest


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(_Section):
    """The network, when it is trained from scratch."""

    width: int = Field(default=256, multiple_of=32)
    layers: int = 6
    heads: int = 4
    feed_forward: int = Field(default=768, multiple_of=32)
    context: int = 4096
    merges: int = Field(
        default=1024, description="size of the byte-level BPE part of the vocabulary"
    )


class DataConfig(_Section):
    """Simulated sizings and the sessions made from them."""

    circuits: list[str] = ["ota_5t", "two_stage_miller"]
    sobol: int = Field(default=8000, description="sizings spread over the whole box, per circuit")
    local: int = Field(default=8000, description="perturbations of the best sizings, per circuit")
    rounds: int = Field(default=2, description="rounds of solve, simulate and refit")
    tasks: int = Field(default=12000, description="spec sets solved per round and circuit")
    sketches: int = Field(
        default=0, description="first proposals, and as many corrections, by the surrogate"
    )
    observations: int = Field(
        default=0, description="sizings per circuit of which only what follows is learned"
    )
    seed: int = 1


class LoraTable(_Section):
    """Low-rank adapters (arXiv 2106.09685) instead of every weight."""

    rank: int = Field(default=0, ge=0, description="0 trains every weight")
    alpha: int = Field(default=32, gt=0, description="adapters are scaled by alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: list[str] = Field(
        default=[], description="linear layers by name (q_proj, ...); empty takes all of them"
    )


class FsdpTable(_Section):
    """Weights, gradients and optimizer state divided among the processes of a launch."""

    enabled: bool = False
    offload: bool = Field(default=False, description="what is not in use waits in main memory")
    recompute: bool = Field(
        default=False, description="compute activations again in the backward pass: less memory"
    )


class SftConfig(_Section):
    """Supervised fine-tuning."""

    model: ModelConfig = ModelConfig()
    data: str = Field(default="", description="folder that `train data` wrote")
    start: str = Field(
        default="",
        description="checkpoint, or folder of a Hugging Face causal LM; empty trains from scratch",
    )
    lora: LoraTable = LoraTable()
    fsdp: FsdpTable = FsdpTable()
    weights: Literal["f32", "bf16"] = Field(
        default="f32", description="how the weights of a Hugging Face model are held"
    )
    seconds: float = Field(default=2400, description="wall-clock budget; the schedule ends there")
    steps: int = Field(default=0, ge=0, description="steps at most; 0: as many as time allows")
    results: bool = Field(
        default=False, description="also predict what the simulator answers, to learn the circuit"
    )
    optimizer: Literal["muon", "adamw"] = Field(
        default="muon",
        description="of the hidden matrices; all else, adapters and sharded weights take AdamW",
    )
    batches: int = Field(default=1, ge=1, description="batches per step")
    batch_tokens: int = Field(default=3072, description="padded tokens per batch")
    learning_rate: float = 3e-3
    table_rate: float = Field(
        default=4e-3, description="learning rate of the small model's embeddings and norms"
    )
    final_rate: float = Field(
        default=0.05, description="last learning rate as a share of the first"
    )
    warmup_steps: int = 100
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    value_spread: float = Field(
        default=0.01, description="decades over which a value target is softened"
    )
    checkpoint_seconds: float = 180
    threads: int = 2
    precision: Literal["bf16", "f32"] = "bf16"
    seed: int = 1


class RlConfig(_Section):
    """GRPO and TL-GRPO; the same settings spend the same simulations."""

    start: str = Field(description="checkpoint or Hugging Face model that training starts from")
    lora: LoraTable = LoraTable()
    fsdp: FsdpTable = FsdpTable()
    weights: Literal["f32", "bf16"] = Field(
        default="f32", description="how the weights of a Hugging Face model are held"
    )
    rollouts: Literal["llama.cpp", "torch", "server"] = Field(
        default="llama.cpp", description="what draws the responses"
    )
    server: str = Field(default="", description="http://HOST:PORT/v1#MODEL, for those rollouts")
    adapters: str = Field(
        default="", description="folder that the server reads adapters from, as it sees it"
    )
    data: str = Field(description="folder with the archives that tasks are drawn from")
    circuits: list[str] = ["ota_5t", "two_stage_miller"]
    seconds: float = Field(default=3600, description="wall-clock budget")
    steps: int = Field(default=0, ge=0, description="steps at most; 0: as many as time allows")
    tasks: int = Field(default=12, ge=1, description="tasks per step")
    group: int = Field(default=8, ge=2, description="G: responses per group")
    turns: int = Field(default=4, ge=1, description="T: turns per session")
    continue_with: Literal["best", "sampled"] = "sampled"
    temperature: float = 1.0
    relax: float = Field(default=0.08, description="how far drawn specs are relaxed at most")
    learning_rate: float = 5e-5
    clip_low: float = 0.2
    clip_high: float = 0.28
    kl_weight: float = 0.0
    normalise: bool = Field(default=True, description="divide by the group's standard deviation")
    epochs: int = Field(default=1, ge=1, description="updates from one batch of groups")
    clip_norm: float = 1.0
    max_tokens: int = 512
    checkpoint_seconds: float = 180
    threads: int = 2
    precision: Literal["bf16", "f32"] = "bf16"
    seed: int = 1


class CircuitTable(_Section):
    """What is simulated and imitated of a circuit that has no sessions yet."""

    sobol: int = Field(default=2048, ge=64, description="sizings spread over the whole box")
    local: int = Field(default=2500, ge=32, description="perturbations of the best sizings")
    rounds: int = Field(default=1, ge=1, description="rounds of solve, simulate and refit")
    tasks: int = Field(default=800, ge=8, description="spec sets solved per round")
    sft_seconds: float = Field(default=1200, description="imitating what was solved")
    sft_rate: float = Field(default=5e-4, description="learning rate of that")


class FromSessionsConfig(_Section):
    """Fine-tuning on saved sessions, or on a circuit: the budget of each stage."""

    circuit: CircuitTable = CircuitTable()
    perturbations: int = Field(
        default=96, ge=8, description="sizings simulated around the right ones, per circuit"
    )
    sft_seconds: float = Field(default=120, description="imitating what was right")
    sft_rate: float = Field(default=1e-4, description="learning rate of that")
    rl_seconds: float = Field(default=600, description="TL-GRPO on those circuits and specs")
    rl_steps: int = Field(default=0, ge=0, description="steps of it at most; 0: no limit")
    rl_rate: float = Field(default=3e-5, description="learning rate of that")
    kl_weight: float = Field(default=0.02, description="pull back to what was imitated")
    tasks: int = Field(default=6, ge=1, description="tasks per step")
    group: int = Field(default=8, ge=2, description="responses per group")
    turns: int = Field(default=4, ge=1, description="turns per training session")
    max_tokens: int = 512
    held_out: int = Field(default=24, ge=1, description="draws that the evaluation is made on")
    budget: int = Field(default=5, ge=1, description="simulations per draw in the evaluation")
    threads: int = Field(default=2, ge=1)
    precision: Literal["bf16", "f32"] = "bf16"
    seed: int = 1


S = TypeVar("S", bound=_Section)


def load_config(path: Path, schema: type[S]) -> S:
    """Reads a recipe.

    Raises:
        ConfigError: The file is unreadable, not TOML, or has a key or value that does not fit; the
            message names the key and the nearest right one.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}.", file=path) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not TOML: {error}.", file=path) from error
    try:
        return schema.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _keys_at(schema, first["loc"][:-1])
            hint = nearest(str(first["loc"][-1]), known)
            raise ConfigError(f"unknown key '{key}'.", hint=hint, file=path) from error
        raise ConfigError(f"'{key}': {first['msg']}.", file=path) from error


def _keys_at(schema: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        annotation = schema.model_fields[str(part)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            schema = annotation
    return list(schema.model_fields)
