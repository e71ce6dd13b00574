"""What GRPO and TL-GRPO share: groups packed behind their history, and one clipped update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from acs_assistant.llm.port import Sample
from acs_assistant.training import distributed
from acs_assistant.training.chat import Example
from acs_assistant.training.config import RlConfig
from acs_assistant.training.losses import learned_logits, policy_loss, token_log_probabilities
from acs_assistant.training.packing import Batch, pack


@dataclass(frozen=True, slots=True)
class Group:
    """Responses drawn from one history.

    Attributes:
        prompt: Tokens of the history.
        responses: Tokens of each response, the end token included.
        advantages: (len(responses),) what each was worth against the others.
        drawn: Log-probability of each token as whatever drew it reports; empty when it does not.
        chosen: Whether the policy chose each token itself. What the rules put in its place is not
            its doing and is not learned from. Empty when it chose all.
    """

    prompt: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]
    advantages: NDArray[np.float64]
    drawn: tuple[tuple[float, ...], ...] = ()
    chosen: tuple[tuple[bool, ...], ...] = ()

    @classmethod
    def of(
        cls, prompt: tuple[int, ...], samples: Sequence[Sample], advantages: NDArray[np.float64]
    ) -> Self:
        """The group of ``samples``, with what is known of how their tokens were drawn."""
        return cls(
            prompt,
            tuple(sample.tokens for sample in samples),
            advantages,
            tuple(sample.log_probabilities for sample in samples),
            tuple(sample.chosen for sample in samples),
        )

    def learned(self, index: int) -> list[bool]:
        """Of each token of a response, whether it is learned from."""
        chosen = self.chosen[index] if self.chosen else ()
        return list(chosen) if any(chosen) else [True] * len(self.responses[index])


@dataclass(frozen=True, slots=True)
class Packed:
    """A group as one batch, with the sequence and the advantage of every learned token.

    ``drawn`` has the log-probabilities of ``Group.drawn``, where there are any.
    """

    batch: Batch
    sequence: Tensor
    advantage: Tensor
    sequences: int
    drawn: Tensor | None = None


_NOTHING = Group((0, 0), ((0,),), np.zeros(1))


def informative(groups: Sequence[Group], kl_weight: float) -> list[Group]:
    """Groups that have a gradient: without a KL term those of equal rewards have none."""
    return [g for g in groups if kl_weight or np.any(g.advantages)]


def pack_group(group: Group) -> Packed:
    """The history once, the responses as rows behind it.

    The history's last token opens every response, because it is what predicts the first one.
    """
    kept = [group.learned(index) for index in range(len(group.responses))]
    batch = pack(
        [
            Example(
                group.prompt[:-1],
                np.array([group.prompt[-1], *response], dtype=np.int32),
                np.array([False, *learned]),
            )
            for response, learned in zip(group.responses, kept, strict=True)
        ]
    )
    rows = torch.arange(len(group.responses))[:, None].expand_as(batch.targets)
    sequence = rows[batch.targets >= 0]
    advantages = torch.tensor(group.advantages, dtype=torch.float32)
    known = zip(group.drawn, kept, strict=True) if group.drawn else ()
    drawn = [value for row, learned in known for value in compress(row, learned)]
    return Packed(
        batch,
        sequence,
        advantages[sequence],
        len(group.responses),
        torch.tensor(drawn, dtype=torch.float32) if len(drawn) == len(sequence) else None,
    )


def log_probabilities(
    model: PreTrainedModel, packed: Packed, temperature: float, dtype: torch.dtype
) -> Tensor:
    """(N,) log-probability of every learned token."""
    with torch.autocast(model.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits, targets = learned_logits(model, packed.batch, dtype)
    return token_log_probabilities(logits, targets, temperature)


def update(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    groups: Sequence[Group],
    config: RlConfig,
    reference: PreTrainedModel | None = None,
) -> dict[str, float]:
    """One or more clipped steps on the same groups; returns what is worth logging.

    With one epoch the policy that drew the tokens is the one being updated, so the old
    log-probabilities are the new ones without their gradient, unless a server that counts
    differently reported its own. With several processes each brings groups of its own, and all
    take the step of all groups together.
    """
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    packs = [pack_group(group) for group in groups]
    total = distributed.total(sum(p.sequences for p in packs))
    if not total:
        return {"loss": 0.0, "gradient_norm": 0.0, "log_probability": 0.0}
    # Sharded weights are gathered by all at once, so everyone passes through them equally often.
    idle = distributed.most(len(packs)) - len(packs) if distributed.sharded(model) else 0
    packs += [pack_group(_NOTHING)] * idle
    drawn: list[Tensor | None] = [packed.drawn for packed in packs]
    anchors: list[Tensor | None] = [None] * len(packs)
    with torch.no_grad():
        if config.epochs > 1:
            drawn = [
                log_probabilities(model, p, config.temperature, dtype)
                if p.drawn is None
                else p.drawn
                for p in packs
            ]
        if reference is not None and config.kl_weight:
            anchors = [log_probabilities(reference, p, config.temperature, dtype) for p in packs]
    logged: dict[str, float] = {}
    for _ in range(config.epochs):
        optimizer.zero_grad(set_to_none=True)
        loss_sum, mean_log = 0.0, 0.0
        for number, (packed, old, anchor) in enumerate(zip(packs, drawn, anchors, strict=True)):
            new = log_probabilities(model, packed, config.temperature, dtype)
            loss = policy_loss(
                new,
                new.detach() if old is None else old.to(new.device),
                packed.advantage.to(new.device),
                packed.sequence.to(new.device),
                clip_low=config.clip_low,
                clip_high=config.clip_high,
                reference=anchor,
                kl_weight=config.kl_weight,
            )
            share = packed.sequences / total if number < len(groups) else 0.0
            (loss * share).backward()  # type: ignore[no-untyped-call]
            loss_sum += float(loss.detach()) * share
            mean_log += float(new.detach().mean()) * share
        distributed.sum_gradients(model)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        logged = {
            "loss": distributed.total(loss_sum),
            "gradient_norm": distributed.number(norm),
            "log_probability": distributed.total(mean_log),
        }
    return logged
