"""What a reconstruction is trained for: L1, L2, a perceptual distance, a discriminator's opinion (arXiv 2512.07778)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.config.signatures import require
from vaebench.contracts import LossOutput
from vaebench.nn.losses.adversary import Adversary
from vaebench.nn.losses.patch_discriminator import PatchDiscriminator, too_deep
from vaebench.nn.losses.perceptual import Kind, Perceptual

_PIXELS = {"l1": F.l1_loss, "l2": F.mse_loss, "mse": F.mse_loss}


class ReconstructionLoss(nn.Module):
    """``sum_i w_i L_i + perceptual_weight P``, with a discriminator ``+ weight a G``; means over pixels in [-1, 1].

    ``pixels``: the weight of each error, by its name: l1, l2 or mse. P: `Perceptual` of ``perceptual``. ``a G``: of an
    `Adversary`. ``discriminator``: None until `add_discriminator`.

    Raises:
        UserError: LPIPS cannot be had.
    """

    def __init__(
        self, input_shape: Sequence[int], pixels: Mapping[str, float], perceptual: Kind, perceptual_weight: float
    ) -> None:
        super().__init__()
        self.input_shape = tuple(input_shape)
        self.pixels = dict(pixels)
        self.perceptual = Perceptual(perceptual, input_shape)
        self.perceptual_weight = perceptual_weight if perceptual != "none" else 0.0
        self.discriminator: PatchDiscriminator | None = None
        self.adversary: Adversary | None = None

    def add_discriminator(
        self,
        weight: float,
        *,
        start: int,
        layers: int,
        channels: int,
        augment: bool = False,
        consistency_weight: float = 0.0,
    ) -> None:
        """From step ``start`` on the reconstructions are judged by a `PatchDiscriminator`, see `Adversary`.

        Raises `UserError` for more ``layers`` than the images have room for.
        """
        require(too_deep(layers, self.input_shape))
        self.discriminator = PatchDiscriminator(colours=self.input_shape[0], layers=layers, channels=channels)
        self.adversary = Adversary(
            self.discriminator, weight=weight, start=start, augment=augment, consistency_weight=consistency_weight
        )

    @property
    def discriminator_parameters(self) -> tuple[nn.Parameter, ...]:
        """Empty where there is no discriminator."""
        return () if self.discriminator is None else tuple(self.discriminator.parameters())

    def loss(
        self, y: Tensor, x: Tensor, step: int, last_weight: nn.Parameter, *, beside: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstructions ``y`` in [-1, 1] of images ``x`` in [0, 1] -> the loss and its terms, unweighted.

        Terms: the errors of the pixels and, where they are asked for, ``perceptual``, ``adversarial`` and
        ``adaptive_weight``, a ratio of gradients for ``last_weight``, the decoder's. Keeps ``y`` for
        `discriminator_loss`. ``beside``: a loss that is added, and that the adversarial term is not weighed against.
        """
        y, target = y.float(), 2 * x - 1
        errors = {name: _PIXELS[name](y, target) for name in self.pixels}
        total = torch.stack([weight * errors[name] for name, weight in self.pixels.items()]).sum()
        terms = {name: error.detach() for name, error in errors.items()}
        if self.perceptual_weight:
            distance = self.perceptual((y + 1) / 2, x)
            total, terms["perceptual"] = total + self.perceptual_weight * distance, distance.detach()
        reconstruction = total
        if beside is not None:
            total = total + beside
        if self.adversary is not None:
            if step >= self.adversary.start:
                total = total + self.adversary.term(y, reconstruction, last_weight, terms)
            self.adversary.remember(x, y)
        return total, terms

    def discriminator_loss(self, x: Tensor, step: int, make: Callable[[Tensor], Tensor]) -> LossOutput:
        """The discriminator's turn after the autoencoder's, as `Adversary.loss`."""
        assert self.adversary is not None
        return self.adversary.loss(x, step, lambda images: make(images).float())

    def perceive(self, classifier: nn.Module) -> None:
        """Take the classifier whose layers make the perceptual term, where ``perceptual`` is ``classifier``."""
        self.perceptual.perceive(classifier)
