"""The beta-VAE (Higgins et al., ICLR 2017): a VAE (Kingma & Welling, arXiv 1312.6114) with a weight on the KL."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaebench.config.signatures import Count, NonNegative, checked
from vaebench.contracts import Batch, LossOutput, Phase
from vaebench.nn.latents.gaussian import gaussian_kl, posterior, prior_sample, reparameterise
from vaebench.nn.losses import elbo
from vaebench.nn.networks import flat


class BetaVAE(nn.Module):
    """``loss = recon(x, Dec(z)) + beta KL(q(z|x), N(0, I))`` with ``z`` drawn from ``q(z|x)``; at test time ``z = mu``.

    ``input_shape`` (c, h, w); ``latent_dim`` L; ``network`` mlp or conv; ``hidden`` widths of the fully connected
    layers (null: the network's own); ``recon_loss`` mse or bce; ``reduction`` over pixels and over latent dimensions,
    sum or mean.
    """

    @checked("model")
    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        latent_dim: Count,
        beta: NonNegative,
        network: flat.Network,
        hidden: flat.Hidden,
        recon_loss: elbo.ReconLoss,
        reduction: elbo.Reduction,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.beta = beta
        self.recon_loss = recon_loss
        self.reduction = reduction
        self.encoder, self.decoder = flat.pair(
            network, shape=input_shape, hidden=hidden, outputs=2 * latent_dim, latent_dim=latent_dim
        )

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase over all parameters."""
        return (Phase("autoencoder", tuple(self.parameters()), self.loss),)

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """``recon + beta kl``; terms ``recon`` and ``kl``, unweighted."""
        del step
        mu, logvar = posterior(self.encoder(batch.x))
        logits = self.decoder(reparameterise(mu, logvar))
        recon = elbo.reconstruction(logits, batch.x, recon_loss=self.recon_loss, reduction=self.reduction)
        kl = elbo.over_latents(gaussian_kl(mu, logvar), reduction=self.reduction)
        return LossOutput(recon + self.beta * kl, {"recon": recon.detach(), "kl": kl.detach()})

    def encode(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` -> posterior means ``[b l]``."""
        return posterior(self.encoder(x))[0]

    def decode(self, z: Tensor) -> Tensor:
        """Codes ``[b l]`` -> images ``[b c h w]`` in [0, 1]."""
        logits: Tensor = self.decoder(z)
        return logits.float().sigmoid()

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` images ``[count c h w]`` in [0, 1] from z ~ N(0, I)."""
        device = next(self.parameters()).device
        return self.decode(prior_sample(count, self.latent_dim, generator, device))
