"""The two sides of adversarial training: an autoencoder's term and its discriminator's loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.contracts import LossOutput
from vaebench.nn.losses.diff_augment import diff_augment
from vaebench.nn.losses.patch_discriminator import PatchDiscriminator, adaptive_weight, hinge_loss

_CUTOUT = 0.2  # of a side, arXiv 2512.07778


class Adversary:
    """``weight a G`` with ``G = -mean D(y)`` for the autoencoder, from step ``start`` on; the hinge loss for D.

    a: the adaptive weight of VQGAN (`adaptive_weight`). ``augment``: D sees all images through `diff_augment`.
    ``consistency_weight``: of the mean squared difference of D's scores of two augmentations of an image, real or made
    (balanced consistency, Zhao et al., arXiv 2002.04724). D judges the images that the autoencoder's turn of the same
    step has made. No module: the model holds the discriminator, which is trained and stored with it.
    """

    def __init__(
        self, discriminator: PatchDiscriminator, *, weight: float, start: int, augment: bool, consistency_weight: float
    ) -> None:
        self.discriminator = discriminator
        self.weight = weight
        self.start = start
        self.augment = augment
        self.consistency_weight = consistency_weight
        self._made: tuple[Tensor, Tensor] | None = None  # a batch's images and what was made of them

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
