"""How much packing saves in an update: a group behind one history against its rows one by one.

A Llama of about 10 million parameters, a history of 600 tokens, eight responses of 150, one core.
Forward, backward and the clipped step are timed; both ways give the same loss, which is checked.
The last line of stdout is one JSON object; with ``--sampling`` it holds the figures of
``bench_llm.py`` as well, with ``--trl`` those of ``bench_trl.py``.

    python tests/benchmarks/bench_train.py
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from acs_assistant.training.advantages import group_advantages
from acs_assistant.training.config import RlConfig
from acs_assistant.training.policy import Group, update

GROUP, PROMPT, ANSWER = 8, 600, 150


def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=4512,
            hidden_size=288,
            intermediate_size=768,
            num_hidden_layers=8,
            num_attention_heads=6,
            num_key_value_heads=6,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
        )
    )


def group(seed: int) -> Group:
    rng = np.random.default_rng(seed)
    responses = [tuple(map(int, rng.integers(400, 4400, ANSWER))) for _ in range(GROUP)]
    rewards = rng.random((1, GROUP))
    prompt = tuple(map(int, rng.integers(400, 4400, PROMPT)))
    return Group(prompt, tuple(responses), group_advantages(rewards)[0])


def apart(whole: Group) -> list[Group]:
    """The same responses, each behind a history of its own."""
    return [
        Group(whole.prompt, (response,), whole.advantages[i : i + 1])
        for i, response in enumerate(whole.responses)
    ]


def timed(work: Callable[[], dict[str, float]]) -> tuple[float, dict[str, float]]:
    began = time.perf_counter()
    figures = work()
    return time.perf_counter() - began, figures


def measure(rounds: int, precision: str) -> dict[str, float | int | str]:
    policy = model()
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.0)  # so that both see the same weights
    config = RlConfig(start="", data="", precision=precision)  # type: ignore[arg-type]

    def step(groups: Sequence[Group]) -> dict[str, float]:
        return update(policy, optimizer, groups, config)

    step([group(99)])
    packed, unpacked = [], []
    for number in range(rounds):
        whole = group(number)
        together, one = timed(lambda whole=whole: step([whole]))
        separate, other = timed(lambda whole=whole: step(apart(whole)))
        if abs(one["gradient_norm"] / other["gradient_norm"] - 1) > 0.05:
            raise SystemExit("packed and unpacked updates differ")
        packed.append(together)
        unpacked.append(separate)
        print(f"round {number + 1}: packed {together:.2f} s, unpacked {separate:.2f} s", flush=True)
    ratios = [b / a for a, b in zip(packed, unpacked, strict=True)]
    return {
        "update_speedup": round(statistics.median(ratios), 2),
        "packed_seconds": round(statistics.median(packed), 3),
        "unpacked_seconds": round(statistics.median(unpacked), 3),
        "update_parameters": sum(p.numel() for p in policy.parameters()),
        "update_precision": precision,
    }


def figures_of(name: str, *arguments: str) -> dict[str, float | str]:
    """The figures of another benchmark, from a process of its own."""
    script = Path(__file__).with_name(name)
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"},
    )
    figures: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="bf16", choices=["bf16", "f32"])
    parser.add_argument("--sampling", action="store_true", help="run bench_llm.py, too")
    parser.add_argument("--trl", action="store_true", help="run bench_trl.py, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, float | int | str] = dict(measure(options.rounds, options.precision))
    if options.sampling:
        figures |= figures_of("bench_llm.py", "--rounds", str(options.rounds))
    if options.trl:
        figures |= figures_of("bench_trl.py")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
