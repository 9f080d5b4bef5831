"""Encoders of images to a grid of features, small ones to train here and pretrained ones, chosen by ``kind``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from vaebench.config import signatures
from vaebench.errors import UserError, unknown
from vaebench.nn.networks.convolutional import Residual
from vaebench.nn.networks.levels import Levels, down, laid_out
from vaebench.nn.options import require, whole
from vaebench.nn.pretrained.encoders import CifarResNetEncoder, TimmEncoder

DESCRIPTION = frozenset({"kind", "version"})  # of the options, not for the class


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
        strides: Sequence[int],
        width: int,
        widest: int,
        blocks: int,
        groups: int,
        where: str,
    ) -> None:
        super().__init__()
        require(whole(f"{where}.blocks", blocks, 0))
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


KINDS = {"conv": ConvEncoder, "cifar10_resnet": CifarResNetEncoder, "timm": TimmEncoder}


def build(options: Mapping[str, Any], *, input_shape: Sequence[int], where: str = "model.encoder") -> FeatureEncoder:
    """The encoder that ``options`` (a file of ``conf/encoder``) describe, with fresh weights; ``where`` they stand.

    Raises:
        UserError: an unknown kind, unknown, missing, ill-typed or impossible options.
    """
    encoder: Any = built(options, KINDS, where, {"input_shape": input_shape, "where": where})
    encoder.options = {name: value for name, value in options.items() if name != "version"}
    return encoder


def built(options: Mapping[str, Any], kinds: Mapping[str, Any], where: str, provided: Mapping[str, Any]) -> nn.Module:
    """The module of ``kinds`` that ``options.kind`` names. Raises `UserError` as `build`."""
    kind, input_shape = str(options.get("kind")), provided["input_shape"]
    if kind not in kinds:
        raise UserError(unknown(f"{where}.kind", kind, kinds))
    if len(input_shape) != 3:
        raise UserError(f"model.input_shape={list(input_shape)}: this model is for images, (c, h, w)")
    given = {name: value for name, value in options.items() if name not in DESCRIPTION}
    mistakes = signatures.mistakes(where, given, kinds[kind], needed_by=kind, provided=provided)
    if mistakes:
        raise UserError(*mistakes)
    module: nn.Module = kinds[kind](**given, **provided)
    return module
