"""The adversarial part of a perceptual autoencoder (VQGAN, Esser et al., arXiv 2012.09841).

A discriminator of patches, what it sees of images, and both sides' losses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.config.signatures import whole
from vaebench.contracts import LossOutput, draws
from vaebench.nn import across

_WIDEST = 8  # times the first layer's channels
_STD = 0.02  # of the first weights, arXiv 1611.07004
_MOST = 1e4  # of the adaptive weight, arXiv 2012.09841
_EPS = 1e-4
_SHIFT = 1 / 8  # of a side, at most
_CUTOUT = 0.2  # of a side, arXiv 2512.07778


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
            body += [nn.Conv2d(before, after, 4, stride, 1, bias=False), across.BatchNorm2d(after), nn.LeakyReLU(0.2)]
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
        across.mean(torch.autograd.grad(loss, last_weight, retain_graph=True)[0]).norm()
        for loss in (reconstruction, adversarial)
    ]
    return (norms[0] / (norms[1] + _EPS)).clamp(0, _MOST).detach()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, _STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, _STD)


@dataclass(eq=False)
class Adversary:
    """``weight a G`` with ``G = -mean D(y)`` for the autoencoder, from step ``start`` on; the hinge loss for D.

    a: the adaptive weight of VQGAN (`adaptive_weight`). ``augment``: D sees all images through `diff_augment`.
    ``consistency_weight``: of the mean squared difference of D's scores of two augmentations of an image, real or made
    (balanced consistency, Zhao et al., arXiv 2002.04724). D judges the images that the autoencoder's turn of the same
    step has made. No module: the model holds the discriminator, which is trained and stored with it.
    """

    discriminator: PatchDiscriminator
    weight: float
    start: int
    augment: bool
    consistency_weight: float
    _made: tuple[Tensor, Tensor] | None = None  # a batch's images and what was made of them

    def term(self, y: Tensor, reconstruction: Tensor, last_weight: nn.Parameter, terms: dict[str, Tensor]) -> Tensor:
        """The weighted term of images ``y`` in [-1, 1]; ``reconstruction``: the loss that it is weighed against.

        Adds ``adversarial``, ``adaptive_weight`` to ``terms``.
        """
        fooled = -self._scores(y).mean()
        adaptive = adaptive_weight(reconstruction, fooled, last_weight)
        terms |= {"adversarial": fooled.detach(), "adaptive_weight": adaptive}
        return self.weight * adaptive * fooled

    def remember(self, x: Tensor, y: Tensor) -> None:
        """Keep what was made of a batch's images ``x`` for the discriminator's turn."""
        self._made = x, y.detach()

    def loss(self, x: Tensor, step: int, make: Callable[[Tensor], Tensor]) -> LossOutput:
        """The discriminator's, of images ``x`` in [0, 1]; ``make``: their reconstructions in [-1, 1], if none are kept.

        Terms ``real`` and ``fake``, the mean scores, and where it is asked for ``consistency``. 0 before ``start``.
        """
        made, self._made = self._made, None
        if step < self.start:
            return LossOutput(torch.stack([0 * parameter.sum() for parameter in self.discriminator.parameters()]).sum())
        if made is not None and made[0] is x:
            y = made[1]
        else:
            with torch.no_grad():
                y = make(x)
        seen = 2 * x - 1
        real, fake = self._scores(seen), self._scores(y)
        loss = hinge_loss(real, fake)
        terms = {"real": real.detach().mean(), "fake": fake.detach().mean()}
        if self.consistency_weight:
            again = torch.cat([self._augmented_scores(seen), self._augmented_scores(y)])
            consistency = F.mse_loss(again, torch.cat([real, fake]))
            loss = loss + self.consistency_weight * consistency
            terms["consistency"] = consistency.detach()
        return LossOutput(loss, terms)

    def _scores(self, x: Tensor) -> Tensor:
        return self._augmented_scores(x) if self.augment else self.discriminator(x)

    def _augmented_scores(self, x: Tensor) -> Tensor:
        return self.discriminator(diff_augment(x, cutout=_CUTOUT))


def diff_augment(x: Tensor, *, cutout: float) -> Tensor:
    """Images ``[b c h w]`` in [-1, 1] in other colours, shifted and with a hole (Zhao et al., arXiv 2006.10738).

    Brightness: U(-1/2, 1/2) is added. Saturation: differences from the mean over channels times U(0, 2). Contrast: from
    the mean over the image times U(1/2, 3/2). Shift: by up to an eighth of a side, zeros come in. Hole: a rectangle of
    zeros, ``cutout`` of each side long, its centre anywhere. Each image by draws of its own, from the global generator.
    """
    return cut_out(shifted(coloured(x)), cutout)


def coloured(x: Tensor) -> Tensor:
    """Brightness, saturation and contrast of `diff_augment`, in this order."""
    with draws.along(1):
        brightness, saturation, contrast = torch.rand(3, len(x), 1, 1, 1, device=x.device)
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (2 * saturation)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (contrast + 0.5)


def shifted(x: Tensor) -> Tensor:
    """Each image moved by whole pixels, by up to an eighth of its sides in each direction."""
    count, _, height, width = x.shape
    most = [round(side * _SHIFT) for side in (height, width)]
    padded = F.pad(x, (most[1], most[1], most[0], most[0]))
    down, right = (torch.randint(2 * m + 1, (count,), device=x.device) for m in most)
    rows = down[:, None] + torch.arange(height, device=x.device)
    columns = right[:, None] + torch.arange(width, device=x.device)
    images = torch.arange(count, device=x.device)
    # Indices on both sides of the slice bring the channels to the end.
    return padded[images[:, None, None], :, rows[:, :, None], columns[:, None, :]].movedim(3, 1)


def cut_out(x: Tensor, share: float) -> Tensor:
    """Each image with a hole of zeros, ``share`` of its sides long, cut off where it reaches over the edge."""
    inside = []
    for side in x.shape[2:]:
        length = round(side * share)
        first = torch.randint(side + 1 - length % 2, (len(x), 1), device=x.device) - length // 2
        place = torch.arange(side, device=x.device)
        inside.append((place >= first) & (place < first + length))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return x.masked_fill(hole, 0.0)
