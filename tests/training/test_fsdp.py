"""Sharded weights: two processes with FSDP take the steps of one process with everything."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed.fsdp import FSDPModule

from acs_assistant.errors import ConfigError
from acs_assistant.prompting.render import messages
from acs_assistant.training import distributed
from acs_assistant.training.base import open_trainee
from acs_assistant.training.config import FsdpTable, LoraTable, SftConfig
from acs_assistant.training.data import write_jsonl
from acs_assistant.training.policy import update
from acs_assistant.training.sft import train_sft
from tests.training import foreign, toy
from tests.training.test_distributed import CONFIG, groups, in_two, join
from tests.training.toy import TASK

pytestmark = pytest.mark.timeout(900)
FSDP = FsdpTable(enabled=True, recompute=True)


def learn(rank: int, meeting: Path, base: Path, cut: int, lora: int, out: Path) -> None:
    join(rank, meeting)
    torch.manual_seed(3)
    model = open_trainee(base, LoraTable(rank=lora)).model
    distributed.shard(model, FSDP)
    assert isinstance(model, FSDPModule)
    held = sum(p.to_local().numel() for p in model.parameters())  # type: ignore[attr-defined]
    assert held < 0.6 * sum(p.numel() for p in model.parameters())
    trained = [p for p in model.parameters() if p.requires_grad]
    share = groups()[:cut] if rank == 0 else groups()[cut:]
    figures = update(model, torch.optim.SGD(trained, lr=0.1), share, CONFIG)
    weights = distributed.whole_weights(model)
    torch.save({"figures": figures, "weights": weights}, out / f"{rank}.pt")


@pytest.mark.parametrize(("cut", "lora"), [(1, 0), (3, 0), (2, 4)])
def test_two_sharded_processes_take_the_step_of_one(tmp_path: Path, cut: int, lora: int) -> None:
    base = foreign.save(tmp_path / "base")
    in_two(learn, *[(tmp_path / "meeting", base, cut, lora, tmp_path)] * 2)
    torch.manual_seed(3)
    model = open_trainee(base, LoraTable(rank=lora)).model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    figures = update(model, torch.optim.SGD(trained, lr=0.1), groups(), CONFIG)
    alone = model.state_dict()
    assert any(not torch.equal(alone[name], before[name]) for name in alone)
    made = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert all(m["figures"] == pytest.approx(figures, abs=1e-5) for m in made)
    weights = made[0]["weights"]
    assert weights.keys() == alone.keys()
    assert all(torch.allclose(weights[n], alone[n], atol=1e-5) for n in alone)


def sft(base: Path, data: Path, **changes: Any) -> SftConfig:
    settings: dict[str, Any] = {
        "start": str(base), "data": str(data), "seconds": 1e6, "steps": 3, "batches": 2,
        "threads": 1, "batch_tokens": 900, "precision": "f32", "optimizer": "adamw",
        "learning_rate": 1e-3,
    }  # fmt: skip
    return SftConfig(**{**settings, **changes})


def tune(rank: int, meeting: Path, config: SftConfig, out: Path) -> None:
    join(rank, meeting)
    train_sft(config, out)
    train_sft(config.model_copy(update={"steps": 5}), out, resume=True)


@pytest.mark.parametrize(
    ("kind", "lora", "weights"),
    [("qwen3", 0, "f32"), ("qwen3", 2, "f32"), ("qwen3_moe", 2, "bf16")],
)
def test_a_sharded_run_is_saved_whole_and_goes_on(
    tmp_path: Path, kind: str, lora: int, weights: str
) -> None:
    base = foreign.save(tmp_path / "base", kind)
    chats = [messages(TASK, [toy.turn(1, w)]) for w in np.linspace(12e-6, 38e-6, 8)]
    write_jsonl(tmp_path / "data" / "toy.jsonl", [{"messages": chat} for chat in chats])
    table = LoraTable(rank=lora, targets=["q_proj", "v_proj"])
    held: dict[str, Any] = {"weights": weights, "precision": weights}
    config = sft(base, tmp_path / "data", fsdp=FSDP, lora=table, **held)
    out = tmp_path / "out"
    in_two(tune, *[(tmp_path / "meeting", config, out)] * 2)
    state = torch.load(out / "checkpoint" / "trainer.pt", weights_only=True)
    assert state["progress"]["step"] == 5
    made = open_trainee(out / "checkpoint").model
    assert made.num_parameters() >= open_trainee(base).model.num_parameters()
    with torch.no_grad():
        assert torch.isfinite(made(torch.arange(9)[None]).logits).all()


def test_one_process_alone_is_refused(tmp_path: Path) -> None:
    model = open_trainee(foreign.save(tmp_path / "base")).model
    with pytest.raises(ConfigError, match="several processes") as caught:
        distributed.shard(model, FSDP)
    assert "accelerate launch" in caught.value.hint


def command(*words: str, out: Path) -> list[float]:
    """Runs a training and returns loss and gradient norm of its last step."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", *words, "--out", str(out)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    line = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    return [line["step"], line["loss"], line["gradient_norm"]]


def test_accelerate_launches_what_one_process_does(tmp_path: Path) -> None:
    base = foreign.save(tmp_path / "base")
    chats = [messages(TASK, [toy.turn(1, w)]) for w in np.linspace(12e-6, 38e-6, 8)]
    write_jsonl(tmp_path / "data" / "toy.jsonl", [{"messages": chat} for chat in chats])
    recipe = tmp_path / "sft.toml"
    recipe.write_text(
        f'start = "{base}"\ndata = "{tmp_path / "data"}"\nseconds = 1e6\nsteps = 3\n'
        'batches = 2\nbatch_tokens = 900\nthreads = 1\nprecision = "f32"\noptimizer = "adamw"\n'
    )
    train = ("acs_assistant", "train", "sft", "--config", str(recipe))
    alone = command(*train, out=tmp_path / "alone")
    recipe.write_text(recipe.read_text() + "[fsdp]\nenabled = true\n")
    launch = ("accelerate.commands.launch", "--use_fsdp", "--fsdp_version", "2")
    port = ("--num_processes", "2", "--main_process_port", str(free_port()), "-m")
    together = command(*launch, *port, *train, out=tmp_path / "together")
    assert together == pytest.approx(alone, abs=2e-3)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
