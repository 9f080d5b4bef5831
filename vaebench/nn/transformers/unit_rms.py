"""RMSNorm (Zhang & Sennrich, arXiv 1910.07467) without its weights, fast on a CPU too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_EPS = 1e-6


def unit_rms(x: Tensor) -> Tensor:
    """``x / sqrt(mean(x^2) + 1e-6)`` over the last dimension, float32; differentiable once."""
    x = x.float()
    # torch has one kernel for it on a GPU only; on a CPU its many passes take four times as long as these.
    if x.device.type != "cpu":
        return F.rms_norm(x, (x.shape[-1],), None, _EPS)
    return _UnitRMS.apply(x)


class _UnitRMS(torch.autograd.Function):
    """With ``y = x r``, ``r = 1 / rms(x)``: ``dL/dx = r (g - y mean(g y))``, which needs ``y`` and ``r`` alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        inverse = square.div_(x.shape[-1]).add_(_EPS).rsqrt_()
        y = x * inverse
        ctx.save_for_backward(y, inverse)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        y, inverse = ctx.saved_tensors
        along = torch.linalg.vecdot(g, y).unsqueeze(-1) / y.shape[-1]
        return torch.addcmul(g, y, along, value=-1).mul_(inverse)
