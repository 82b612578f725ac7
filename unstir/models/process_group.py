"""One batch across several processes: whose rows are whose, and all rows to everyone, with the right gradient.

With no process group, and outside of training, one process has it all and nothing here does anything.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed


class ProcessGroup(NamedTuple):
    """One of several processes that share a batch: this one has the rank-th of equal, consecutive parts."""

    rank: int = 0
    processes: int = 1

    def rows(self, total: int) -> slice:
        """This process's part of `total` rows; ValueError where they cannot be shared equally."""
        if total % self.processes:
            raise ValueError(f"{total} rows cannot be shared equally by {self.processes} processes")
        each = total // self.processes
        return slice(self.rank * each, (self.rank + 1) * each)


def process_group() -> ProcessGroup:
    """Where this process stands in its group; alone where there is none."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return ProcessGroup()
    return ProcessGroup(distributed.get_rank(), distributed.get_world_size())


def all_gather_rows(x: Tensor) -> Tensor:
    """The rows of all processes, in the order of their ranks: (b, …) -> (b·processes, …). All must call it, alike.

    Backwards each process receives for its rows the *sum* of what all processes' losses say of them. So if every
    process's loss is the mean over its own rows, and the gradients of the weights are then averaged over the
    processes, as DistributedDataParallel does, the result is the gradient of the mean over all rows: no factor is
    missing and none may be added.
    """
    if process_group().processes == 1:
        return x
    out: Tensor = _Gathered.apply(x)  # type: ignore[no-untyped-call]
    return out


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(process_group().processes)]
        distributed.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        # Summed whole and then cut, rather than by reduce_scatter, which not every backend has.
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total[process_group().rows(len(total))]
