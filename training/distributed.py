"""Several processes that train one model: each draws and learns its share of a step's tasks.

``torchrun`` or ``accelerate launch`` starts them and sets the environment that ``begin`` reads. In
a single process nothing here does anything.
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import nn


def begin() -> None:
    """Joins the other processes, when there are any."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not _several():
        dist.init_process_group("gloo")


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


def sum_gradients(model: nn.Module) -> None:
    """Every process goes on with the sum; one that learned nothing adds zeros."""
    if not _several():
        return
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)


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
