"""Encoders of images to a grid of features and decoders of a grid of latents to images, chosen by ``kind``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass
from typing import Any

from torch import Tensor, nn

from vaebench.config import signatures
from vaebench.config.signatures import CountOrNone
from vaebench.errors import UserError
from vaebench.nn.networks.kl import KLDecoder
from vaebench.nn.networks.levels import Levels, Residual, down, images_only, laid_out, normalised, up
from vaebench.nn.pretrained.encoders import CifarResNetEncoder, TimmEncoder


@dataclass(eq=False, repr=False, kw_only=True)
class ConvEncoder(Levels, nn.Module):
    """At each level a convolution of its stride and, but at the first, ``blocks`` `Residual`; a normalisation.

    Blocks at the first level would cost more than all others together. The other options are those of `Levels`.

    Raises `UserError`: an option out of range, or sides of images that the strides do not divide.
    """

    pretrained = False
    blocks: CountOrNone

    def __post_init__(self) -> None:
        super().__post_init__()
        nn.Module.__init__(self)
        layers: list[nn.Module] = []
        before = self.input_shape[0]
        for level, (stride, after) in enumerate(zip(self.strides, self.channels, strict=True)):
            layers.append(down(before, after, stride))
            layers += [Residual(after, self.groups, dimensions=2, last=3) for _ in range(self.blocks if level else 0)]
            before = after
        self.outputs = before
        self.body = nn.Sequential(*layers, nn.GroupNorm(self.groups, before))

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` in [0, 1] -> ``[b outputs h' w']``."""
        return self.body(laid_out(2 * x - 1))

    def load_pretrained(self) -> None:
        """There is nothing to fetch."""


@dataclass(eq=False, repr=False, kw_only=True)
class ConvDecoder(Levels, nn.Module):
    """The mirror of `ConvEncoder`: from the last level to the first ``blocks`` `Residual`, GN, SiLU, `up`.

    No blocks at the first level. The other options are those of `Levels`.

    Raises `UserError`: an option out of range, or strides that do not lead from the latents to the images.
    """

    latent_shape: InitVar[Sequence[int]]
    blocks: CountOrNone

    def __post_init__(self, latent_shape: Sequence[int]) -> None:
        super().__post_init__()
        nn.Module.__init__(self)
        if self.grid != tuple(latent_shape[1:]):
            raise UserError(
                f"{self.where}.strides={list(self.strides)}: these lead to a grid of {self.grid[0]} x {self.grid[1]}, "
                f"the encoder's is {latent_shape[1]} x {latent_shape[2]}; choose strides with the product of the "
                "encoder's"
            )
        channels = [self.input_shape[0], *self.channels]
        layers: list[nn.Module] = [nn.Conv2d(latent_shape[0], channels[-1], 1)]
        for level in reversed(range(len(self.strides))):
            width = channels[level + 1]
            layers += [Residual(width, self.groups, dimensions=2, last=3) for _ in range(self.blocks if level else 0)]
            layers += [*normalised(width, self.groups), up(width, channels[level], self.strides[level])]
        self.body = nn.Sequential(*layers)

    @property
    def last_weight(self) -> Any:
        """The weights of the last transposed convolution."""
        return self.body[-1].weight

    def forward(self, z: Tensor) -> Tensor:
        """Latents ``[b l h' w']`` -> images ``[b c h w]`` in about [-1, 1]."""
        return self.body(laid_out(z))


ENCODERS: dict[str, Any] = {"conv": ConvEncoder, "cifar10_resnet": CifarResNetEncoder, "timm": TimmEncoder}
_NEEDED = ("outputs", "grid", "pretrained", "load_pretrained")  # of an encoder
DECODERS: dict[str, Any] = {"conv": ConvDecoder, "kl": KLDecoder}


def encoder(options: Mapping[str, Any], *, input_shape: Sequence[int], where: str = "model.encoder") -> Any:
    """The encoder that ``options`` (a file of ``conf/encoder``) describe, with fresh weights; ``where`` they stand.

    An ``nn.Module``: images ``[b c h w]`` in [0, 1] -> features ``[b outputs *grid]``. ``options``: what it was built
    from, less its version. ``pretrained``: whether it begins with weights that others have trained;
    ``load_pretrained`` fetches them, and does nothing for other encoders.

    Raises `UserError`: an unknown kind, unknown, missing, ill-typed or impossible options, no images.
    """
    images_only(input_shape)
    built = signatures.chosen(where, options, ENCODERS, _NEEDED, input_shape=input_shape, where=where)
    built.options = {name: value for name, value in options.items() if name != "version"}
    return built


def decoder(options: Mapping[str, Any], *, latent_shape: Sequence[int], input_shape: Sequence[int]) -> Any:
    """The decoder that ``options`` (a file of ``conf/decoder``) describe, with fresh weights.

    An ``nn.Module``: latents ``[b l h' w']`` -> images ``[b c h w]`` in about [-1, 1]; ``last_weight``: of its last
    layer. Raises `UserError`: an unknown kind, unknown, missing, ill-typed or impossible options.
    """
    given = {"latent_shape": latent_shape, "input_shape": input_shape, "where": "model.decoder"}
    return signatures.chosen("model.decoder", options, DECODERS, ("last_weight",), **given)
