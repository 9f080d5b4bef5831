"""A velocity field in the plane: a small MLP on a point and the features of a time."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from vaebench.config.signatures import Count, Positive, checked
from vaebench.nn.transformers.dit import time_features

_FEATURES = 32  # of the time


class PointVelocity(nn.Module):
    """``v(x, t)``: points float32 ``[b 2]``, times ``[b]`` -> ``[b 2]``. ``depth`` hidden layers of ``width``, SiLU.

    ``time_scale``: what times are multiplied with before their features, whose frequencies go from 1 down to 1e-4.
    """

    @checked("model")
    def __init__(self, *, width: Count, depth: Count, time_scale: Positive) -> None:
        super().__init__()
        self.time_scale = time_scale
        widths = [2 + _FEATURES, *[width] * depth]
        hidden = [part for before, after in pairwise(widths) for part in (nn.Linear(before, after), nn.SiLU())]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, 2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """The velocity at ``x`` and ``t``, time 0 noise and 1 data."""
        output: Tensor = self.layers(torch.cat([x, time_features(self.time_scale * t, _FEATURES)], dim=1))
        return output
