"""What the suites share: batches of a uint8 split, and the images that stand in pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vaebench.data.images import ImageData


def batches(images: Tensor, size: int) -> Iterator[Tensor]:
    """A uint8 split ``[n c h w]`` in order, as float32 in [0, 1]."""
    for chunk in images.split(size):
        yield chunk.float().div_(255)


def one_per_class(data: ImageData) -> Tensor:
    """Rows of the first test image of each class, for pictures."""
    labels = data.test_y.cpu()
    return torch.tensor([int((labels == label).nonzero()[0]) for label in labels.unique()])


def some_of_each(labels: Tensor, most: int) -> Tensor:
    """Rows for pictures and sounds: the first of each label, then the first of the rest, ``most`` of them, in order."""
    labels = labels.cpu()
    firsts = [int((labels == label).nonzero()[0]) for label in labels.unique()[:most]]
    rest = [row for row in range(min(len(labels), 2 * most)) if row not in firsts]
    return torch.tensor(sorted([*firsts, *rest][:most]))


def picture(images: Tensor) -> np.ndarray:
    """Images ``[n c h w]`` in any range, clipped to [0, 1], as uint8 ``[n h w c]``."""
    return images.clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def eight_bits(images: Tensor, how: Literal["cut", "round"] | None) -> Tensor:
    """Float images as a file of 8 bits holds them, in [0, 1]: the next level below, or the nearest; None: as they are.

    NaN and infinity stay what they are, for others to find.
    """
    if how is None:
        return images
    levels = images.clamp(0, 1) * 255
    stored = (levels.floor() if how == "cut" else levels.round()) / 255
    return torch.where(images.isfinite(), stored, images)


def in_eight_bits(how: Literal["cut", "round"] | None) -> dict[str, str]:
    """What a protocol has to say of `eight_bits`."""
    return {} if how is None else {"eight_bits": how}


def seeded(seed: int) -> torch.Generator:
    """A generator on the CPU whatever the device, so that a seed gives the same draws everywhere."""
    return torch.Generator().manual_seed(seed)
