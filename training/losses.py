"""Losses over the tokens that are to be learned."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from transformers import DynamicCache, PreTrainedModel

from acs_assistant.training.packing import Batch

_SHARING = frozenset({"llama", "qwen2", "qwen3", "qwen3_moe"})
"""Architectures whose whole state behind a prefix is keys and values, with a plain output layer."""


def shares_prefix(model: PreTrainedModel) -> bool:
    """Whether a prefix can be evaluated once, and trained through its keys and values.

    Sharded weights and activations that are computed again belong to a single forward pass.
    """
    config = model.config
    plain = all(kind == "full_attention" for kind in getattr(config, "layer_types", None) or [])
    recomputed = any(getattr(m, "gradient_checkpointing", False) for m in model.modules())
    single = isinstance(model, FSDPModule) or recomputed
    return config.model_type in _SHARING and plain and not single


def learned_logits(
    model: PreTrainedModel, batch: Batch, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Logits (N, vocabulary) and targets (N,) at the learned positions only."""
    batch = batch.to(model.device)
    if shares_prefix(model):
        states, targets = learned_states(model, batch, dtype)
        return model.lm_head(states), targets
    before, rows = len(batch.prefix), len(batch.tokens)
    # Padding comes last and attention is causal: no row needs a mask.
    columns = (batch.targets >= 0).any(dim=0).nonzero()[:, 0]
    logits = model(
        input_ids=torch.cat([batch.prefix.expand(rows, -1), batch.tokens], dim=1),
        logits_to_keep=before + columns,
        use_cache=False,
    ).logits
    targets = batch.targets[:, columns]
    return logits[targets >= 0], targets[targets >= 0]


def learned_states(
    model: PreTrainedModel, batch: Batch, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Final hidden states (N, width) and targets (N,) at the learned positions only.

    The output layer is as large as the rest of a small model, so it runs on these alone.
    """
    before, (rows, length) = len(batch.prefix), batch.tokens.shape
    cache = DynamicCache(config=model.config)
    model.model(input_ids=batch.prefix[None], past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(rows)
    states = model.model(
        input_ids=batch.tokens,
        position_ids=torch.arange(before, before + length, device=batch.tokens.device)[None],
        attention_mask=batch.attention(dtype),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    chosen = batch.targets >= 0
    return states[chosen], batch.targets[chosen]


def soft_cross_entropy(logits: Tensor, targets: Tensor, columns: Tensor, weights: Tensor) -> Tensor:
    """Mean cross-entropy (N,) against targets spread over neighbouring values.

    Args:
        logits: (N, vocabulary).
        columns: (vocabulary, K) ids that share a target's weight (``model.value_neighbours``).
        weights: (vocabulary, K), each row summing to 1.
    """
    log_probabilities = torch.log_softmax(logits.float(), dim=-1)
    picked = log_probabilities.gather(1, columns[targets])
    return -(picked * weights[targets]).sum(dim=1).mean()


def token_log_probabilities(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """(N,) log-probability of each drawn token under the distribution that it was drawn from."""
    scaled = logits.float() / temperature
    return scaled.gather(1, tokens[:, None])[:, 0] - scaled.logsumexp(dim=1)


def policy_loss(
    new: Tensor,
    old: Tensor,
    advantage: Tensor,
    sequence: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    reference: Tensor | None = None,
    kl_weight: float = 0.0,
) -> Tensor:
    """The clipped surrogate of GRPO (arXiv 2402.03300, equation 3), negated.

    Averages over the tokens of each sequence, then over sequences.

    Args:
        new: (N,) log-probabilities under the policy being trained.
        old: (N,) under the policy that drew the tokens; no gradient.
        advantage: (N,) of the sequence that each token belongs to.
        sequence: (N,) index of that sequence, 0..S−1, each with at least one token.
        reference: (N,) under the reference policy, for the KL estimate exp(d) − d − 1 with
            d = reference − new (the paper's equation 4).
    """
    ratio = torch.exp(new - old)
    clipped = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    loss = -torch.minimum(ratio * advantage, clipped * advantage)
    if reference is not None and kl_weight:
        difference = reference - new
        loss = loss + kl_weight * (torch.exp(difference) - difference - 1.0)
    count = int(sequence.max()) + 1
    total = loss.new_zeros(count).index_add(0, sequence, loss)
    size = loss.new_zeros(count).index_add(0, sequence, torch.ones_like(loss))
    return (total / size).mean()
