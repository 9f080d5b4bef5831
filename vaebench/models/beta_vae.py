"""The beta-VAE (Higgins et al., ICLR 2017): a VAE (Kingma & Welling, arXiv 1312.6114) with a weight on the KL."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vaebench.config.signatures import checked
from vaebench.contracts import Batch, LossOutput
from vaebench.nn.latents import reparameterise
from vaebench.nn.networks.flat import FlatVAE


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class BetaVAE(FlatVAE):
    """``recon(x, Dec(z)) + beta KL(q(z|x), N(0, I))``, ``z`` drawn from ``q(z|x)``, at test time its mean."""

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """``recon + beta kl``; terms ``recon`` and ``kl``, unweighted."""
        mu, logvar = self.posterior(self.noisy(batch.x))
        return self.elbo(reparameterise(mu, logvar), mu, logvar, batch.x)

    def encode(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` -> posterior means ``[b l]``."""
        return self.posterior(x)[0]

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` images ``[count c h w]`` in [0, 1] from z ~ N(0, I)."""
        return self.decode(self.prior_codes(count, generator))
