"""The diagonal Gaussian posterior N(mu, exp(logvar)) of a VAE and its standard normal prior."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Log-variances that latent diffusion's autoencoders (arXiv 2112.10752) and VMAE (arXiv 2507.09984) do not leave.
_LOGVAR = (-30.0, 20.0)


def posterior(head: Tensor) -> tuple[Tensor, Tensor]:
    """The encoder's ``[b 2l]`` as ``mu`` and ``logvar``, float32 ``[b l]`` also where the network is in bf16."""
    mu, logvar = head.float().chunk(2, dim=1)
    return mu, logvar


def bounded_posterior(head: Tensor, *, dim: int) -> tuple[Tensor, Tensor]:
    """Halves of ``head`` along ``dim`` as ``mu`` and ``logvar``, float32; ``logvar`` is cut to [-30, 20]."""
    mu, logvar = head.float().chunk(2, dim=dim)
    return mu, logvar.clamp(*_LOGVAR)


def reparameterise(mu: Tensor, logvar: Tensor) -> Tensor:
    """A sample of the posterior, differentiable in both; noise from the global generator. Eq. 10, arXiv 1312.6114."""
    return torch.addcmul(mu, (logvar / 2).exp(), torch.randn_like(mu))


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL from the standard normal prior per dimension, in nats, ``[b l]``. Appendix B, arXiv 1312.6114."""
    return (mu.square() + logvar.exp() - 1 - logvar) / 2


def mean_free_kl(logvar: Tensor, *, prior_std: float) -> Tensor:
    """KL from N(mu, prior_std^2), the mean wherever it is: ``(v/s^2 - 1 - log(v/s^2)) / 2`` nats per dimension.

    arXiv 2507.09984 with ``prior_std`` 1.
    """
    relative = logvar - 2 * math.log(prior_std)
    return (relative.exp() - 1 - relative) / 2


def prior_sample(count: int, latent_dim: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """``[count latent_dim]`` from N(0, 1) on ``device``, drawn where the generator lives: equal on all devices."""
    return torch.randn(count, latent_dim, generator=generator, device=generator.device).to(device)


def no_kl(stochastic: bool, kl_weight: float) -> str | None:
    """One line for a weight on the KL of a deterministic code, which has none."""
    if stochastic or kl_weight == 0:
        return None
    return f"model.kl_weight={kl_weight}: model.stochastic=false has no KL; set one of them to 0 or true"
