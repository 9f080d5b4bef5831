"""Which latents to keep: importances and top-k masks. None of it is differentiable, by construction."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from vaebench.nn.latents.gaussian import gaussian_kl

Importance = Literal["abs_mu", "abs_z", "kl", "var_mu"]


@torch.no_grad()
def importance(kind: Importance, *, z: Tensor, mu: Tensor, logvar: Tensor, center: Tensor) -> Tensor:
    """How much each entry of a batch of codes matters, float32 ``[b l]``, 0 or more.

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
