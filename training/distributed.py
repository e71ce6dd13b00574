"""Several processes that train one model: each draws and learns its share of a step's tasks.

``torchrun`` or ``accelerate launch`` starts them and sets the environment that ``begin`` reads. In
a single process nothing here does anything. Each process holds the whole model, or, sharded (FSDP2,
torch's ``fully_shard``), its part of every weight.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    OffloadPolicy,
    fully_shard,
)
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from acs_assistant.errors import ConfigError
from acs_assistant.training.config import FsdpTable

T = TypeVar("T")


def begin() -> None:
    """Joins the other processes, when there are any."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not _several():
        if torch.cuda.is_available():
            torch.cuda.set_device(_local_rank())
            dist.init_process_group("cpu:gloo,cuda:nccl")
        else:
            dist.init_process_group("gloo")


def device() -> torch.device:
    """Where this process computes."""
    return torch.device("cuda", _local_rank()) if torch.cuda.is_available() else torch.device("cpu")


def place(model: nn.Module) -> None:
    """Moves a model there."""
    nn.Module.to(model, device())


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def rank() -> int:
    """This process's number; the first, 0, is the one that writes."""
    return dist.get_rank() if _several() else 0


def processes() -> int:
    return dist.get_world_size() if _several() else 1


def total(value: float) -> float:
    """The sum over all processes."""
    if not _several():
        return value
    held = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(held)
    return float(held)


def first(value: float) -> float:
    """The first process's value."""
    if not _several():
        return value
    held = torch.tensor(value, dtype=torch.float64)
    dist.broadcast(held, 0)
    return float(held)


def most(value: int) -> int:
    """The largest over all processes."""
    if not _several():
        return value
    held = torch.tensor(value)
    dist.all_reduce(held, dist.ReduceOp.MAX)
    return int(held)


def number(value: Tensor) -> float:
    """A scalar that may be divided among the processes."""
    return float(value.full_tensor() if isinstance(value, DTensor) else value)


def shared(items: Iterable[T]) -> Iterator[T]:
    """This process's part of what all have: every n-th item."""
    return islice(items, rank(), None, processes())


def shard(model: PreTrainedModel, table: FsdpTable) -> None:
    """Divides the weights, block by block; gradients then add up over the processes.

    Raises:
        ConfigError: The recipe asks for it and there is one process alone.
    """
    if table.recompute:
        model.train()
        # Its older name serves transformers 5.0 as well.
        enable = getattr(model, "activation_checkpointing_enable", None)
        (enable or model.gradient_checkpointing_enable)()
    if not table.enabled:
        return
    if not _several():
        raise ConfigError(
            "'fsdp.enabled' needs several processes.",
            hint="Start them: accelerate launch --num-processes N -m acs_assistant train ...",
        )
    kind = device().type
    mesh = init_device_mesh(kind, (processes(),))
    offload = CPUOffloadPolicy() if table.offload and kind != "cpu" else OffloadPolicy()
    blocks = set(model._no_split_modules or ())
    for module in list(model.modules()):
        if type(module).__name__ in blocks:
            fully_shard(module, mesh=mesh, offload_policy=offload)
    fully_shard(model, mesh=mesh, offload_policy=offload)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo has no other


def sharded(model: nn.Module) -> bool:
    return isinstance(model, FSDPModule)


def sum_gradients(model: nn.Module) -> None:
    """Every process goes on with the sum; one that learned nothing adds zeros."""
    if not _several() or sharded(model):
        return
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)


def whole_weights(model: nn.Module) -> dict[str, Any] | None:
    """The weights put together; None where every process has them whole. Call it in all."""
    if not sharded(model):
        return None
    from torch.distributed.checkpoint import state_dict

    return state_dict.get_model_state_dict(model, options=_whole())


def optimizer_state(model: nn.Module, parts: Sequence[Optimizer]) -> list[dict[str, Any]]:
    """What a checkpoint remembers of the optimizers, put together. Call it in all."""
    if not sharded(model):
        return [part.state_dict() for part in parts]
    from torch.distributed.checkpoint import state_dict

    return [state_dict.get_optimizer_state_dict(model, p, options=_whole()) for p in parts]


def restore_optimizers(
    model: nn.Module, parts: Sequence[Optimizer], states: Sequence[dict[str, Any]]
) -> None:
    """Gives the optimizers back what ``optimizer_state`` said."""
    for part, state in zip(parts, states, strict=True):
        if sharded(model):
            from torch.distributed.checkpoint import state_dict

            state_dict.set_optimizer_state_dict(model, part, state, options=_whole())
        else:
            part.load_state_dict(state)


def _whole() -> Any:
    """Late: the module takes a tenth as long to import as torch, and few runs are sharded."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(full_state_dict=True, cpu_offload=True)


def agreed(flag: bool) -> bool:
    """The first process's answer, so that all leave a loop together."""
    if not _several():
        return flag
    held = torch.tensor(flag)
    dist.broadcast(held, 0)
    return bool(held)


def gathered(text: str) -> list[str]:
    """Every process's text, in order."""
    if not _several():
        return [text]
    texts: list[str] = [""] * processes()
    dist.all_gather_object(texts, text)
    return texts


def wait() -> None:
    """Until every process is here."""
    if _several():
        dist.barrier()


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
