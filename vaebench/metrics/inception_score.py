"""Inception score of class probabilities (Salimans et al. 2016, arXiv 1606.03498)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaebench.errors import UserError


def inception_score(logits: Tensor, *, splits: int) -> float:
    """Mean over ``splits`` parts of ``exp(mean_x KL(p(y|x) || p(y)))``, p(y) the part's own.

    At least 1, at most the number of classes. Parts are made in the order of ``logits`` ``[n classes]``, so images must
    not be sorted by class.

    Raises:
        UserError: there are fewer images than parts.
    """
    if len(logits) < splits:
        raise UserError(f"inception score: {len(logits)} images cannot be divided into {splits} parts")
    log_p = logits.double().log_softmax(1)
    scores = []
    for part in log_p.tensor_split(splits):
        marginal = part.logsumexp(0) - math.log(len(part))
        scores.append((part.exp() * (part - marginal)).sum(1).mean().exp())
    return torch.stack(scores).mean().item()
