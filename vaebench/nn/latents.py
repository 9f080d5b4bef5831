"""Latents that are vectors or grids: their Gaussian posterior and prior, which of them to keep, a moving average."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from vaebench.errors import UserError

Importance = Literal["abs_mu", "abs_z", "kl", "var_mu"]
Start = Literal["debiased", "first"]
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


@torch.no_grad()
def importance(kind: Importance, *, z: Tensor, mu: Tensor, logvar: Tensor, center: Tensor) -> Tensor:
    """How much each entry of a batch of codes matters, float32 ``[b l]``, 0 or more; no gradient.

    ``abs_z``: |z|. ``abs_mu``: |mu|. ``var_mu``: squared distance of mu from ``center`` ``[l]``; with the batch mean
    as center its mean over the batch is the variance of mu. ``kl``: KL of the entry's posterior from the prior, in
    nats.
    """
    if kind == "abs_z":
        return z.abs()
    if kind == "abs_mu":
        return mu.abs()
    if kind == "var_mu":
        return (mu - center).square()
    return gaussian_kl(mu, logvar)


@torch.no_grad()
def top_mask(scores: Tensor, k: int) -> Tensor:
    """True at exactly the ``k`` largest entries along the last dimension of ``scores``, ties broken arbitrarily."""
    kept = scores.topk(k, dim=-1, sorted=False).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, kept, True)


@torch.no_grad()
def smallest_positive(scores: Tensor, mask: Tensor) -> Tensor:
    """The smallest of the ``scores`` under ``mask`` that is above 0, a scalar; 0 if none is.

    A selection of a fixed size has to take zeros where fewer scores are positive, and a threshold made of them would
    keep everything (the rule of arXiv 2412.06410, whose activations are 0 wherever they are not positive).
    """
    kept = scores.masked_fill(~mask | (scores <= 0), torch.inf).amin()
    return kept.masked_fill(kept.isinf(), 0.0)


class MovingAverage(nn.Module):
    """``I <- a I + (1 - a) s`` over the values ``s`` given to `update`, with ``a = decay``; in the state dict.

    ``start``: ``first`` copies the first value; ``debiased`` starts at zero and divides what is read by ``1 - a^t``
    (Section 3, arXiv 1412.6980).
    """

    value: Tensor
    steps: Tensor

    def __init__(self, *shape: int, decay: float, start: Start) -> None:
        super().__init__()
        self.decay = decay
        self.start = start
        self.register_buffer("value", torch.zeros(shape))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, new: Tensor) -> None:
        """Take in one value of the average's shape; nothing is copied to the host."""
        if self.start == "first":
            self.value.lerp_(new, torch.where(self.steps == 0, 1.0, 1 - self.decay))
        else:
            self.value.lerp_(new, 1 - self.decay)
        self.steps += 1

    def read(self) -> Tensor:
        """The average. Raises `UserError` before the first `update`."""
        steps = int(self.steps)
        if steps == 0:
            raise UserError("the model has had no training step yet, so its moving average is empty; train it first")
        return self.value.clone() if self.start == "first" else self.value / (1 - self.decay**steps)
