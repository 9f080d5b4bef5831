"""Top-K VAE, the per-sample control of BatchTopK-VAE: every image keeps its own K latents of largest magnitude."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vaebench.config.signatures import Count, checked, require, whole
from vaebench.contracts import Batch, LossOutput
from vaebench.nn.latents import reparameterise, top_mask
from vaebench.nn.networks.flat import FlatVAE


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class TopK(FlatVAE):
    """``loss = recon(x, Dec(z * m(z))) + beta KL``, ``m`` one at the K largest |z| of each image, KL before the mask.

    At test time ``z = mu``. The mask is a constant: no gradient flows through the selection. ``k`` is K of
    ``latent_dim``; the other options are those of `FlatVAE`.
    """

    k: Count

    def __post_init__(self) -> None:
        require(whole("model.k", self.k, 1, self.latent_dim, "model.latent_dim"))
        super().__post_init__()

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """``recon + beta kl``; terms ``recon``, ``kl`` and ``kl_kept``, the part of ``kl`` in the kept latents."""
        mu, logvar = self.posterior(self.noisy(batch.x))
        z = reparameterise(mu, logvar)
        mask = top_mask(z.abs(), self.k)
        return self.elbo(z * mask, mu, logvar, batch.x, mask)

    def encode(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` -> posterior means ``[b l]``, zero but for the K largest magnitudes of each image."""
        mu, logvar = self.posterior(x)
        return self.masked(mu, mu, logvar)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` images ``[count c h w]`` in [0, 1] from z ~ N(0, I), each with its K largest magnitudes."""
        z = self.prior_codes(count, generator)
        return self.decode(self.masked(z, z, torch.zeros_like(z)))

    def masked(self, z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        """Test-time codes ``z`` ``[b l]``, 0 but for the K largest magnitudes of each image."""
        del mu, logvar
        return z * top_mask(z.abs(), self.k)
