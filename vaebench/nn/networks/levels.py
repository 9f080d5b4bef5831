"""Convolutional levels: by which strides images shrink to a grid, how many channels and what blocks are on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Len
from torch import Tensor, nn

from vaebench.config.signatures import AtLeast2, Count, multiple_of, require
from vaebench.errors import UserError


@dataclass(eq=False, repr=False, kw_only=True)
class Levels:
    """Images (c, h, w) of ``input_shape`` are shrunk by ``strides[i]`` at level i, where there are ``channels[i]``.

    ``width`` channels at the first level, twice as many at each further one, up to ``widest`` times as many.
    ``groups`` of the normalisations divide ``width``. ``where``: the option they belong to.

    Raises `UserError`: an option out of range, or sides of images that the strides do not divide.
    """

    input_shape: Sequence[int]
    strides: Annotated[Sequence[AtLeast2], Len(1)]
    width: Count
    widest: Count
    groups: Count
    where: str

    def __post_init__(self) -> None:
        where = self.where
        require(multiple_of(f"{where}.width", self.width, self.groups, f"{where}.groups"))
        height, width = self.input_shape[1:]
        if height % self.shrink or width % self.shrink:
            require(
                f"{where}.strides={list(self.strides)}: the sides of {height} x {width} images are no multiples of "
                f"{self.shrink}, their product; choose other strides, e.g. [2, 7] for 28 x 28, [2, 2, 2] for 32 x 32"
            )

    @property
    def channels(self) -> list[int]:
        """At each level."""
        return [self.width * min(2**level, self.widest) for level in range(len(self.strides))]

    @property
    def shrink(self) -> int:
        """The side of an image over that of the grid."""
        return math.prod(self.strides)

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the smallest level."""
        return self.input_shape[1] // self.shrink, self.input_shape[2] // self.shrink


class Residual(nn.Module):
    """``x + conv_b(SiLU(GN(conv3(SiLU(GN(x))))))``: ``width`` channels in ``dimensions`` 1 or 2, ``b`` the ``last``."""

    def __init__(self, width: int, groups: int, *, dimensions: int, last: int) -> None:
        super().__init__()
        conv: Any = nn.Conv1d if dimensions == 1 else nn.Conv2d
        self.branch = nn.Sequential(
            *normalised(width, groups),
            conv(width, width, 3, padding=1),
            *normalised(width, groups),
            conv(width, width, last, padding=last // 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[b width *grid]``, the same shape."""
        return x + self.branch(x)


def normalised(width: int, groups: int) -> tuple[nn.Module, nn.Module]:
    """Group normalisation and SiLU."""
    return nn.GroupNorm(groups, width), nn.SiLU()


def down(before: int, after: int, stride: int) -> nn.Module:
    """A convolution to a grid ``stride`` times smaller; of kernel 4 for stride 2, else of patches side by side."""
    return nn.Conv2d(before, after, 4, 2, 1) if stride == 2 else nn.Conv2d(before, after, stride, stride)


def up(before: int, after: int, stride: int) -> nn.ConvTranspose2d:
    """The transposed convolution of `down`."""
    if stride == 2:
        return nn.ConvTranspose2d(before, after, 4, 2, 1)
    return nn.ConvTranspose2d(before, after, stride, stride)


def laid_out(x: Tensor) -> Tensor:
    """The faster memory layout: on a CPU channels last saves a seventh in float32 and costs a half in bfloat16."""
    last = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def images_only(input_shape: Sequence[int]) -> None:
    """Raise `UserError` unless the data are images (c, h, w)."""
    if len(input_shape) != 3:
        raise UserError(f"model.input_shape={list(input_shape)}: this model is for images, (c, h, w)")
