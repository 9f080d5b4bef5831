"""Decoders of a grid of latents to images, chosen by ``kind``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from vaebench.errors import UserError
from vaebench.nn.networks.convolutional import Residual, normalised
from vaebench.nn.networks.feature_encoders import built
from vaebench.nn.networks.levels import Levels, laid_out, up
from vaebench.nn.networks.vqgan import encoder_and_decoder
from vaebench.nn.options import require, whole
from vaebench.nn.tokenizers.pictures import multiple_of


class FeatureDecoder(Protocol):
    """An ``nn.Module``: latents ``[b l h' w']`` -> images ``[b c h w]`` in about [-1, 1].

    ``last_weight``: of the last layer.
    """

    @property
    def last_weight(self) -> nn.Parameter: ...  # noqa: D102

    def __call__(self, z: Tensor) -> Tensor: ...  # noqa: D102


class ConvDecoder(nn.Module):
    """The mirror of `ConvEncoder`: from the last level to the first ``blocks`` `Residual`, GN, SiLU, `up`.

    No blocks at the first level. ``strides``, ``width``, ``widest``, ``groups``: of the `Levels`.

    Raises:
        UserError: an option out of range, or strides that do not lead from the latents to the images.
    """

    def __init__(
        self,
        *,
        latent_shape: Sequence[int],
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
        require(_grid_mistake(f"{where}.strides={list(strides)}", levels.grid, latent_shape))
        channels = [input_shape[0], *levels.channels]
        layers: list[nn.Module] = [nn.Conv2d(latent_shape[0], channels[-1], 1)]
        for level in reversed(range(len(strides))):
            width = channels[level + 1]
            layers += [Residual(width, groups, dimensions=2, last=3) for _ in range(blocks if level else 0)]
            layers += normalised(width, groups)
            last = up(width, channels[level], strides[level])
            layers.append(last)
        self.body = nn.Sequential(*layers)

    @property
    def last_weight(self) -> nn.Parameter:
        """The weights of the last transposed convolution."""
        weight: Any = self.body[-1].weight
        return weight

    def forward(self, z: Tensor) -> Tensor:
        """Latents ``[b l h' w']`` -> images ``[b c h w]`` in about [-1, 1]."""
        images: Tensor = self.body(laid_out(z))
        return images


class KLDecoder(nn.Module):
    """The decoder of diffusers' ``AutoencoderKL``; with ``upsample_first`` a nearest up-sampling by 2 and conv3 before.

    ``channels * multipliers[i]`` channels at level i, ``blocks`` residual blocks each and one more, self-attention at
    the smallest level, normalisations of ``groups`` groups.

    Raises:
        UserError: an option out of range, latents of another grid, or diffusers is not installed.
    """

    def __init__(
        self,
        *,
        latent_shape: Sequence[int],
        input_shape: Sequence[int],
        channels: int,
        multipliers: Sequence[int],
        blocks: int,
        groups: int,
        upsample_first: bool,
        where: str,
    ) -> None:
        super().__init__()
        require(
            whole(f"{where}.channels", channels, 1),
            whole(f"{where}.groups", groups, 1),
            multiple_of(f"{where}.channels", channels, groups, f"{where}.groups"),
            whole(f"{where}.blocks", blocks, 1),
            *(whole(f"{where}.multipliers", multiplier, 1) for multiplier in multipliers or (0,)),
        )
        latents, height, width = latent_shape
        grow = 2 ** (len(multipliers) - 1 + upsample_first)
        made = (height * grow, width * grow)
        if made != tuple(input_shape[1:]):
            raise UserError(
                f"{where}.multipliers={list(multipliers)}, {where}.upsample_first={str(upsample_first).lower()}: "
                f"{height} x {width} latents would become {made[0]} x {made[1]} images instead of {input_shape[1]} x "
                f"{input_shape[2]}; choose another number of levels"
            )
        self.first = (
            nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(latents, latents, 3, padding=1))
            if upsample_first
            else nn.Identity()
        )
        _, self.decoder = encoder_and_decoder(
            f"{where}.kind=kl",
            colours=input_shape[0],
            width=latents,
            moments=False,
            channels=[channels * multiplier for multiplier in multipliers],
            blocks=blocks,
            groups=groups,
        )

    @property
    def last_weight(self) -> nn.Parameter:
        """The weights of the last convolution."""
        weight: nn.Parameter = self.decoder.conv_out.weight
        return weight

    def forward(self, z: Tensor) -> Tensor:
        """Latents ``[b l h' w']`` -> images ``[b c h w]`` in about [-1, 1]."""
        images: Tensor = self.decoder(self.first(z))
        return images


KINDS = {"conv": ConvDecoder, "kl": KLDecoder}


def build(options: Mapping[str, Any], *, latent_shape: Sequence[int], input_shape: Sequence[int]) -> FeatureDecoder:
    """The decoder that ``options`` (a file of ``conf/decoder``) describe, with fresh weights.

    Raises:
        UserError: an unknown kind, unknown, missing, ill-typed or impossible options.
    """
    where = "model.decoder"
    provided = {"latent_shape": latent_shape, "input_shape": input_shape, "where": where}
    decoder: Any = built(options, KINDS, where, provided)
    return decoder


def _grid_mistake(option: str, grid: Sequence[int], latent_shape: Sequence[int]) -> str | None:
    """The strides lead from images to the grid of the latents."""
    if tuple(grid) == tuple(latent_shape[1:]):
        return None
    return (
        f"{option}: these lead to a grid of {grid[0]} x {grid[1]}, the encoder's is {latent_shape[1]} x "
        f"{latent_shape[2]}; choose strides with the product of the encoder's"
    )
