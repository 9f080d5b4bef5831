"""Random views of images for contrastive learning, a whole batch at once, and its loss (SimCLR, arXiv 2002.05709)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def random_view(x: Tensor, *, crop: float, rotation: float, contrast: float, noise: float, flip: bool) -> Tensor:
    """Images ``[b c h w]`` in [0, 1] -> cut, turned and in other light, each by draws of its own; in [0, 1].

    A rectangle of ``crop`` to 1 of the area (uniform), sides in a ratio of 3/4 to 4/3 (log-uniform), somewhere inside,
    turned by up to ``rotation`` degrees, brought to the whole size (bilinear; black where it reaches outside).
    ``contrast``: values times U(1 - contrast, 1 + contrast). ``noise``: deviation of Gaussian noise. ``flip``: half of
    the views are mirror images. Draws from the global generator.
    """
    grid = F.affine_grid(_affine(x, crop, rotation, flip), list(x.shape), align_corners=False)
    view = F.grid_sample(x, grid, align_corners=False)
    view = view * (1 + contrast * _signed(len(x), x.device))[:, None, None, None]
    return (view + noise * torch.randn_like(view)).clamp(0, 1)


def nt_xent(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Cross entropy of finding the other view of an image among all 2b - 1 others; a scalar, in nats.

    ``one``, ``other``: ``[b d]``, row i of both shows image i. Similarity: cosine over ``temperature``. Eq. 1, arXiv
    2002.05709.
    """
    z = F.normalize(torch.cat([one, other]).float(), dim=1)
    count = len(one)
    similarity = z @ z.T / temperature
    similarity.fill_diagonal_(-math.inf)
    partner = torch.arange(2 * count, device=z.device).roll(count)
    return F.cross_entropy(similarity, partner)


def _affine(x: Tensor, crop: float, rotation: float, flip: bool) -> Tensor:
    """Where the output's points lie in the input, both in [-1, 1], as matrices ``[b 2 3]``."""
    count, device = len(x), x.device
    area = crop + (1 - crop) * torch.rand(count, device=device)
    stretch = (math.log(4 / 3) / 2 * _signed(count, device)).exp()
    # Half sides of the rectangle, at most the whole image's.
    width, height = ((area.sqrt() * factor).clamp(max=1.0) for factor in (stretch, 1 / stretch))
    right, down = ((1 - half) * _signed(count, device) for half in (width, height))
    angle = math.radians(rotation) * _signed(count, device)
    mirrored = torch.where(torch.rand(count, device=device) < 0.5, -1.0, 1.0) if flip else torch.ones_like(angle)
    first = torch.stack([mirrored * width * angle.cos(), -height * angle.sin(), right], dim=1)
    second = torch.stack([mirrored * width * angle.sin(), height * angle.cos(), down], dim=1)
    return torch.stack([first, second], dim=1)


def _signed(count: int, device: torch.device) -> Tensor:
    """``[count]`` from U(-1, 1)."""
    return 2 * torch.rand(count, device=device) - 1
