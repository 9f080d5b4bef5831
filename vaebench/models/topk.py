"""Top-K VAE, the per-sample control of BatchTopK-VAE: every image keeps its own K latents of largest magnitude."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaebench.config.signatures import Count, NonNegative, checked, require, whole
from vaebench.contracts import Batch, LossOutput, Phase
from vaebench.nn.latents.gaussian import gaussian_kl, posterior, prior_sample, reparameterise
from vaebench.nn.latents.topk import top_mask
from vaebench.nn.losses import elbo
from vaebench.nn.networks import flat


class TopK(nn.Module):
    """``loss = recon(x, Dec(z * m(z))) + beta KL``, ``m`` one at the K largest |z| of each image, KL before the mask.

    At test time ``z = mu``. The mask is a constant: no gradient flows through the selection. ``k`` is K of
    ``latent_dim``; the other options are those of the beta-VAE.
    """

    @checked("model")
    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        latent_dim: Count,
        k: Count,
        beta: NonNegative,
        network: flat.Network,
        hidden: flat.Hidden,
        recon_loss: elbo.ReconLoss,
        reduction: elbo.Reduction,
    ) -> None:
        super().__init__()
        require(whole("model.k", k, 1, latent_dim, "model.latent_dim"))
        self.latent_dim = latent_dim
        self.k = k
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
        """``recon + beta kl``; terms ``recon``, ``kl`` and ``kl_kept``, the part of ``kl`` in the kept latents."""
        del step
        mu, logvar = posterior(self.encoder(batch.x))
        z = reparameterise(mu, logvar)
        mask = top_mask(z.abs(), self.k)
        logits = self.decoder(z * mask)
        recon = elbo.reconstruction(logits, batch.x, recon_loss=self.recon_loss, reduction=self.reduction)
        per_entry = gaussian_kl(mu, logvar)
        kl = elbo.over_latents(per_entry, reduction=self.reduction)
        kept = elbo.over_latents(per_entry.detach() * mask, reduction=self.reduction)
        return LossOutput(recon + self.beta * kl, {"recon": recon.detach(), "kl": kl.detach(), "kl_kept": kept})

    def encode(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` -> posterior means ``[b l]``, zero but for the K largest magnitudes of each image."""
        mu, _ = posterior(self.encoder(x))
        return mu * top_mask(mu.abs(), self.k)

    def decode(self, z: Tensor) -> Tensor:
        """Codes ``[b l]``, masked already -> images ``[b c h w]`` in [0, 1]."""
        logits: Tensor = self.decoder(z)
        return logits.float().sigmoid()

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` images ``[count c h w]`` in [0, 1] from z ~ N(0, I), each with its K largest magnitudes."""
        z = prior_sample(count, self.latent_dim, generator, next(self.parameters()).device)
        return self.decode(z * top_mask(z.abs(), self.k))
