"""What a reconstruction is trained for: L1, L2, a perceptual distance, a discriminator's opinion (arXiv 2512.07778)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.contracts import LossOutput
from vaebench.nn.losses import patch_discriminator, perceptual
from vaebench.nn.losses.adversary import Adversary
from vaebench.nn.losses.patch_discriminator import PatchDiscriminator
from vaebench.nn.losses.perceptual import Perceptual
from vaebench.nn.options import non_negative, require, whole


class ReconstructionLoss(nn.Module):
    """``l1_weight L1 + l2_weight L2 + perceptual_weight P + adversarial_weight a G``, the means over pixels in [-1, 1].

    P: `Perceptual` of ``perceptual``. ``a G``: `Adversary` with ``augment``, ``consistency_weight`` and a
    `PatchDiscriminator`, from step ``adversarial_start`` on. ``discriminator``: None without ``adversarial_weight``.

    Raises:
        UserError: an option out of range.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        l1_weight: float,
        l2_weight: float,
        perceptual: str,
        perceptual_weight: float,
        adversarial_weight: float,
        adversarial_start: int,
        discriminator_layers: int,
        discriminator_channels: int,
        augment: bool,
        consistency_weight: float,
    ) -> None:
        super().__init__()
        judged = patch_discriminator.mistakes(discriminator_layers, discriminator_channels, input_shape)
        require(
            non_negative("model.l1_weight", l1_weight),
            non_negative("model.l2_weight", l2_weight),
            *_perceptual_mistakes(perceptual, perceptual_weight, input_shape),
            non_negative("model.adversarial_weight", adversarial_weight),
            whole("model.adversarial_start", adversarial_start, 0),
            *(judged if adversarial_weight else ()),
            non_negative("model.consistency_weight", consistency_weight),
        )
        self.l1_weight = l1_weight
        self.l2_weight = l2_weight
        self.perceptual = Perceptual(perceptual)
        self.perceptual_weight = perceptual_weight if perceptual != "none" else 0.0
        self.discriminator: PatchDiscriminator | None = None
        self.adversary: Adversary | None = None
        if adversarial_weight:
            self.discriminator = PatchDiscriminator(
                colours=input_shape[0], layers=discriminator_layers, channels=discriminator_channels
            )
            self.adversary = Adversary(
                self.discriminator,
                weight=adversarial_weight,
                start=adversarial_start,
                augment=augment,
                consistency_weight=consistency_weight,
            )

    @property
    def discriminator_parameters(self) -> tuple[nn.Parameter, ...]:
        """Empty where there is no discriminator."""
        return () if self.discriminator is None else tuple(self.discriminator.parameters())

    def loss(self, y: Tensor, x: Tensor, step: int, last_weight: nn.Parameter) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstructions ``y`` in [-1, 1] of images ``x`` in [0, 1] -> the loss and its terms, unweighted.

        Terms ``l1`` and where they are asked for ``l2``, ``perceptual``, ``adversarial``, ``adaptive_weight``, which is
        a ratio of gradients for ``last_weight``, the decoder's. Keeps ``y`` for `discriminator_loss`.
        """
        y, target = y.float(), 2 * x - 1
        l1 = F.l1_loss(y, target)
        total, terms = self.l1_weight * l1, {"l1": l1.detach()}
        if self.l2_weight:
            l2 = F.mse_loss(y, target)
            total, terms["l2"] = total + self.l2_weight * l2, l2.detach()
        if self.perceptual_weight:
            distance = self.perceptual((y + 1) / 2, x)
            total, terms["perceptual"] = total + self.perceptual_weight * distance, distance.detach()
        if self.adversary is not None:
            if step >= self.adversary.start:
                total = total + self.adversary.term(y, total, last_weight, terms)
            self.adversary.remember(x, y)
        return total, terms

    def discriminator_loss(self, x: Tensor, step: int, make: Callable[[Tensor], Tensor]) -> LossOutput:
        """The discriminator's turn after the autoencoder's, as `Adversary.loss`."""
        assert self.adversary is not None
        return self.adversary.loss(x, step, lambda images: make(images).float())

    def perceive(self, classifier: nn.Module) -> None:
        """Take the classifier whose layers make the perceptual term, where ``perceptual`` is ``classifier``."""
        self.perceptual.perceive(classifier)


_perceptual_mistakes = perceptual.mistakes  # the constructor's option has the module's name
