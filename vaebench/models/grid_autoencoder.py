"""Autoencoders with a grid of latents: the baselines AE, DAE, VAE and SD-VAE of arXiv 2507.09984.

AE: nothing but the reconstruction. DAE (Vincent et al., 2008): of a noisy input. VAE: with the whole KL. SD-VAE
(Rombach et al., arXiv 2112.10752): with little KL, a perceptual and an adversarial term.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.contracts import Batch, LossOutput, Phase
from vaebench.nn.latents.gaussian import bounded_posterior, gaussian_kl, reparameterise
from vaebench.nn.losses import patch_discriminator, perceptual
from vaebench.nn.losses.adversary import Adversary
from vaebench.nn.losses.patch_discriminator import PatchDiscriminator
from vaebench.nn.losses.perceptual import Perceptual
from vaebench.nn.networks import grid
from vaebench.nn.options import non_negative, require, whole


class GridAutoencoder(nn.Module):
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

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        network: Mapping[str, Any],
        noise_std: float,
        stochastic: bool,
        kl_weight: float,
        perceptual: str,
        perceptual_weight: float,
        adversarial_weight: float,
        adversarial_start: int,
        discriminator_layers: int,
        discriminator_channels: int,
    ) -> None:
        super().__init__()
        require(
            non_negative("model.noise_std", noise_std),
            non_negative("model.kl_weight", kl_weight),
            _kl_mistake(stochastic, kl_weight),
            *_perceptual_mistakes(perceptual, perceptual_weight, input_shape),
            non_negative("model.adversarial_weight", adversarial_weight),
            whole("model.adversarial_start", adversarial_start, 0),
            *(
                patch_discriminator.mistakes(discriminator_layers, discriminator_channels, input_shape)
                if adversarial_weight
                else ()
            ),
        )
        self.noise_std = noise_std
        self.stochastic = stochastic
        self.kl_weight = kl_weight
        self.perceptual = Perceptual(perceptual)
        self.perceptual_weight = perceptual_weight if perceptual != "none" else 0.0
        self.network: Any = grid.build(network, input_shape=input_shape)
        self.latent_shape: tuple[int, int, int] = self.network.latent_shape
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
                augment=False,
                consistency_weight=0.0,
            )

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The autoencoder's, and where there is a discriminator then its own."""
        autoencoder = Phase("autoencoder", tuple(self.network.parameters()), self.loss)
        if self.discriminator is None:
            return (autoencoder,)
        return autoencoder, Phase("discriminator", tuple(self.discriminator.parameters()), self.discriminator_loss)

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """Terms ``mse`` and where they are asked for ``kl``, ``perceptual``, ``adversarial``, ``adaptive_weight``."""
        x = 2 * batch.x - 1
        y, mean, logvar = self._reconstructed(x)
        total = mse = F.mse_loss(y, x)
        terms = {"mse": mse.detach()}
        if self.perceptual_weight:
            distance = self.perceptual((y + 1) / 2, batch.x)
            total = total + self.perceptual_weight * distance
            terms["perceptual"] = distance.detach()
        adversarial: Tensor | float = 0.0
        if self.adversary is not None:
            self.adversary.remember(batch.x, y)
            if step >= self.adversary.start:
                # What the adversarial term is weighed against is the reconstruction, without the KL.
                adversarial = self.adversary.term(y, total, self.network.last_weight, terms)
        if self.stochastic:
            kl = gaussian_kl(mean, logvar).sum(dim=1).mean()
            total = total + self.kl_weight * kl
            terms["kl"] = kl.detach()
        return LossOutput(total + adversarial, terms)

    def discriminator_loss(self, batch: Batch, step: int) -> LossOutput:
        """The hinge loss; terms ``real`` and ``fake``, the mean scores. Zero before ``adversarial_start``."""
        assert self.adversary is not None
        return self.adversary.loss(batch.x, step, lambda x: self._reconstructed(2 * x - 1)[0])

    def adopt(self, role: str, parent: nn.Module) -> None:
        """Take the classifier whose layers make the perceptual term, where ``perceptual`` is ``classifier``."""
        del role
        self.perceptual.perceive(parent)

    def encode(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` in [0, 1] -> means ``[b l h' w']``, float32."""
        return self.latent_moments(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        """Latents ``[b l h' w']`` -> images ``[b c h w]`` in [0, 1]."""
        y: Tensor = self.network.decode(z)
        return ((y.float() + 1) / 2).clamp(0, 1)

    def latent_moments(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images -> mean and log-variance ``[b l h' w']``, float32; no log-variance where z is the mean."""
        mean, logvar = bounded_posterior(self.encoder_pass(x), dim=1)
        return mean, logvar if self.stochastic else None

    def encoder_pass(self, x: Tensor) -> Tensor:
        """The encoder on images ``[b c h w]`` in [0, 1] -> ``[b 2l h' w']``."""
        moments: Tensor = self.network.encode(2 * x - 1)
        return moments

    def _reconstructed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images in [-1, 1] -> reconstruction, mean, log-variance, all float32."""
        seen = x + self.noise_std * torch.randn_like(x) if self.noise_std else x
        mean, logvar = bounded_posterior(self.network.encode(seen), dim=1)
        z = reparameterise(mean, logvar) if self.stochastic else mean
        return self.network.decode(z).float(), mean, logvar


_perceptual_mistakes = perceptual.mistakes  # the constructor's option has the module's name


def _kl_mistake(stochastic: bool, kl_weight: float) -> str | None:
    """A deterministic code has no KL."""
    if stochastic or kl_weight == 0:
        return None
    return f"model.kl_weight={kl_weight}: model.stochastic=false has no KL; set one of them to 0 or true"
