"""What a reconstruction is trained for: L1, L2, a perceptual distance, a discriminator's opinion (arXiv 2512.07778)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.config.signatures import Count, CountOrNone, NonNegative, require
from vaebench.contracts import Batch, LossOutput, Phase
from vaebench.errors import UserError
from vaebench.nn.losses.adversary import Adversary, PatchDiscriminator, too_deep
from vaebench.nn.pretrained import lpips
from vaebench.nn.pretrained.frozen import Frozen

Kind = Literal["none", "classifier", "lpips"]
_PIXELS = {"l1": F.l1_loss, "l2": F.mse_loss, "mse": F.mse_loss}


@dataclass(eq=False, repr=False, kw_only=True)
class AdversarialOptions:
    """Options of a model with a `ReconstructionLoss`: of its `Perceptual`, and of its `Adversary`.

    From step ``adversarial_start`` on the discriminator is trained and its opinion counts; with an
    ``adversarial_weight`` of 0 there is none.
    """

    perceptual: Kind
    perceptual_weight: NonNegative
    adversarial_weight: NonNegative
    adversarial_start: CountOrNone
    discriminator_layers: Count
    discriminator_channels: Count


class ReconstructionLoss(nn.Module):
    """``sum_i w_i L_i + perceptual_weight P``, with a discriminator ``+ weight a G``; means over pixels in [-1, 1].

    ``pixels``: the weight of each error, by its name: l1, l2 or mse. P: `Perceptual` of ``perceptual``. ``a G``: of an
    `Adversary`. ``discriminator``: None until `add_discriminator`. Raises `UserError`: LPIPS cannot be had.
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
        self, options: AdversarialOptions, *, augment: bool = False, consistency_weight: float = 0.0
    ) -> None:
        """Have a `PatchDiscriminator` judge, unless its weight is 0. Raises `UserError` if it has too many layers."""
        if not options.adversarial_weight:
            return
        layers, channels = options.discriminator_layers, options.discriminator_channels
        require(too_deep(layers, self.input_shape))
        self.discriminator = PatchDiscriminator(colours=self.input_shape[0], layers=layers, channels=channels)
        self.adversary = Adversary(
            self.discriminator, options.adversarial_weight, options.adversarial_start, augment, consistency_weight
        )

    def judging(self, loss: Callable[[Batch, int], LossOutput], every: int = 1) -> tuple[Phase, ...]:
        """The discriminator's phase, of the model's ``loss`` for it; none where there is no discriminator."""
        if self.discriminator is None:
            return ()
        return (Phase("discriminator", tuple(self.discriminator.parameters()), loss, every),)

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


class Perceptual:
    """``kind`` none, classifier (`layer_distance` in a classifier that `perceive` hands over) or lpips (VGG16).

    No module: its network is neither trained nor stored with the model that holds it.

    Raises `UserError`: ``kind`` is lpips and its weights are not on this machine, or the images are not for it.
    """

    def __init__(self, kind: Kind, input_shape: Sequence[int]) -> None:
        self.kind = kind
        self.network = (
            frozen_lpips(input_shape, "model.perceptual=lpips", "choose classifier or none")
            if kind == "lpips"
            else None
        )

    def perceive(self, classifier: nn.Module) -> None:
        """Take a trained classifier (`HasLayers`); another kind than ``classifier`` has no use for it."""
        if self.kind == "classifier":
            self.network = Frozen(classifier)

    def __call__(self, y: Tensor, x: Tensor) -> Tensor:
        """Images ``y``, ``x`` in [0, 1] -> mean distance, a scalar. Raises `UserError` without a classifier."""
        if self.network is None:
            raise UserError("model.perceptual=classifier: no trained classifier was given to the model")
        network = self.network.on(y.device)
        if self.kind == "lpips":
            return network(y, x).mean()
        with torch.no_grad():
            target = network.layers(x)
        return layer_distance(network.layers(y), target)


def frozen_lpips(input_shape: Sequence[int], option: str, instead: str) -> Frozen:
    """LPIPS for images (c, h, w). Raises `UserError`, naming the ``option`` and what to do ``instead``."""
    if min(input_shape[1:]) < lpips.SMALLEST_SIDE or input_shape[0] not in (1, 3):
        raise UserError(
            f"{option}: LPIPS is for grey or colour images of at least {lpips.SMALLEST_SIDE} x {lpips.SMALLEST_SIDE}, "
            f"not {list(input_shape)}; {instead}"
        )
    try:
        return Frozen(lpips.load())
    except UserError as error:
        raise UserError(f"{option}: {error}; or {instead}") from error


def layer_distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """Mean over layers, images and positions of ``sum_c (unit(a)_c - unit(b)_c)^2``, 0 to 4; a scalar.

    Layers ``[b c h w]`` or ``[b d]``; ``unit``: each position's channels at unit length. This is LPIPS (Eq. 1, arXiv
    1801.03924) without learnt weights.
    """
    distances = [(lpips.unit(a) - lpips.unit(b)).square().sum(1).mean() for a, b in zip(one, other, strict=True)]
    return torch.stack(distances).mean()
