"""Advantages, losses and packing against numbers worked out by hand or by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from acs_assistant.training.advantages import (
    group_advantages,
    trajectory_advantages,
    turn_advantages,
)
from acs_assistant.training.chat import Example
from acs_assistant.training.config import RlConfig
from acs_assistant.training.losses import learned_states, policy_loss, soft_cross_entropy
from acs_assistant.training.packing import batches, pack
from acs_assistant.training.policy import Group, pack_group, update


def test_advantages_by_hand() -> None:
    rewards = np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    assert group_advantages(rewards)[0] == pytest.approx([-1, 0, 1], abs=1e-3)
    assert (group_advantages(rewards)[1] == 0).all()
    assert group_advantages(rewards, normalise=False)[0] == pytest.approx([-1, 0, 1])


def test_a_trajectory_is_worth_its_best_turn() -> None:
    rewards = np.array([[[0.2, 0.9], [0.5, 0.1]]])
    advantages = trajectory_advantages(rewards)
    assert advantages[0, 0] == pytest.approx([1 / np.sqrt(2)] * 2, abs=1e-3)
    assert advantages[0, 1] == pytest.approx([-1 / np.sqrt(2)] * 2, abs=1e-3)


def test_both_methods_coincide_at_one_turn() -> None:
    rewards = np.random.default_rng(0).random((4, 1, 8))
    whole = trajectory_advantages(rewards.transpose(0, 2, 1))[:, :, 0]
    assert turn_advantages(rewards)[:, 0] == pytest.approx(whole)


def test_the_policy_loss_by_hand() -> None:
    new = torch.log(torch.tensor([0.5, 0.4, 0.3]))
    old = torch.log(torch.tensor([0.25, 0.4, 0.6]))
    advantage = torch.tensor([1.0, 1.0, -2.0])
    sequence = torch.tensor([0, 0, 1])
    loss = policy_loss(new, old, advantage, sequence, clip_low=0.2, clip_high=0.2)
    first = -(1.2 + 1.0) / 2  # ratio 2 is clipped to 1.2; ratio 1 is not
    second = 2.0 * 0.8  # ratio 0.5 with a negative advantage is clipped to 0.8
    assert float(loss) == pytest.approx((first + second) / 2)


def test_the_kl_term_by_hand() -> None:
    new, reference = torch.log(torch.tensor([0.5])), torch.log(torch.tensor([0.25]))
    zero = torch.zeros(1)
    loss = policy_loss(new, new, zero, torch.tensor([0]), reference=reference, kl_weight=0.1)
    assert float(loss) == pytest.approx(0.1 * (0.5 - np.log(0.5) - 1))


def test_the_policy_gradient_agrees_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    new = torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=True)
    old = new.detach() + 0.05 * torch.randn(6, generator=generator, dtype=torch.float64)
    advantage = torch.randn(6, generator=generator, dtype=torch.float64)
    sequence = torch.tensor([0, 0, 0, 1, 1, 2])
    reference = new.detach() - 0.1

    def loss(x: torch.Tensor) -> torch.Tensor:
        return policy_loss(x, old, advantage, sequence, reference=reference, kl_weight=0.04)

    assert torch.autograd.gradcheck(loss, (new,))


def test_soft_cross_entropy_is_cross_entropy_when_nothing_is_shared() -> None:
    logits = torch.randn(5, 7)
    targets = torch.tensor([0, 3, 6, 2, 2])
    columns = torch.arange(7)[:, None]
    weights = torch.ones(7, 1)
    expected = torch.nn.functional.cross_entropy(logits, targets)
    assert float(soft_cross_entropy(logits, targets, columns, weights)) == pytest.approx(
        float(expected)
    )


def _example(prefix: tuple[int, ...], length: int, seed: int) -> Example:
    rng = np.random.default_rng(seed)
    learn = rng.random(length) < 0.6
    learn[0] = False
    return Example(prefix, rng.integers(10, 300, length).astype(np.int32), learn)


def test_a_batch_gives_the_losses_and_gradients_of_its_texts_alone(
    model: LlamaForCausalLM,
) -> None:
    prefix = (5, 6, 7, 8)
    texts = [_example(prefix, n, n) for n in (5, 9, 7)]
    whole = torch.tensor([[*prefix, *texts[1].tokens.tolist()]])
    plain = model.model(input_ids=whole).last_hidden_state[0, len(prefix) :]
    states, targets = learned_states(model, pack(texts), torch.float32)
    alone, wanted = learned_states(model, pack([texts[1]]), torch.float32)
    assert torch.allclose(alone, plain[:-1][torch.tensor(texts[1].learn[1:])], atol=1e-5)
    first = int(texts[0].learn[1:].sum())
    assert torch.equal(targets[first : first + len(wanted)], wanted)
    assert torch.allclose(states[first : first + len(wanted)], alone, atol=1e-5)
    table = model.model.embed_tokens.weight
    ours = torch.autograd.grad(alone.sum(), table)[0]
    theirs = torch.autograd.grad(plain[:-1][torch.tensor(texts[1].learn[1:])].sum(), table)[0]
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_every_text_comes_once_a_pass_and_fits() -> None:
    texts = [_example((1, 2 + n % 2), n, n) for n in range(3, 30)]
    source = batches(texts, tokens=64, seed=0)
    total = sum(int(t.learn[1:].sum()) for t in texts)
    seen = 0
    while seen < total:
        batch = next(source)
        assert batch.tokens.numel() <= 64
        seen += int((batch.targets >= 0).sum())
    assert seen == total


def test_texts_of_different_prefixes_are_refused() -> None:
    with pytest.raises(ValueError, match="share their prefix"):
        pack([_example((1,), 9, 0), _example((2,), 9, 0)])


def _config(**changes: object) -> RlConfig:
    return RlConfig(start="", data="", precision="f32", **changes)  # type: ignore[arg-type]


GROUP = ((11, 12, 13), ((21, 22, 2), (31, 2)))


def test_equal_rewards_give_exactly_no_gradient(model: LlamaForCausalLM) -> None:
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    group = Group(*GROUP, group_advantages(np.array([[0.7, 0.7]]))[0])
    update(model, optimizer, [group], _config())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_a_step_makes_the_better_response_likelier(model: LlamaForCausalLM) -> None:
    from acs_assistant.training.policy import log_probabilities

    state = {k: v.clone() for k, v in model.state_dict().items()}
    group = Group(*GROUP, np.array([1.0, -1.0]))
    packed = pack_group(group)

    def per_sequence() -> torch.Tensor:
        with torch.no_grad():
            logs = log_probabilities(model, packed, 1.0, torch.float32)
        return torch.zeros(2).index_add(0, packed.sequence, logs)

    first = per_sequence()
    update(model, torch.optim.SGD(model.parameters(), lr=0.01), [group], _config())
    change = per_sequence() - first
    model.load_state_dict(state)
    assert change[0] > 0 > change[1]
