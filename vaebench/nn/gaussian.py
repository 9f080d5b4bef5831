"""The diagonal Gaussian posterior N(mu, exp(logvar)) of a VAE and its standard normal prior."""

from __future__ import annotations

import torch
from torch import Tensor


def posterior(head: Tensor) -> tuple[Tensor, Tensor]:
    """The encoder's ``[b 2l]`` as ``mu`` and ``logvar``, float32 ``[b l]`` also where the network is in bf16."""
    mu, logvar = head.float().chunk(2, dim=1)
    return mu, logvar


def reparameterise(mu: Tensor, logvar: Tensor) -> Tensor:
    """A sample of the posterior, differentiable in both; noise from the global generator. Eq. 10, arXiv 1312.6114."""
    return torch.addcmul(mu, (logvar / 2).exp(), torch.randn_like(mu))


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL from the standard normal prior per dimension, in nats, ``[b l]``. Appendix B, arXiv 1312.6114."""
    return (mu.square() + logvar.exp() - 1 - logvar) / 2


def prior_sample(count: int, latent_dim: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """``[count latent_dim]`` from N(0, 1) on ``device``, drawn where the generator lives: equal on all devices."""
    return torch.randn(count, latent_dim, generator=generator, device=generator.device).to(device)
