"""What draws responses: torch, and a server that tells token ids and log-probabilities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acs_assistant.errors import ConfigError, ModelError
from acs_assistant.llm.port import Sampling
from acs_assistant.llm.server import ServerModel
from acs_assistant.prompting.render import assistant_text
from acs_assistant.training.base import Trainee, open_trainee
from acs_assistant.training.config import FsdpTable, LoraTable, RlConfig
from acs_assistant.training.policy import Group, log_probabilities, pack_group, update
from acs_assistant.training.rl import train_rl
from acs_assistant.training.samplers import ServerSampler, TorchSampler
from tests.training import foreign
from tests.training.completion_server import CompletionServer
from tests.training.test_distributed import in_two, join
from tests.training.toy import BEST, CIRCUIT, Formula, OneTask

pytestmark = pytest.mark.timeout(900)
LORA = LoraTable(rank=2, targets=["q_proj", "v_proj"])


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return foreign.save(tmp_path_factory.mktemp("served") / "base")


@pytest.fixture(scope="session")
def trainee(base: Path) -> Trainee:
    return open_trainee(base)


def choice(trainee: Trainee, width: float, told: bool = True) -> dict[str, Any]:
    text = assistant_text(CIRCUIT, "Size it.", {"w_in": width})
    ids = list(trainee.language.tokens(text + trainee.language.end_text))
    known = {"token_ids": ids, "logprobs": {"token_logprobs": [-1.5] * len(ids)}} if told else {}
    return {"text": text, "finish_reason": "stop", **known}


def test_torch_draws_groups_that_end(trainee: Trainee) -> None:
    sampler = TorchSampler(trainee)
    prompt = sampler.tokens("<|user|>Size it.<|end|><|assistant|>")
    sampling = Sampling(temperature=1.0, max_tokens=24, seed=3)
    first, again = sampler.sample([prompt], 6, sampling), sampler.sample([prompt], 6, sampling)
    assert first == again and len(first[0]) == 6
    assert len({sample.tokens for sample in first[0]}) > 1
    for sample in first[0]:
        ended = sample.tokens[-1] in trainee.language.ends
        assert sample.finish == ("stop" if ended else "length")
        assert not set(sample.tokens[:-1]) & trainee.language.ends
    greedy = sampler.sample([prompt], 2, Sampling(temperature=0.0, max_tokens=8))[0]
    assert greedy[0] == greedy[1]
    with pytest.raises(ModelError, match="no room"):
        sampler.limit([1] * 1020, sampling)


def test_a_server_is_asked_once_for_a_group_and_taken_at_its_word(trainee: Trainee) -> None:
    widths = (11e-6, 22e-6, 33e-6)
    with CompletionServer(lambda _, number: choice(trainee, widths[number])) as server:
        sampler = ServerSampler(ServerModel(server.url), trainee)
        assert sampler.context == 1024
        sampling = Sampling(temperature=1.0, max_tokens=50, seed=1)
        groups = sampler.sample([[5, 6, 7], [8, 9]], 3, sampling)
    assert sorted((b["prompt"], b["n"], b["max_tokens"]) for b in server.bodies) == [
        ([5, 6, 7], 3, 50),
        ([8, 9], 3, 50),
    ]
    assert len({body["seed"] for body in server.bodies}) == 2
    for group in groups:
        for sample, width in zip(group, widths, strict=True):
            assert list(sample.tokens) == choice(trainee, width)["token_ids"]
            assert sample.text == choice(trainee, width)["text"]
            assert sample.log_probabilities == (-1.5,) * len(sample.tokens)


def test_what_a_server_does_not_tell_is_counted_here(trainee: Trainee) -> None:
    with CompletionServer(lambda *_: choice(trainee, 22e-6, told=False)) as server:
        sampler = ServerSampler(ServerModel(server.url), trainee)
        ((sample,),) = sampler.sample([[5]], 1, Sampling(temperature=1.0, max_tokens=50))
    assert list(sample.tokens) == choice(trainee, 22e-6)["token_ids"]
    assert sample.log_probabilities == ()


def test_log_probabilities_at_another_temperature_are_left_aside(trainee: Trainee) -> None:
    with CompletionServer(lambda *_: choice(trainee, 22e-6)) as server:
        sampler = ServerSampler(ServerModel(server.url), trainee)
        ((sample,),) = sampler.sample([[5]], 1, Sampling(temperature=0.7, max_tokens=50))
    assert sample.log_probabilities == () and sample.tokens


def test_the_ratio_is_taken_to_what_the_server_drew_with(base: Path) -> None:
    model = open_trainee(base).model
    config = RlConfig(start="", data="", precision="f32", kl_weight=0.0)
    responses = ((7, 8, 9), (10, 11))
    plain = Group((3, 4, 5), responses, np.array([1.0, -0.5]))
    with torch.no_grad():
        now = log_probabilities(model, pack_group(plain), 1.0, torch.float32).tolist()
    drawn = (tuple(v + 0.1 for v in now[:3]), tuple(v + 0.1 for v in now[3:]))
    told = Group(plain.prompt, responses, plain.advantages, drawn)
    still = torch.optim.SGD(model.parameters(), lr=0.0)
    assert update(model, still, [plain], config)["loss"] == pytest.approx(-0.25, abs=1e-5)
    expected = -0.25 * float(np.exp(-0.1))  # both ratios are inside the clip range
    assert update(model, still, [told], config)["loss"] == pytest.approx(expected, abs=1e-5)


def recipe(base: Path, served: CompletionServer, folder: Path, **changes: Any) -> RlConfig:
    settings: dict[str, Any] = {
        "start": str(base), "data": "", "circuits": [], "tasks": 1, "group": 2, "turns": 2,
        "steps": 2, "max_tokens": 60, "threads": 1, "precision": "f32", "lora": LORA,
        "rollouts": "server", "server": served.url, "adapters": str(folder),
    }  # fmt: skip
    return RlConfig(**{**settings, **changes})


@pytest.mark.parametrize("method", ["grpo", "tl-grpo"])
def test_training_draws_from_a_server_that_has_the_adapters(
    base: Path, trainee: Trainee, tmp_path: Path, method: Any
) -> None:
    widths = (35e-6, BEST)
    with CompletionServer(lambda _, number: choice(trainee, widths[number % 2])) as server:
        config = recipe(base, server, tmp_path / "adapters")
        train_rl(method, config, Formula(), tmp_path / "run", source=OneTask())
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["invalid"] for line in lines] == [0.0, 0.0]
    assert server.log == ["+acs-1-0", "-acs-1-0", "+acs-1-1", "-acs-1-1"]
    assert {body["model"] for body in server.bodies} == {"acs-1-0", "acs-1-1"}
    assert not list((tmp_path / "adapters").iterdir())


def serve(rank: int, meeting: Path, config: RlConfig, out: Path) -> None:
    join(rank, meeting)
    train_rl("tl-grpo", config, Formula(), out, source=OneTask())


def test_sharded_processes_draw_from_one_server(
    base: Path, trainee: Trainee, tmp_path: Path
) -> None:
    widths = (35e-6, BEST)
    with CompletionServer(lambda _, number: choice(trainee, widths[number])) as server:
        config = recipe(base, server, tmp_path / "adapters", tasks=2, fsdp=FsdpTable(enabled=True))
        out = tmp_path / "run"
        in_two(serve, *[(tmp_path / "meeting", config, out)] * 2)
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2
    assert len(server.bodies) == 4 and not server.loaded
    assert open_trainee(out / "checkpoint").model.num_parameters()


def test_what_a_server_cannot_serve_is_refused(
    base: Path, trainee: Trainee, tmp_path: Path
) -> None:
    with CompletionServer(lambda *_: choice(trainee, 22e-6)) as server:
        whole = recipe(base, server, tmp_path, lora=LoraTable())
        with pytest.raises(ConfigError, match="adapters alone"):
            train_rl("grpo", whole, Formula(), tmp_path / "run", source=OneTask())
        nowhere = recipe(base, server, tmp_path, server="")
        with pytest.raises(ConfigError, match="'server'"):
            train_rl("grpo", nowhere, Formula(), tmp_path / "run", source=OneTask())
        split = recipe(base, server, tmp_path, rollouts="torch", fsdp=FsdpTable(enabled=True))
        with pytest.raises(ConfigError, match="'rollouts'"):
            train_rl("grpo", split, Formula(), tmp_path / "run", source=OneTask())
        server.refuse = True
        config = recipe(base, server, tmp_path / "adapters")
        with pytest.raises(ModelError, match="not to be had") as caught:
            train_rl("grpo", config, Formula(), tmp_path / "run", source=OneTask())
        assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in caught.value.hint
