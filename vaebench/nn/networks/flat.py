"""Encoders and decoders of image autoencoders: fully connected, or convolutional with a fully connected part.

``hidden`` are the widths of the fully connected layers, from image to code; the decoder has them in reverse. Decoders
end in logits ``[b c h w]``: the sigmoid is the model's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Literal

from annotated_types import Len
from torch import nn

from vaebench.config.signatures import Count
from vaebench.errors import UserError

Network = Literal["mlp", "conv"]
Hidden = Annotated[Sequence[Count], Len(1)] | None
_HIDDEN: dict[Network, Sequence[int]] = {"mlp": (512, 256), "conv": (256,)}  # where ``hidden`` is null
CHANNELS = (32, 64)  # of the convolutions, each with kernel 4, stride 2, padding 1
_SHRINK = 2 ** len(CHANNELS)


def pair(
    network: Network, *, shape: Sequence[int], hidden: Hidden, outputs: int, latent_dim: int
) -> tuple[nn.Sequential, nn.Sequential]:
    """The encoder, images ``[b c h w]`` of ``shape`` (c, h, w) -> ``[b outputs]``, and the decoder, its mirror image.

    The decoder takes ``[b latent_dim]`` and gives logits ``[b c h w]``. Raises `UserError` for sides of images that
    the convolutions do not divide.
    """
    channels, height, width = shape
    widths = _HIDDEN[network] if hidden is None else tuple(hidden)
    inner = (channels, height, width)
    down: list[nn.Module] = []
    up: list[nn.Module] = []
    if network == "conv":
        if height % _SHRINK or width % _SHRINK:
            raise UserError(
                f"model.network=conv: the sides of {height} x {width} images are not multiples of {_SHRINK}; use mlp"
            )
        inner = (CHANNELS[-1], height // _SHRINK, width // _SHRINK)
        for before, after in pairwise((channels, *CHANNELS)):
            down += [nn.Conv2d(before, after, 4, 2, 1), nn.ReLU()]
    encoder = nn.Sequential(*down, nn.Flatten(), *_linears((math.prod(inner), *widths, outputs)))
    linears = [*_linears((latent_dim, *reversed(widths), math.prod(inner))), nn.Unflatten(1, inner)]
    if network == "conv":
        for before, after in pairwise((*reversed(CHANNELS), channels)):
            up += [nn.ReLU(), nn.ConvTranspose2d(before, after, 4, 2, 1)]
    return encoder, nn.Sequential(*linears, *up)


def _linears(widths: Sequence[int]) -> Iterator[nn.Module]:
    """Linear layers with a ReLU between any two."""
    for index, (before, after) in enumerate(pairwise(widths)):
        if index:
            yield nn.ReLU()
        yield nn.Linear(before, after)
