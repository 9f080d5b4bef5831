"""An exponential moving average that lives in the state dict."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from vaebench.errors import UserError

Start = Literal["debiased", "first"]


class MovingAverage(nn.Module):
    """``I <- a I + (1 - a) s`` over the values ``s`` given to `update`, with ``a = decay``.

    ``start``: ``first`` copies the first value; ``debiased`` starts at zero and divides what is read by ``1 - a^t``
    (Section 3, arXiv 1412.6980).
    """

    value: Tensor
    steps: Tensor

    def __init__(self, *shape: int, decay: float, start: Start) -> None:
        super().__init__()
        self.decay = decay
        self.start = start
        self.register_buffer("value", torch.zeros(shape))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, new: Tensor) -> None:
        """Take in one value of the average's shape; nothing is copied to the host."""
        if self.start == "first":
            weight = torch.where(self.steps == 0, 1.0, 1 - self.decay)
            self.value.lerp_(new, weight)
        else:
            self.value.lerp_(new, 1 - self.decay)
        self.steps += 1

    def read(self) -> Tensor:
        """The average. Raises `UserError` before the first `update`."""
        steps = int(self.steps)
        if steps == 0:
            raise UserError("the model has had no training step yet, so its moving average is empty; train it first")
        return self.value.clone() if self.start == "first" else self.value / (1 - self.decay**steps)
