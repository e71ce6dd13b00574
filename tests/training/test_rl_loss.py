"""The loss of one step against TRL's on the same tensors: padded rows there, packed here."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from acs_assistant.training.advantages import group_advantages
from acs_assistant.training.config import RlConfig
from acs_assistant.training.losses import policy_loss
from acs_assistant.training.policy import Group, log_probabilities, pack_group, update

LOW, HIGH, BETA = 0.2, 0.28, 0.04
PROMPT = (11, 12, 13, 14, 15)
RESPONSES = ((21, 22, 23, 2), (31, 2), (41, 42, 43, 44, 45, 2))
REWARDS = np.array([[0.3, 1.9, 0.6]])


class Padded:
    """The same group as TRL holds it: rows of prompt and completion, with masks."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        longest = max(map(len, RESPONSES))
        rows = [[*r, *[0] * (longest - len(r))] for r in RESPONSES]
        self.completion = torch.tensor(rows)
        self.prompt = torch.tensor([PROMPT] * len(RESPONSES))
        self.mask = torch.tensor(
            [[1] * len(r) + [0] * (longest - len(r)) for r in RESPONSES], dtype=torch.float32
        )
        logits = model(torch.cat([self.prompt, self.completion], dim=1)).logits
        logs = torch.log_softmax(logits[:, len(PROMPT) - 1 : -1], dim=-1)
        self.new = logs.gather(2, self.completion[..., None])[..., 0]
        generator = torch.Generator().manual_seed(0)
        self.old = self.new.detach() + 0.3 * torch.randn(self.new.shape, generator=generator)
        self.reference = self.new.detach() - 0.2 * torch.rand(self.new.shape, generator=generator)
        centred = REWARDS[0] - REWARDS[0].mean()
        self.advantages = torch.tensor(
            centred / (REWARDS[0].std(ddof=1) + 1e-4), dtype=torch.float32
        )


def by_formula(padded: Padded, beta: float) -> Tensor:
    """arXiv 2402.03300, equation 3, mean over the tokens of a row and then over rows."""
    ratio = torch.exp(padded.new - padded.old)
    advantage = padded.advantages[:, None]
    gain = torch.min(ratio * advantage, ratio.clamp(1 - LOW, 1 + HIGH) * advantage)
    difference = padded.reference - padded.new
    loss = -gain + beta * (difference.exp() - difference - 1)
    return ((loss * padded.mask).sum(1) / padded.mask.sum(1)).mean()


def by_trl(padded: Padded, beta: float) -> Tensor:
    """TRL's own code; its trainer is replaced by the settings that the code reads."""
    trl = pytest.importorskip("trl.trainer.grpo_trainer", reason="TRL is not installed")
    trainer: Any = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (
            padded.new,
            torch.zeros_like(padded.new),
            None,
        ),
        accelerator=SimpleNamespace(reduce=lambda x, **_: x, gather=lambda x: x),
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None),
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        beta=beta,
        current_gradient_accumulation_steps=1,
        epsilon_high=HIGH,
        epsilon_low=LOW,
        importance_sampling_level="token",
        loss_type="grpo",
        off_policy_mask_threshold=None,
        top_entropy_quantile=1.0,
        use_vllm=False,
        _entropy_bonus_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
    )
    inputs = {
        "prompt_ids": padded.prompt,
        "prompt_mask": torch.ones_like(padded.prompt),
        "completion_ids": padded.completion,
        "completion_mask": padded.mask,
        "advantages": padded.advantages,
        "old_per_token_logps": padded.old,
        "ref_per_token_logps": padded.reference,
    }
    loss: Tensor = trl.GRPOTrainer._compute_loss(trainer, None, inputs)
    return loss


@pytest.mark.timeout(600)
@pytest.mark.parametrize("theirs", [by_formula, by_trl])
@pytest.mark.parametrize("beta", [0.0, BETA])
def test_loss_and_gradient_equal_trl(
    model: LlamaForCausalLM, theirs: Callable[[Padded, float], Tensor], beta: float
) -> None:
    padded = Padded(model)
    group = Group(PROMPT, RESPONSES, group_advantages(REWARDS)[0])
    packed = pack_group(group)
    seen = padded.mask > 0
    ours = policy_loss(
        log_probabilities(model, packed, 1.0, torch.float32),
        padded.old[seen],
        packed.advantage,
        packed.sequence,
        clip_low=LOW,
        clip_high=HIGH,
        reference=padded.reference[seen],
        kl_weight=beta,
    )
    expected = theirs(padded, beta)
    assert ours.item() == pytest.approx(expected.item(), abs=1e-5)
    weights = list(model.parameters())
    mine = torch.autograd.grad(ours, weights)
    wanted = torch.autograd.grad(expected, weights)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(mine, wanted, strict=True))


def test_an_update_takes_the_step_of_that_loss(model: LlamaForCausalLM) -> None:
    state = {name: value.clone() for name, value in model.state_dict().items()}
    padded = Padded(model)
    padded.old = padded.new.detach()
    table = model.model.embed_tokens.weight
    (gradient,) = torch.autograd.grad(by_formula(padded, 0.0), table)
    before = table.detach().clone()
    config = RlConfig(start="", data="", precision="f32", clip_norm=1e9)
    group = Group(PROMPT, RESPONSES, group_advantages(REWARDS)[0])
    update(model, torch.optim.SGD(model.parameters(), lr=1.0), [group], config)
    step = before - table.detach()
    model.load_state_dict(state)
    assert gradient.abs().max() > 1e-3
    assert torch.allclose(step, gradient, atol=1e-5)


def test_what_the_rules_wrote_is_not_learned_from(model: LlamaForCausalLM) -> None:
    """The packed loss equals the formula with those tokens masked; so does its gradient."""
    chosen = ((True, False, True, True), (False, True), (True, True, False, False, True, True))
    padded = Padded(model)
    for row, flags in enumerate(chosen):
        padded.mask[row, : len(flags)] *= torch.tensor(flags)
    group = Group(PROMPT, RESPONSES, group_advantages(REWARDS)[0], chosen=chosen)
    packed = pack_group(group)
    ours = policy_loss(
        log_probabilities(model, packed, 1.0, torch.float32),
        padded.old[padded.mask > 0],
        packed.advantage,
        packed.sequence,
        clip_low=LOW,
        clip_high=HIGH,
    )
    expected = by_formula(padded, 0.0)
    assert ours.item() == pytest.approx(expected.item(), abs=1e-5)
    weights = list(model.parameters())
    mine, wanted = (torch.autograd.grad(loss, weights) for loss in (ours, expected))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(mine, wanted, strict=True))


def test_later_epochs_keep_near_the_policy_that_drew_and_near_the_reference(
    model: LlamaForCausalLM,
) -> None:
    """With two epochs the clip stops what would go too far; a KL weight pulls back."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    reference = copy.deepcopy(model)
    group = Group(PROMPT, RESPONSES, group_advantages(REWARDS)[0])
    packed = pack_group(group)

    def moved(**changes: Any) -> tuple[float, dict[str, float]]:
        config = RlConfig(start="", data="", precision="f32", clip_norm=1e9, **changes)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        figures = update(model, optimizer, [group], config, reference)
        with torch.no_grad():
            new = log_probabilities(model, packed, 1.0, torch.float32)
            old = log_probabilities(reference, packed, 1.0, torch.float32)
        model.load_state_dict(state)
        return float((new - old).abs().mean()), figures

    _, first = moved(epochs=1)
    clipped, second = moved(epochs=4, clip_low=0.01, clip_high=0.01)
    free, _ = moved(epochs=4, clip_low=0.99, clip_high=99.0)
    pulled, _ = moved(epochs=4, clip_low=0.99, clip_high=99.0, kl_weight=1.0)
    assert first["loss"] == pytest.approx(0.0, abs=1e-6)  # ratio 1, advantages sum to 0
    assert second["loss"] < 0
    assert clipped < free
    assert pulled < free
