"""One batch across several processes: which rows belong to which, and gathering them with the correct gradient.

Without a process group, as outside of training, one process has the whole batch and nothing here changes anything.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed


class ProcessGroup(NamedTuple):
    """The processes that share a batch. Each has one of equal, consecutive parts.

    rank: of this process, 0 … size-1.
    size: number of processes.
    """

    rank: int = 0
    size: int = 1

    def rows(self, total: int) -> slice:
        """This process's part of `total` rows; ValueError where they cannot be shared equally."""
        if total % self.size:
            raise ValueError(f"{total} rows cannot be shared equally by {self.size} processes")
        each = total // self.size
        return slice(self.rank * each, (self.rank + 1) * each)


def process_group() -> ProcessGroup:
    """The group of this process; of size 1 where torch.distributed has none."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return ProcessGroup()
    return ProcessGroup(distributed.get_rank(), distributed.get_world_size())


def group_mean(x: Tensor) -> Tensor:
    """The mean of a tensor over all processes, without gradient. All processes must call it, with equal shapes."""
    group = process_group()
    if group.size == 1:
        return x
    total = x.detach().clone()
    distributed.all_reduce(total)
    return total / group.size


def all_gather_rows(x: Tensor) -> Tensor:
    """The rows of all processes in the order of their ranks. All processes must call it, with equal shapes.

    In the backward pass each process gets for its rows the *sum* of the gradients from all processes' losses. So if the
    loss of every process is the mean over its own rows, and the gradients of the weights are then averaged over the
    processes, as DistributedDataParallel does, the result is the gradient of the mean over all rows: no factor is
    missing and none may be added.

    x: (b, *).
    Returns (b·size, *).
    """
    if process_group().size == 1:
        return x
    out: Tensor = _Gathered.apply(x)  # type: ignore[no-untyped-call]
    return out


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(process_group().size)]
        distributed.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        # all_reduce and a slice, rather than reduce_scatter, which not every backend has.
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total[process_group().rows(len(total))]
