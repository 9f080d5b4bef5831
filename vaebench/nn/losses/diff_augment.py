"""Differentiable augmentation of what a discriminator sees (Zhao et al., arXiv 2006.10738)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SHIFT = 1 / 8  # of a side, at most


def diff_augment(x: Tensor, *, cutout: float) -> Tensor:
    """Images ``[b c h w]`` in [-1, 1] in other colours, shifted and with a hole, each by draws of its own.

    Brightness: U(-1/2, 1/2) is added. Saturation: differences from the mean over channels times U(0, 2). Contrast: from
    the mean over the image times U(1/2, 3/2). Shift: by up to an eighth of a side, zeros come in. Hole: a rectangle of
    zeros, ``cutout`` of each side long, its centre anywhere. Draws from the global generator.
    """
    return cut_out(shifted(coloured(x)), cutout)


def coloured(x: Tensor) -> Tensor:
    """Brightness, saturation and contrast of `diff_augment`, in this order."""
    brightness, saturation, contrast = torch.rand(3, len(x), 1, 1, 1, device=x.device)
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (2 * saturation)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (contrast + 0.5)


def shifted(x: Tensor) -> Tensor:
    """Each image moved by whole pixels, by up to an eighth of its sides in each direction."""
    count, _, height, width = x.shape
    most = [round(side * _SHIFT) for side in (height, width)]
    padded = F.pad(x, (most[1], most[1], most[0], most[0]))
    down, right = (torch.randint(2 * m + 1, (count,), device=x.device) for m in most)
    rows = down[:, None] + torch.arange(height, device=x.device)
    columns = right[:, None] + torch.arange(width, device=x.device)
    images = torch.arange(count, device=x.device)
    # Indices on both sides of the slice bring the channels to the end.
    return padded[images[:, None, None], :, rows[:, :, None], columns[:, None, :]].movedim(3, 1)


def cut_out(x: Tensor, share: float) -> Tensor:
    """Each image with a hole of zeros, ``share`` of its sides long, cut off where it reaches over the edge."""
    inside = []
    for side in x.shape[2:]:
        length = round(side * share)
        first = torch.randint(side + 1 - length % 2, (len(x), 1), device=x.device) - length // 2
        place = torch.arange(side, device=x.device)
        inside.append((place >= first) & (place < first + length))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return x.masked_fill(hole, 0.0)
