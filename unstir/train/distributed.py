"""Several processes that train one model, as `torchrun` starts them: each has the whole model and a part of each batch.

Gradients are averaged before they are clipped, so that n processes take the step that one would take with the whole
batch. One process draws no line here: everything below does nothing then.
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
"""How long processes wait for the first, which alone draws, measures and writes."""


@contextmanager
def joined_processes(device: str) -> Iterator[str]:
    """Join the processes that torchrun has started, and part from them at the end. Yields this process's own device.

    device: "cpu", or "cuda" for the GPU of each process's local rank. Without torchrun nothing happens, and the device
    is the one given. UserError where there are more processes than GPUs.
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
        # The flags of `any_process` stay on the CPU, or every step would wait for the GPU.
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
    """Whether this is the process that draws, measures, writes and speaks."""
    return process_group().rank == 0


def average_gradients(parameters: Iterable[nn.Parameter], loss: Tensor) -> Tensor:
    """Give every process the mean of all processes' gradients. Returns the mean of their losses, () float32.

    parameters: alike in all processes. All of it travels as one vector, because each message costs a wait.
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
    """Whether any process says so: then all do."""
    if process_group().size == 1:
        return flag
    said = torch.tensor(int(flag))
    distributed.all_reduce(said, op=distributed.ReduceOp.MAX)
    return bool(said.item())


def largest(number: int) -> int:
    """The largest of the numbers that the processes say; all must ask."""
    if process_group().size == 1:
        return number
    said = torch.tensor(number)
    distributed.all_reduce(said, op=distributed.ReduceOp.MAX)
    return int(said.item())


def barrier() -> None:
    """Wait until every process is here."""
    any_process(False)
