"""Two processes take the step that one takes with all the groups."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from transformers import LlamaForCausalLM

from acs_assistant.errors import ConfigError
from acs_assistant.prompting.render import messages
from acs_assistant.training import distributed
from acs_assistant.training.advantages import group_advantages
from acs_assistant.training.config import RlConfig, SftConfig
from acs_assistant.training.data import write_jsonl
from acs_assistant.training.policy import Group, update
from acs_assistant.training.rl import train_rl
from acs_assistant.training.sft import load_checkpoint, train_sft
from tests.training.toy import TASK, Formula, OneTask, turn

pytestmark = pytest.mark.timeout(900)

CONFIG = RlConfig(start="", data="", precision="f32", clip_norm=0.5, kl_weight=0.0)


def groups() -> list[Group]:
    rng = np.random.default_rng(0)
    made = []
    for size in (2, 3, 4):
        prompt = tuple(map(int, rng.integers(10, 300, 6)))
        responses = [tuple(map(int, rng.integers(10, 300, 3 + i))) for i in range(size)]
        made.append(Group(prompt, tuple(responses), group_advantages(rng.random((1, size)))[0]))
    return made


def step(model: LlamaForCausalLM, share: Sequence[Group]) -> dict[str, float]:
    return update(model, torch.optim.SGD(model.parameters(), lr=0.1), share, CONFIG)


def join(rank: int, meeting: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)


def learn(rank: int, meeting: Path, model: LlamaForCausalLM, share: list[Group], out: Path) -> None:
    join(rank, meeting)
    figures = step(model, share)
    torch.save({"figures": figures, "weights": model.state_dict()}, out / f"{rank}.pt")


def train(rank: int, meeting: Path, config: RlConfig, out: Path) -> None:
    join(rank, meeting)
    train_rl("tl-grpo", config, Formula(), out, source=OneTask())
    again = config.model_copy(update={"steps": config.steps + 1})
    train_rl("tl-grpo", again, Formula(), out, resume=True, source=OneTask())


def in_two(work: Any, *arguments: Sequence[Any]) -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=work, args=(r, *arguments[r])) for r in (0, 1)]
    for child in children:
        child.start()
    for child in children:
        child.join(300)
    assert [child.exitcode for child in children] == [0, 0]


@pytest.mark.parametrize("cut", [1, 3])  # three: the second process has nothing to learn from
def test_two_processes_take_the_step_of_one(
    model: LlamaForCausalLM, tmp_path: Path, cut: int
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    whole = groups()
    shares = [whole[:cut], whole[cut:]]
    meeting = tmp_path / "meeting"
    in_two(learn, *((meeting, model, share, tmp_path) for share in shares))
    figures = step(model, whole)
    alone = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(before)
    assert any(not torch.equal(alone[name], before[name]) for name in alone)
    for rank in (0, 1):
        made = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert made["figures"] == pytest.approx(figures, abs=1e-6)
        assert all(torch.allclose(made["weights"][n], alone[n], atol=1e-6) for n in alone)


def test_two_processes_train_one_model(toy_base: Path, tmp_path: Path) -> None:
    config = RlConfig(
        start=str(toy_base), data="", circuits=[], tasks=2, group=4, turns=3, steps=1,
        max_tokens=40, threads=1, precision="f32",
    )  # fmt: skip
    out = tmp_path / "out"
    in_two(train, *[(tmp_path / "meeting", config, out)] * 2)
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2
    states = [(out / "checkpoint" / f"collector-{rank}.json").read_text() for rank in (0, 1)]
    assert states[0] != states[1]  # each has sessions of its own


def test_tasks_that_cannot_be_shared_are_refused(
    toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "processes", lambda: 2)
    config = RlConfig(start=str(toy_base), data="", circuits=[], tasks=3, threads=1)
    with pytest.raises(ConfigError, match="2 processes") as caught:
        train_rl("tl-grpo", config, Formula(), tmp_path, source=OneTask())
    assert "multiple of 2" in caught.value.hint


def imitate(rank: int, meeting: Path, config: SftConfig, out: Path) -> None:
    join(rank, meeting)
    train_sft(config, out)


def test_two_processes_imitate_as_one_does(toy_base: Path, tmp_path: Path) -> None:
    widths = np.linspace(12e-6, 38e-6, 40)
    records = [{"messages": messages(TASK, [turn(1, w)])} for w in widths]
    write_jsonl(tmp_path / "data" / "toy.jsonl", records)
    config = SftConfig(
        start=str(toy_base), data=str(tmp_path / "data"), seconds=1e6, steps=3, batches=2,
        batch_tokens=800, warmup_steps=1, threads=1, precision="f32",
    )  # fmt: skip
    in_two(imitate, *[(tmp_path / "meeting", config, tmp_path / "two")] * 2)
    train_sft(config, tmp_path / "one")
    lines = [
        json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1])
        for name in ("one", "two")
    ]
    assert lines[0]["loss"] == pytest.approx(lines[1]["loss"], abs=1e-3)
    ours, theirs = (load_checkpoint(tmp_path / name / "checkpoint")[0] for name in ("one", "two"))
    before = load_checkpoint(toy_base)[0].state_dict()
    for name, weight in ours.state_dict().items():
        moved = (weight - before[name]).abs().mean()
        assert moved > 0  # and rounding, which Adam's first steps enlarge, is small beside it
        assert (weight - theirs.state_dict()[name]).abs().mean() < 0.02 * moved
    odd = config.model_copy(update={"batches": 3})
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ConfigError, match="'batches'"):
        patch.setattr(distributed, "processes", lambda: 2)
        train_sft(odd, tmp_path / "three")
