"""Losses over the tokens that are to be learned."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from acs_assistant.training.packing import Batch


def learned_states(
    model: PreTrainedModel, batch: Batch, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Final hidden states (N, width) and targets (N,) at the learned positions only.

    The output layer is as large as the rest of a small model, so it runs on these alone.
    """
    states = model.model(
        input_ids=batch.tokens,
        position_ids=batch.positions,
        attention_mask=batch.attention(dtype),
        use_cache=False,
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
