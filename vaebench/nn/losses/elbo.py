"""Reconstruction error and the reduction of the KL: the two halves of a (beta-)VAE's loss, and their options."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

ReconLoss = Literal["bce", "mse"]
Reduction = Literal["mean", "sum"]


def reconstruction(logits: Tensor, x: Tensor, *, recon_loss: ReconLoss, reduction: Reduction) -> Tensor:
    """Mean over the batch of each image's error, a scalar; ``logits`` and ``x`` (in [0, 1]) ``[b c h w]``.

    ``mse``: squared error of sigmoid(logits). ``bce``: Bernoulli negative log-likelihood, in nats. ``reduction`` is
    over the pixels and channels of an image.
    """
    logits = logits.float()
    if recon_loss == "mse":
        error = F.mse_loss(logits.sigmoid(), x, reduction=reduction)
    else:
        error = F.binary_cross_entropy_with_logits(logits, x, reduction=reduction)
    return error / len(x) if reduction == "sum" else error


def over_latents(values: Tensor, *, reduction: Reduction) -> Tensor:
    """Mean over the batch of the sum (or mean) over the latent dimensions of ``[b l]``, a scalar.

    With the same ``reduction`` as `reconstruction` beta means "sum / sum" or "mean / mean"; no mixture is offered,
    because "mean over pixels, sum over dimensions" multiplies beta by the number of pixels.
    """
    return values.sum() / len(values) if reduction == "sum" else values.mean()
