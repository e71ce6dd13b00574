"""GRPO and TL-GRPO from end to end on a circuit of one size whose best value is known."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from acs_assistant.cancel import CancelToken
from acs_assistant.domain import Proposal, Task, Turn
from acs_assistant.errors import ConfigError, ModelError, StorageError
from acs_assistant.llm.batch import Sample
from acs_assistant.llm.port import Rules, Sampling
from acs_assistant.prompting.render import PROMPT_VERSION, assistant_text
from acs_assistant.prompting.wording import DECIDED
from acs_assistant.training import rl, tl_grpo
from acs_assistant.training.advantages import group_advantages
from acs_assistant.training.config import RlConfig
from acs_assistant.training.evaluate import evaluate, evaluate_in_use
from acs_assistant.training.grpo import TrajectoryLevel
from acs_assistant.training.rl import train_rl
from acs_assistant.training.rollout import play_turn
from acs_assistant.training.sft import Progress, load_checkpoint, save_checkpoint
from acs_assistant.training.tl_grpo import TurnLevel
from tests.training.toy import BEST, CIRCUIT, TASK, Formula, OneTask

pytestmark = pytest.mark.timeout(900)


def recipe(base: Path, **changes: Any) -> RlConfig:
    settings: dict[str, Any] = {
        "start": str(base), "data": "", "circuits": [], "tasks": 2, "group": 16, "turns": 2,
        "steps": 24, "max_tokens": 40, "threads": 1, "precision": "f32", "learning_rate": 4e-3,
    }  # fmt: skip
    return RlConfig(**{**settings, **changes})


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_tl_grpo_finds_the_known_answer(toy_base: Path, tmp_path: Path) -> None:
    train_rl("tl-grpo", recipe(toy_base), Formula(), tmp_path, source=OneTask())
    met = [line["met"] for line in lines(tmp_path)]
    assert np.mean(met[:3]) < 0.3
    assert np.mean(met[-3:]) > 0.6


def test_with_shuffled_advantages_it_does_not(
    toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    monkeypatch.setattr(
        tl_grpo,
        "group_advantages",
        lambda rewards, normalise: rng.permuted(group_advantages(rewards, normalise), axis=1),
    )
    train_rl("tl-grpo", recipe(toy_base), Formula(), tmp_path, source=OneTask())
    assert np.mean([line["met"] for line in lines(tmp_path)][-3:]) < 0.3


@pytest.mark.parametrize("method", ["tl-grpo", "grpo"])
def test_a_resumed_run_takes_the_same_next_step(
    toy_base: Path, tmp_path: Path, method: rl.Method
) -> None:
    size = {"group": 4, "turns": 3}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    simulator, source = Formula(), OneTask()
    train_rl(method, recipe(toy_base, steps=3, **size), simulator, whole, source=source)
    train_rl(method, recipe(toy_base, steps=2, **size), simulator, parts, source=source)
    again = recipe(toy_base, steps=3, **size)
    train_rl(method, again, simulator, parts, resume=True, source=source)

    def known(line: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in line.items() if "seconds" not in k}

    assert list(map(known, lines(whole))) == list(map(known, lines(parts)))
    ours, theirs = (load_checkpoint(out / "checkpoint")[0].state_dict() for out in (whole, parts))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_each_step_is_one_line_of_json(toy_base: Path, tmp_path: Path) -> None:
    config = recipe(toy_base, steps=1, group=2, tasks=1)
    train_rl("tl-grpo", config, Formula(), tmp_path, source=OneTask())
    (line,) = lines(tmp_path)
    assert line["step"] == 1 and line["simulations"] <= 2
    assert line["met_later"] is None  # every session was at its first turn
    assert {"reward", "met", "invalid", "loss", "gradient_norm", "seconds"} <= line.keys()


def test_without_archives_the_recipe_is_refused(toy_base: Path, tmp_path: Path) -> None:
    config = recipe(toy_base, data=str(tmp_path), circuits=["ota_5t"])
    with pytest.raises(ConfigError, match="no simulated sizings of circuit ota_5t") as caught:
        train_rl("grpo", config, Formula(), tmp_path / "out")
    assert "train data" in caught.value.hint


class Scripted:
    """A sampler that answers from a list; every text is four tokens to it."""

    wording = ""

    def __init__(self, texts: Sequence[str], context: int = 10_000) -> None:
        self.texts = list(texts)
        self.context = context
        self.prompts: list[Sequence[int]] = []

    def tokens(self, prompt: str | Sequence[int]) -> list[int]:
        return list(prompt.encode()) if isinstance(prompt, str) else list(prompt)

    def limit(self, prompt: Sequence[int], sampling: Sampling) -> int:
        if len(prompt) > self.context:
            raise ModelError("no room is left for an answer.")
        return sampling.max_tokens

    def sample(
        self,
        prompts: Sequence[str | Sequence[int]],
        count: int,
        sampling: Sampling,
        grammars: object = None,
    ) -> list[list[Sample]]:
        self.prompts += [self.tokens(prompt) for prompt in prompts]
        self.grammars = grammars
        return [
            [Sample((1, 2, 3, 4), self.texts[i % len(self.texts)], "stop") for i in range(count)]
            for _ in prompts
        ]


def answer(width: float) -> str:
    return assistant_text(CIRCUIT, "Size it.", {"w_in": width})


class Drafting(Scripted):
    """One that was taught our sentences."""

    wording = PROMPT_VERSION

    @property
    def rules(self) -> Rules:
        """Of the one prompt that was asked last."""
        assert isinstance(self.grammars, list)
        (held,) = self.grammars
        assert isinstance(held, Rules)
        return held


def test_learning_draws_a_text_as_far_as_it_decides_its_sizes(toy_base: Path) -> None:
    decision = f"<think>\nNothing is measured yet. Take w_in 20.0u.{DECIDED}"
    sampler, simulator = Drafting([decision]), Formula()
    sampling = Sampling(temperature=1.0, max_tokens=40, seed=1)
    [[attempt]] = play_turn([TASK], [()], sampler, simulator, sampling, 1, drafts=True)
    assert sampler.rules.rest is None and sampler.rules.marker == DECIDED
    assert attempt.met and attempt.turn.proposal.sizing == {"w_in": BEST}
    play_turn([TASK], [()], sampler, simulator, sampling, 1)
    assert sampler.rules.rest is not None
    undecided = Drafting(["<think>\nNothing is measured yet."])
    [[attempt]] = play_turn([TASK], [()], undecided, simulator, sampling, 1, drafts=True)
    assert not attempt.valid and attempt.turn.proposal.error


MISS, HIT, JUNK = answer(35e-6), answer(BEST), "<think>\nI never call"


def test_an_invalid_call_is_worth_the_penalty_and_is_not_simulated(toy_base: Path) -> None:
    simulator = Formula()
    collector = TurnLevel(recipe(toy_base, tasks=1, group=3), OneTask())
    drawn = collector.collect(Scripted([JUNK, HIT, MISS]), simulator, step=0)
    assert drawn.rewards[0] == -0.5 and drawn.rewards[1] == 2.0
    assert drawn.simulations == len(simulator.requests) == 2
    assert np.argsort(drawn.groups[0].advantages).tolist() == [0, 2, 1]


def test_a_group_of_invalid_calls_says_nothing(toy_base: Path) -> None:
    collector = TurnLevel(recipe(toy_base, tasks=1, group=2), OneTask())
    drawn = collector.collect(Scripted([JUNK]), Formula(), step=0)
    assert drawn.simulations == 0 and not drawn.groups[0].advantages.any()
    collector.collect(Scripted([MISS]), Formula(), step=1)  # and the session goes on


def test_a_session_that_outgrows_the_context_makes_room_for_another(toy_base: Path) -> None:
    collector = TurnLevel(recipe(toy_base, tasks=1, group=2, turns=9), OneTask())
    first = Scripted([MISS])
    collector.collect(first, Formula(), step=0)
    small = Scripted([MISS], context=len(first.prompts[0]) + 100)
    nothing = collector.collect(small, Formula(), step=1)
    assert nothing.groups == [] and not small.prompts
    fresh = collector.collect(small, Formula(), step=2)
    assert len(fresh.groups) == 1 and set(fresh.turns) == {1}


def test_a_task_that_never_fits_is_an_error(toy_base: Path) -> None:
    collector = TurnLevel(recipe(toy_base), OneTask())
    with pytest.raises(ModelError, match="no room"):
        collector.collect(Scripted([MISS], context=10), Formula(), step=0)


def test_a_trajectory_that_outgrows_the_context_keeps_what_it_reached(toy_base: Path) -> None:
    collector = TrajectoryLevel(recipe(toy_base, tasks=1, group=2, turns=3), OneTask())
    probe = Scripted([MISS])
    collector.collect(probe, Formula(), step=0)
    longest = max(len(p) for p in probe.prompts)
    drawn = collector.collect(Scripted([MISS], context=longest - 1 + 40), Formula(), step=0)
    assert sorted(set(drawn.turns.tolist())) == [1, 2]
    assert np.isfinite(drawn.rewards).all()


def test_a_met_session_ends_and_the_best_one_may_go_on(toy_base: Path) -> None:
    collector = TurnLevel(recipe(toy_base, tasks=1, group=2, continue_with="best"), OneTask())
    collector.collect(Scripted([MISS, HIT]), Formula(), step=0)
    assert collector.collect(Scripted([MISS]), Formula(), step=1).turns.tolist() == [1, 1]
    assert collector.collect(Scripted([MISS]), Formula(), step=2).turns.tolist() == [2, 2]


def test_the_state_of_the_sessions_survives_as_text(toy_base: Path) -> None:
    config = recipe(toy_base, tasks=2, group=2, turns=4)
    ours, theirs = TurnLevel(config, OneTask()), TurnLevel(config, OneTask())
    ours.collect(Scripted([MISS]), Formula(), step=0)
    theirs.restore(ours.state())
    one, other = Scripted([MISS]), Scripted([MISS])
    ours.collect(one, Formula(), step=1)
    theirs.collect(other, Formula(), step=1)
    assert one.prompts == other.prompts
    assert ours.state() == theirs.state()


def test_evaluation_counts_the_turn_at_which_a_task_is_met() -> None:
    class Improves(Scripted):
        def sample(self, prompts: Any, count: int, *rest: Any) -> list[list[Sample]]:
            late = b"Turn 1" in bytes(self.tokens(prompts[0]))
            self.texts = [HIT if late else MISS]
            return super().sample(prompts, count, *rest)

    report, histories = evaluate([TASK, TASK], Improves([]), Formula(), budget=3, independent=2)
    assert report.met_at == {1: 0.0, 2: 1.0, 3: 1.0}
    assert report.independent_at == {1: 0.0, 2: 0.0}
    assert [len(history) for history in histories] == [2, 2]
    assert report.as_json()["sign_right"] is None


def test_evaluation_in_use_counts_and_judges_the_same_way() -> None:
    class Halving:
        name, model = "halving", None

        def propose(
            self, task: Task, turns: Sequence[Turn], seed: int, cancel: CancelToken, avoid: Any
        ) -> Iterator[Proposal]:
            size = 10e-6 if not turns else 20e-6
            predictions = {"match": 0.1 if not turns else 0.9}
            yield Proposal({"w_in": size}, "halving", predictions=predictions)

    report, histories = evaluate_in_use([TASK, TASK], Halving(), Formula(), budget=3)
    assert report.met_at == {1: 0.0, 2: 1.0, 3: 1.0}
    assert [len(history) for history in histories] == [2, 2]
    assert report.sign_right == 1.0 and report.relative_error == pytest.approx(0.1)


def test_a_save_that_is_cut_short_leaves_a_whole_checkpoint(
    toy_speaker: tuple[LlamaForCausalLM, Tokenizer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process may die before any rename, and again in the run after it."""
    model, tokenizer = toy_speaker
    rename = Path.rename

    class Killed(BaseException):
        pass

    for first in range(3):
        for second in range(3):
            folder = tmp_path / f"{first}{second}" / "checkpoint"
            save_checkpoint(folder, model, tokenizer, None, Progress(step=1))
            for deadly in (first, second):
                calls = iter(range(9))

                def dying(
                    self: Path, target: Path, calls: Any = calls, deadly: int = deadly
                ) -> Path:
                    if next(calls) == deadly:
                        raise Killed
                    return rename(self, target)

                monkeypatch.setattr(Path, "rename", dying)
                try:
                    save_checkpoint(folder, model, tokenizer, None, Progress(step=2))
                except Killed:
                    pass
                finally:
                    monkeypatch.setattr(Path, "rename", rename)
                load_checkpoint(folder)
            save_checkpoint(folder, model, tokenizer, None, Progress(step=3))
            state = torch.load(folder / "trainer.pt", weights_only=True)
            assert state["progress"]["step"] == 3


def test_a_run_killed_while_it_saves_can_be_read(
    toy_speaker: tuple[LlamaForCausalLM, Tokenizer], tmp_path: Path
) -> None:
    model, tokenizer = toy_speaker
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, model, tokenizer, None, Progress())
    for delay in (0.05, 0.13, 0.29):
        child = os.fork()
        if not child:
            step = 0
            while True:
                step += 1
                save_checkpoint(folder, model, tokenizer, None, Progress(step=step))
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        loaded, _ = load_checkpoint(folder)
        weight = "model.embed_tokens.weight"
        assert torch.equal(loaded.state_dict()[weight], model.state_dict()[weight])


def test_a_full_disk_is_said_and_spares_the_last_checkpoint(
    toy_speaker: tuple[LlamaForCausalLM, Tokenizer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, tokenizer = toy_speaker
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, model, tokenizer, None, Progress(step=1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        save_checkpoint(folder, model, tokenizer, None, Progress(step=2))
    assert "--resume" in caught.value.hint
    load_checkpoint(folder)


def test_too_little_memory_is_said_with_what_to_lower(
    toy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object) -> dict[str, float]:
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    monkeypatch.setattr(rl, "update", too_large)
    config = recipe(toy_base, steps=1, group=2, tasks=1)
    with pytest.raises(ConfigError, match="memory") as caught:
        train_rl("tl-grpo", config, Formula(), tmp_path, source=OneTask())
    assert "'group'" in caught.value.hint
    load_checkpoint(tmp_path / "checkpoint")
