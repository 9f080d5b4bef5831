"""Flow matching on straight paths (Lipman et al., arXiv 2210.02747; Liu et al., arXiv 2209.03003).

Time 0 is noise and 1 is data: ``z_t = t z + (1 - t) eps``, whose velocity is ``z - eps``. Papers often count the other
way round. Shapes: ``z`` and ``noise`` ``[b ...]``, ``t`` ``[b]`` unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Times = Literal["logit_normal", "uniform"]


def draw_times(count: int, kind: Times, device: torch.device) -> Tensor:
    """Training times ``[count]`` from the global generator: uniform in [0, 1], or the sigmoid of N(0, 1) draws.

    The logit-normal density (arXiv 2403.03206, Section 3.1) favours the middle of the path, where predicting is
    hardest.
    """
    draws = {"logit_normal": torch.randn, "uniform": torch.rand}[kind](count, device=device)
    return draws.sigmoid() if kind == "logit_normal" else draws


def on_path(z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """``t z + (1 - t) noise``."""
    return torch.lerp(noise, z, t.view(-1, *[1] * (z.dim() - 1)))


def drop_labels(labels: Tensor, share: float, null: int) -> Tensor:
    """``labels`` int64 ``[b]`` with a random ``share`` of them replaced by ``null``, from the global generator."""
    if not share:
        return labels
    return torch.where(torch.rand(len(labels), device=labels.device) < share, null, labels)


def matching_loss(network: Callable[[Tensor, Tensor], Tensor], z: Tensor, times: Times) -> Tensor:
    """``|network(z_t, t) - (z - eps)|^2``, mean over elements: `draw_times` of kind ``times``, then noise, drawn."""
    t = draw_times(len(z), times, z.device)
    noise = torch.randn_like(z)
    return F.mse_loss(network(on_path(z, noise, t), t), velocity(z, noise))


def velocity(z: Tensor, noise: Tensor) -> Tensor:
    """What the network learns: the derivative of `on_path` by time."""
    return z - noise


def score(v: Tensor, z: Tensor, t: float | Tensor) -> Tensor:
    """The gradient of the log-density at ``z`` at time ``t`` below 1 from the velocity there: ``(t v - z) / (1 - t)``.

    The mean of the noise that led to ``z`` is ``z - t v``, and the score is its negative over ``1 - t``.
    """
    return (t * v - z) / (1 - t)
