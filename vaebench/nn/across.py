"""Statistics of a whole batch, of which this process may have a part. With one process each of these gives its input.

A training on several processes minimises the mean of their losses, and averages their gradients. What is not linear in
the items (a variance, a choice of the largest, a normalisation) has to be taken over all of them: through these.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn

from vaebench.contracts import draws


def parts() -> int:
    """Into how many parts of one size the batch is cut, a process each."""
    return draws.part()[1]


def weighted(loss: Tensor, count: Tensor) -> Tensor:
    """A mean over ``count`` things of this process, so that the mean over processes is one over all things."""
    return loss * (count / mean(count.float())) if parts() > 1 else loss


def mean(x: Tensor) -> Tensor:
    """The mean over the processes, differentiable; of a mean over items, that over all items of the batch."""
    return _Mean.apply(x) if parts() > 1 else x


def gathered(x: Tensor) -> Tensor:
    """``[b ...]`` of every process, in the order of the batch, ``[n b ...]``; differentiable."""
    return _Gathered.apply(x) if parts() > 1 else x


def own(x: Tensor) -> Tensor:
    """The part of this process of ``[n b ...]``, ``[b ...]``."""
    return x.chunk(parts())[draws.part()[0]] if parts() > 1 else x


def var_mean(x: Tensor, correction: int = 1) -> tuple[Tensor, Tensor]:
    """Variance and mean of each column of ``[b d]`` over the whole batch, as `torch.var_mean` has them; ``[d]``."""
    if parts() == 1:
        return torch.var_mean(x, dim=0, correction=correction)
    count, centre = len(x) * parts(), mean(x.mean(dim=0))
    return mean((x - centre).square().mean(dim=0)) * count / (count - correction), centre


class BatchNorm2d(nn.BatchNorm2d):
    """PyTorch's, over the whole batch; its own for several processes works on GPUs only."""

    def forward(self, x: Tensor) -> Tensor:
        """``[b c h w]`` -> the same shape."""
        if parts() == 1 or not self.training:
            return super().forward(x)
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        columns = x.float().movedim(1, -1).flatten(0, -2)
        variance, centre = var_mean(columns, correction=0)
        count = len(columns) * parts()
        with torch.no_grad():
            self.num_batches_tracked += 1
            weight = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
            self.running_mean.lerp_(centre.detach(), weight)
            self.running_var.lerp_(variance.detach() * count / (count - 1), weight)
        scale = (variance + self.eps).rsqrt() * self.weight
        return (x * scale.view(-1, 1, 1) + (self.bias - centre * scale).view(-1, 1, 1)).to(x.dtype)


class _Mean(torch.autograd.Function):
    """The gradient of each process's loss with respect to the mean goes to all; the mean of losses is minimised."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _reduced(x) / parts()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _reduced(grad) / parts()


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        found = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(parts())]
        distributed.all_gather(found, x.contiguous())
        return torch.cat(found)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return own(_reduced(grad))


def _reduced(x: Tensor) -> Tensor:
    found = x.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(found)
    return found
