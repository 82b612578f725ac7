"""Data-parallel training by several processes of `torchrun`: each has the whole model and a part of each batch.

Gradients are averaged before they are clipped, so n processes take the same step as one process with the whole batch.
With one process all functions here do nothing.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from unstir.errors import UserError
from unstir.models.process_group import process_group

PATIENCE = timedelta(hours=2)
"""How long processes wait for the first one, which alone draws, validates and writes."""


@contextmanager
def joined_processes(device: str) -> Iterator[str]:
    """Join the process group of torchrun, and leave it at the end. Without torchrun nothing happens.

    device: "cpu", or "cuda" for the GPU of the local rank.
    Yields the device of this process.
    UserError where there are more processes than GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device.startswith("cuda"):
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise UserError(f"there are {torch.cuda.device_count()} GPUs here; start no more processes than that")
        device = f"cuda:{local}"
        torch.cuda.set_device(local)
        # The flags of `any_process` stay on the CPU: on the GPU every step would have to wait for them.
        backend = "cpu:gloo,cuda:nccl"
    else:
        device, backend = "cpu", "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield device
        barrier()
    finally:
        distributed.destroy_process_group()


def is_first() -> bool:
    """Whether this is the process that draws, validates, writes and prints."""
    return process_group().rank == 0


def average_gradients(parameters: Iterable[nn.Parameter], loss: Tensor) -> Tensor:
    """Replace the gradients by their mean over all processes.

    parameters: the same in all processes.
    loss: (), of this process.
    Returns the mean loss, () float32.
    Gradients and loss are sent as one vector, because each message has a latency.
    """
    loss = loss.detach().float()
    processes = process_group().size
    if processes == 1:
        return loss
    gradients = [p.grad for p in parameters if p.grad is not None]
    parts = [*(gradient.float().flatten() for gradient in gradients), loss.reshape(1)]
    whole = torch.cat(parts)
    distributed.all_reduce(whole)
    whole /= processes
    *means, loss = torch.split(whole, [part.numel() for part in parts])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))
    return loss.reshape(())


def any_process(flag: bool) -> bool:
    """Whether the flag is true in any process; all processes must call it."""
    return bool(largest(int(flag)))


def largest(number: int) -> int:
    """The largest number of all processes; all must call it."""
    if process_group().size == 1:
        return number
    maximum = torch.tensor(number)
    distributed.all_reduce(maximum, op=distributed.ReduceOp.MAX)
    return int(maximum.item())


def barrier() -> None:
    """Wait until every process has called this."""
    any_process(False)
