"""Decoders of a grid of latents to images, chosen by ``kind``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from vaebench.config import signatures
from vaebench.config.signatures import Count, CountOrNone, require
from vaebench.nn.networks.kl import KLDecoder
from vaebench.nn.networks.levels import Levels, Residual, Strides, laid_out, normalised, up


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
        strides: Strides,
        width: Count,
        widest: Count,
        blocks: CountOrNone,
        groups: Count,
        where: str,
    ) -> None:
        super().__init__()
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


KINDS: dict[str, Any] = {"conv": ConvDecoder, "kl": KLDecoder}


def build(options: Mapping[str, Any], *, latent_shape: Sequence[int], input_shape: Sequence[int]) -> FeatureDecoder:
    """The decoder that ``options`` (a file of ``conf/decoder``) describe, with fresh weights.

    Raises:
        UserError: an unknown kind, unknown, missing, ill-typed or impossible options.
    """
    where = "model.decoder"
    given = {"latent_shape": latent_shape, "input_shape": input_shape, "where": where}
    decoder: FeatureDecoder = signatures.chosen(where, options, KINDS, **given)
    return decoder


def _grid_mistake(option: str, grid: Sequence[int], latent_shape: Sequence[int]) -> str | None:
    """The strides lead from images to the grid of the latents."""
    if tuple(grid) == tuple(latent_shape[1:]):
        return None
    return (
        f"{option}: these lead to a grid of {grid[0]} x {grid[1]}, the encoder's is {latent_shape[1]} x "
        f"{latent_shape[2]}; choose strides with the product of the encoder's"
    )
