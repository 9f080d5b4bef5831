"""The adversarial part of a perceptual autoencoder (VQGAN, Esser et al., arXiv 2012.09841)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.config.signatures import whole

_WIDEST = 8  # times the first layer's channels
_STD = 0.02  # of the first weights, arXiv 1611.07004
_MOST = 1e4  # of the adaptive weight, arXiv 2012.09841
_EPS = 1e-4


def too_deep(layers: int, input_shape: Sequence[int]) -> str | None:
    """One line for more layers than images (c, h, w) have room for."""
    side = min(input_shape[1:])
    # A side of s becomes s // 2^layers, and one less in each of the last two convolutions.
    deepest = (side // 3).bit_length() - 1
    return whole("model.discriminator_layers", layers, 1, deepest, f"for images with a side of {side}")


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al., arXiv 1611.07004): one number for each overlapping patch, high where it looks real.

    ``layers`` convolutions of kernel 4 and stride 2, one more and the last of stride 1; ``channels``, doubling up to
    eight times as many; batch normalisation in all but the first and last; leaky ReLU.
    """

    def __init__(self, *, colours: int, layers: int, channels: int) -> None:
        super().__init__()
        widths = [channels * min(2**level, _WIDEST) for level in range(layers + 1)]
        body: list[nn.Module] = [nn.Conv2d(colours, channels, 4, 2, 1), nn.LeakyReLU(0.2)]
        for level, (before, after) in enumerate(pairwise(widths), start=1):
            stride = 2 if level < layers else 1
            body += [nn.Conv2d(before, after, 4, stride, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*body, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` in [-1, 1] -> float32 ``[b 1 h' w']``."""
        return self.body(x).float()


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's: ``(mean max(0, 1 - real) + mean max(0, 1 + fake)) / 2``, a scalar; arXiv 1705.02894."""
    return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last_weight: nn.Parameter) -> Tensor:
    """``|grad reconstruction| / (|grad adversarial| + 1e-4)`` at the decoder's last layer, in [0, 1e4], detached.

    Both losses are scalars with a graph, which is kept. Eq. 7, arXiv 2012.09841, with the bounds of its code.
    """
    norms = [
        torch.autograd.grad(loss, last_weight, retain_graph=True)[0].norm() for loss in (reconstruction, adversarial)
    ]
    return (norms[0] / (norms[1] + _EPS)).clamp(0, _MOST).detach()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, _STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, _STD)
