"""Encoders of images to a grid of features, small ones to train here and pretrained ones, chosen by ``kind``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from vaebench.config import signatures
from vaebench.config.signatures import Count, CountOrNone
from vaebench.nn.networks.levels import Levels, Residual, Strides, down, images_only, laid_out
from vaebench.nn.pretrained.encoders import CifarResNetEncoder, TimmEncoder


class FeatureEncoder(Protocol):
    """An ``nn.Module``: images ``[b c h w]`` in [0, 1] -> features ``[b width *grid]``.

    ``options``: what it was built from, less its version. ``pretrained``: whether it begins with weights that others
    have trained; `load_pretrained` fetches them, and does nothing for other encoders.
    """

    width: int
    grid: tuple[int, int]
    options: dict[str, Any]
    pretrained: bool

    def __call__(self, x: Tensor) -> Tensor: ...  # noqa: D102

    def load_pretrained(self) -> None: ...  # noqa: D102


class ConvEncoder(nn.Module):
    """At each level a convolution of its stride and, but at the first, ``blocks`` `Residual`; a normalisation.

    ``strides``, ``width``, ``widest``, ``groups``: of the `Levels`. Blocks at the first level would cost more than all
    others together.

    Raises:
        UserError: an option out of range, or sides of images that the strides do not divide.
    """

    pretrained = False

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        strides: Strides,
        width: Count,
        widest: Count,
        blocks: CountOrNone,
        groups: Count,
        where: str,
    ) -> None:
        super().__init__()
        levels = Levels(input_shape, strides, width, widest, groups, where)
        self.grid = levels.grid
        self.width = levels.channels[-1]
        layers: list[nn.Module] = []
        before = input_shape[0]
        for level, (stride, after) in enumerate(zip(strides, levels.channels, strict=True)):
            layers.append(down(before, after, stride))
            layers += [Residual(after, groups, dimensions=2, last=3) for _ in range(blocks if level else 0)]
            before = after
        self.body = nn.Sequential(*layers, nn.GroupNorm(groups, self.width))

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` in [0, 1] -> ``[b width h' w']``."""
        features: Tensor = self.body(laid_out(2 * x - 1))
        return features

    def load_pretrained(self) -> None:
        """There is nothing to fetch."""


KINDS: dict[str, Any] = {"conv": ConvEncoder, "cifar10_resnet": CifarResNetEncoder, "timm": TimmEncoder}


def build(options: Mapping[str, Any], *, input_shape: Sequence[int], where: str = "model.encoder") -> FeatureEncoder:
    """The encoder that ``options`` (a file of ``conf/encoder``) describe, with fresh weights; ``where`` they stand.

    Raises:
        UserError: an unknown kind, unknown, missing, ill-typed or impossible options, no images.
    """
    images_only(input_shape)
    encoder: FeatureEncoder = signatures.chosen(where, options, KINDS, input_shape=input_shape, where=where)
    encoder.options = {name: value for name, value in options.items() if name != "version"}
    return encoder
