"""Autoencoders with a grid of latents: the baselines AE, DAE, VAE and SD-VAE of arXiv 2507.09984.

AE: nothing but the reconstruction. DAE (Vincent et al., 2008): of a noisy input. VAE: with the whole KL. SD-VAE
(Rombach et al., arXiv 2112.10752): with little KL, a perceptual and an adversarial term.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vaebench.config.signatures import NonNegative, checked, require
from vaebench.contracts import Batch, LossOutput, Phase
from vaebench.nn.latents import bounded_posterior, gaussian_kl, no_kl, reparameterise
from vaebench.nn.losses.reconstruction import AdversarialOptions, ReconstructionLoss
from vaebench.nn.networks import grid


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class GridAutoencoder(AdversarialOptions, grid.GridModel):
    """``mse(Dec(z), x) + kl_weight KL + perceptual_weight P + adversarial_weight a G``; test-time latents are means.

    MSE over pixels in [-1, 1]. ``KL(q(z|x), N(0, I))``: summed over channels, mean over positions and batch.
    ``noise_std``: of Gaussian noise on the input, in [-1, 1]; the target is clean. ``stochastic``: whether z is drawn
    from q(z|x), else the mean and no KL. P: `Perceptual` of ``perceptual``. G: ``-mean D(Dec(z))`` of a
    `PatchDiscriminator`, from step ``adversarial_start`` on, where the discriminator's training begins too; a: the
    adaptive weight of VQGAN. ``network``: a file of ``conf/network``.

    The discriminator's turn comes after the autoencoder's in the same step and judges the images that this has made.
    """

    adopts = ("perceptual",)
    keeps = ()

    reconstruction: ReconstructionLoss = field(init=False)
    input_shape: Sequence[int]
    network: InitVar[Mapping[str, Any]]
    noise_std: NonNegative
    stochastic: bool
    kl_weight: NonNegative

    def __post_init__(self, network: Mapping[str, Any]) -> None:
        nn.Module.__init__(self)
        require(no_kl(self.stochastic, self.kl_weight))
        loss = ReconstructionLoss(self.input_shape, {"mse": 1.0}, self.perceptual, self.perceptual_weight)
        self.network = grid.build(network, input_shape=self.input_shape)
        self.latent_shape: tuple[int, int, int] = self.network.latent_shape
        loss.add_discriminator(self)
        # The loss is no child of this module, its discriminator is: stored weights are called ``discriminator``.
        self.discriminator = loss.discriminator
        vars(self)["reconstruction"] = loss

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The autoencoder's, and where there is a discriminator then its own."""
        autoencoder = Phase("autoencoder", tuple(self.network.parameters()), self.loss)
        return autoencoder, *self.reconstruction.judging(self.discriminator_loss)

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """Terms ``mse`` and where they are asked for ``kl``, ``perceptual``, ``adversarial``, ``adaptive_weight``."""
        y, mean, logvar = self._reconstructed(2 * batch.x - 1)
        kl = gaussian_kl(mean, logvar).sum(dim=1).mean() if self.stochastic else None
        total, terms = self.reconstruction.loss(
            y, batch.x, step, self.network.last_weight, beside=None if kl is None else self.kl_weight * kl
        )
        return LossOutput(total, terms if kl is None else {**terms, "kl": kl.detach()})

    def discriminator_loss(self, batch: Batch, step: int) -> LossOutput:
        """The hinge loss; terms ``real`` and ``fake``, the mean scores. Zero before ``adversarial_start``."""
        return self.reconstruction.discriminator_loss(batch.x, step, lambda x: self._reconstructed(2 * x - 1)[0])

    def adopt(self, role: str, parent: nn.Module) -> None:
        """Take the classifier whose layers make the perceptual term, where ``perceptual`` is ``classifier``."""
        self.reconstruction.perceptual.perceive(parent)

    def _reconstructed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images in [-1, 1] -> reconstruction, mean, log-variance, all float32."""
        seen = x + self.noise_std * torch.randn_like(x) if self.noise_std else x
        mean, logvar = bounded_posterior(self.network.encode(seen), dim=1)
        z = reparameterise(mean, logvar) if self.stochastic else mean
        return self.network.decode(z).float(), mean, logvar
