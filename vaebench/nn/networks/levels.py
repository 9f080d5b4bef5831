"""Convolutional levels: by which strides images shrink to a grid, and how many channels there are on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vaebench.nn.options import require, whole
from vaebench.nn.tokenizers.pictures import multiple_of


@dataclass(frozen=True)
class Levels:
    """Images (c, h, w) of ``input_shape`` are shrunk by ``strides[i]`` at level i, where there are ``channels[i]``.

    ``width`` channels at the first level, twice as many at each further one, up to ``widest`` times as many.
    ``groups`` of the normalisations divide ``width``. ``where``: the option they belong to.

    Raises:
        UserError: an option out of range, or sides of images that the strides do not divide.
    """

    input_shape: Sequence[int]
    strides: Sequence[int]
    width: int
    widest: int
    groups: int
    where: str

    def __post_init__(self) -> None:
        """Check the options."""
        where = self.where
        require(
            *(whole(f"{where}.strides", stride, 2) for stride in self.strides or (0,)),
            whole(f"{where}.width", self.width, 1),
            whole(f"{where}.widest", self.widest, 1),
            whole(f"{where}.groups", self.groups, 1),
            multiple_of(f"{where}.width", self.width, self.groups, f"{where}.groups"),
        )
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


def down(before: int, after: int, stride: int) -> nn.Module:
    """A convolution to a grid ``stride`` times smaller; of kernel 4 for stride 2, else of patches side by side."""
    return nn.Conv2d(before, after, 4, 2, 1) if stride == 2 else nn.Conv2d(before, after, stride, stride)


def up(before: int, after: int, stride: int) -> nn.ConvTranspose2d:
    """The transposed convolution of `down`."""
    if stride == 2:
        return nn.ConvTranspose2d(before, after, 4, 2, 1)
    return nn.ConvTranspose2d(before, after, stride, stride)


def laid_out(x: Tensor) -> Tensor:
    """The memory layout in which convolutions are faster: channels last on a CPU in float32."""
    last = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
