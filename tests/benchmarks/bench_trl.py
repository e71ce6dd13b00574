"""A step of reinforcement learning by our trainer and by TRL's GRPOTrainer, side by side.

The shipped model, the same histories of one measured turn, as many free draws from each at
temperature 1, the same reward (no simulator), one update; one core. TRL is run in f32 and with
bf16 autocast, and the faster counts. Seconds are processor seconds. The last line of stdout is one
JSON object.

    pip install '.[compare]'; python tests/benchmarks/bench_trl.py
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from acs_assistant.domain import Decision, Evaluation, Measurement, Proposal, Task, Turn
from acs_assistant.library import load_circuit
from acs_assistant.llm import default_model
from acs_assistant.llm.port import Sampling
from acs_assistant.scoring import score
from acs_assistant.training import samplers
from acs_assistant.training.advantages import group_advantages
from acs_assistant.training.base import Trainee
from acs_assistant.training.config import RlConfig
from acs_assistant.training.import_gguf import import_gguf
from acs_assistant.training.language import OwnLanguage
from acs_assistant.training.policy import Group, update
from acs_assistant.training.rollout import own_prompt

CIRCUITS = ("ota_5t", "two_stage_miller", "folded_cascode_ota", "ldo")
LONGEST, RATE = 192, 1e-6


def histories(count: int) -> list[str]:
    """Prompts after one turn that missed its specs by a tenth."""
    texts = []
    for number, name in zip(range(count), itertools.cycle(CIRCUITS), strict=False):
        circuit = load_circuit(name)
        task = Task(circuit, circuit.specs, circuit.conditions)
        short = {spec.metric: spec.target * (0.9 - 0.001 * number) for spec in circuit.specs}
        measured = Measurement("ok", short, (), circuit.conditions)
        sizing = circuit.reference
        evaluation = Evaluation((measured,), score(circuit.specs, [measured]))
        proposal, decision = Proposal(sizing, "model"), Decision("accepted", sizing)
        turn = Turn(1, None, 1, proposal, decision, evaluation, circuit.specs)
        texts.append(own_prompt(task, (turn,)))
    return texts


def worth(tokens: Sequence[int]) -> float:
    """Any function of a response on which the responses of a group differ."""
    return sum(tokens) % 97 / 97


def ours(
    trainee: Trainee, prompts: Sequence[str], group: int, steps: int
) -> tuple[list[float], int]:
    """Seconds of each step, and tokens drawn in all."""
    config = RlConfig(start="", data="", threads=1, max_tokens=LONGEST)
    optimizer = torch.optim.AdamW(trainee.model.parameters(), lr=RATE)
    seconds, tokens = [], 0
    for step in range(steps):
        began = time.process_time()
        trainee.model.train(False)
        with samplers.policy(trainee, config, step) as sampler:
            ids = [sampler.tokens(prompt) for prompt in prompts]
            drawn = sampler.sample(
                ids, group, Sampling(temperature=1.0, max_tokens=LONGEST, seed=step)
            )
        trainee.model.train()
        groups = []
        for prompt, samples in zip(ids, drawn, strict=True):
            rewards = np.array([[worth(sample.tokens) for sample in samples]])
            groups.append(Group.of(tuple(prompt), samples, group_advantages(rewards)[0]))
        update(trainee.model, optimizer, groups, config)
        seconds.append(time.process_time() - began)
        tokens += sum(len(sample.tokens) for samples in drawn for sample in samples)
    return seconds, tokens


def theirs(
    trainee: Trainee, prompts: Sequence[str], group: int, steps: int, half: bool
) -> tuple[list[float], int]:
    """The same by TRL: a batch of all responses is generated, then learned group by group."""
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    language = trainee.language
    assert isinstance(language, OwnLanguage)
    end = language.end_text
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=language.tokenizer, eos_token=end, pad_token=end, padding_side="left"
    )
    seconds: list[float] = []
    drawn = 0

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(time.process_time() - self.began)

    def rewards(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        nonlocal drawn
        drawn += sum(map(len, completion_ids))
        return [worth(row) for row in completion_ids]

    with tempfile.TemporaryDirectory() as folder:
        settings = GRPOConfig(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=group,
            gradient_accumulation_steps=len(prompts),
            num_generations=group,
            max_completion_length=LONGEST,
            temperature=1.0,
            learning_rate=RATE,
            loss_type="grpo",
            beta=0.0,
            bf16=half,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            gradient_checkpointing=False,
        )
        trainer = GRPOTrainer(
            model=trainee.model,
            reward_funcs=rewards,
            args=settings,
            train_dataset=Dataset.from_dict({"prompt": list(prompts)}),
            processing_class=tokenizer,
            callbacks=[Clock()],
        )
        trainer.train()
    return seconds, drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=12)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3, help="timed, after one that is not")
    options = parser.parse_args()
    torch.set_num_threads(1)
    prompts, path = histories(options.tasks), default_model().path
    assert path is not None
    language = OwnLanguage(import_gguf(path)[1])

    def run(name: str) -> tuple[float, float]:
        trainee = Trainee(import_gguf(path)[0], language)
        size = (options.group, options.steps + 1)
        if name == "ours":
            seconds, tokens = ours(trainee, prompts, *size)
        else:
            seconds, tokens = theirs(trainee, prompts, *size, half=name == "trl bf16")
        step, drawn = statistics.median(seconds[1:]), tokens / len(seconds)
        print(f"{name}: {step:.1f} s a step, {drawn:.0f} tokens drawn", flush=True)
        return step, drawn

    step, drawn = run("ours")
    trl_step, trl_drawn = min(run("trl f32"), run("trl bf16"))
    figures = {
        "step_speedup": round(trl_step / step, 2),
        "step_speedup_per_token": round(trl_step / trl_drawn * drawn / step, 2),
        "step_seconds": round(step, 2),
        "trl_step_seconds": round(trl_step, 2),
        "prompt_tokens": round(statistics.mean(len(language.tokens(p)) for p in prompts)),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
