"""Encoders and decoders of image autoencoders: fully connected, or convolutional with a fully connected part.

``hidden`` are the widths of the fully connected layers, from image to code; the decoder has them in reverse. Decoders
end in logits ``[b c h w]``: the sigmoid is the model's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import nn

from vaebench.nn.options import one_of

# Fully connected widths of each network where ``hidden`` is null.
HIDDEN = {"mlp": (512, 256), "conv": (256,)}
CHANNELS = (32, 64)  # of the convolutions, each with kernel 4, stride 2, padding 1
_SHRINK = 2 ** len(CHANNELS)


def mistakes(network: str, shape: Sequence[int], hidden: Sequence[int] | None) -> list[str | None]:
    """One line for each option that `encoder` and `decoder` cannot be built with."""
    name = one_of("model.network", network, HIDDEN)
    widths = None
    if hidden is not None and (not hidden or min(hidden) < 1):
        widths = f"model.hidden={list(hidden)}: expected widths of at least 1, or null for the network's own"
    size = None
    if network == "conv" and any(n % _SHRINK for n in shape[1:]):
        height, width = shape[1:]
        size = f"model.network=conv: the sides of {height} x {width} images are not multiples of {_SHRINK}; use mlp"
    return [name, widths, size]


def encoder(network: str, *, shape: Sequence[int], outputs: int, hidden: Sequence[int] | None) -> nn.Sequential:
    """Images ``[b c h w]`` of ``shape`` (c, h, w) -> ``[b outputs]``, from one linear head.

    Raises `KeyError` for options that `mistakes` would have named.
    """
    widths = HIDDEN[network] if hidden is None else tuple(hidden)
    layers: list[nn.Module] = []
    if network == "conv":
        for before, after in pairwise((shape[0], *CHANNELS)):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.ReLU()]
    inner = _inner_shape(network, shape)
    return nn.Sequential(*layers, nn.Flatten(), *_linears((math.prod(inner), *widths, outputs)))


def decoder(network: str, *, shape: Sequence[int], latent_dim: int, hidden: Sequence[int] | None) -> nn.Sequential:
    """Codes ``[b latent_dim]`` -> logits ``[b c h w]`` of ``shape`` (c, h, w): the mirror image of `encoder`."""
    widths = HIDDEN[network] if hidden is None else tuple(hidden)
    inner = _inner_shape(network, shape)
    layers: list[nn.Module] = [*_linears((latent_dim, *reversed(widths), math.prod(inner))), nn.Unflatten(1, inner)]
    if network == "conv":
        for before, after in pairwise((*reversed(CHANNELS), shape[0])):
            layers += [nn.ReLU(), nn.ConvTranspose2d(before, after, 4, 2, 1)]
    return nn.Sequential(*layers)


def _inner_shape(network: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """What the fully connected part sees: the image itself, or the last convolution's output."""
    channels, height, width = shape
    if network == "conv":
        return CHANNELS[-1], height // _SHRINK, width // _SHRINK
    return channels, height, width


def _linears(widths: Sequence[int]) -> Iterator[nn.Module]:
    """Linear layers with a ReLU between any two."""
    for index, (before, after) in enumerate(pairwise(widths)):
        if index:
            yield nn.ReLU()
        yield nn.Linear(before, after)
