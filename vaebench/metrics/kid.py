"""Kernel distance of two sets of features: KID when these are Inception's (Binkowski et al. 2018, arXiv 1801.01401)."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench.errors import UserError
from vaebench.metrics.finite import require_finite

_IN_FLIGHT = 2**22  # kernel values at a time: 32 MB in float64


def kernel_distance(reference: Tensor, samples: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel ``(x . y / d + 1)^3``; can be below 0.

    Of all pairs at once: the mean that the customary random subsets estimate, without their noise.

    Args:
        reference: features ``[n d]``, n at least 2, any floating dtype; on the device where it is to be computed.
        samples: features ``[m d]``, m at least 2, there too.

    Raises:
        UserError: a set has fewer than two points, or points that are not finite.
    """
    for name, points in (("reference", reference), ("generated", samples)):
        if len(points) < 2:
            raise UserError(f"kernel distance: {len(points)} {name} image(s); it needs at least 2")
        require_finite(points, f"features of the {name} images")
    x, y = reference.double(), samples.double()
    return (_within(x) + _within(y) - 2 * _total(x, y) / (len(x) * len(y))).item()


def _within(x: Tensor) -> Tensor:
    """Mean kernel of two different points of ``x`` ``[n d]``."""
    same = (x.square().sum(1) / x.shape[1] + 1).pow(3).sum()
    return (_total(x, x) - same) / (len(x) * (len(x) - 1))


def _total(x: Tensor, y: Tensor) -> Tensor:
    """Sum of the kernel over all pairs of ``x`` ``[n d]`` and ``y`` ``[m d]``."""
    parts = x.split(max(1, _IN_FLIGHT // len(y)))
    return torch.stack([(part @ y.T / x.shape[1] + 1).pow(3).sum() for part in parts]).sum()
