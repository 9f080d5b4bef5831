"""How evenly the codes of a discrete latent space are used: counts, perplexity, CVU and the share of codes used.

Counts are int64 ``[K]`` over the whole set; `ValueError` is raised for a negative one, and where there is no token.
CVU ("codebook valid usage", arXiv 2602.17133, section 4) is the perplexity of the codes' frequencies over **all tokens
of the set**, divided by the number of codes. From fewer tokens than codes it cannot reach 1: state both beside it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def code_counts(indices: Tensor, size: int) -> Tensor:
    """How often each of ``size`` codes occurs, int64 ``[size]`` on the CPU: add up those of all batches.

    ``indices``: int64 of any shape. Raises `ValueError` for one outside ``0 ... size - 1``.
    """
    flat = indices.reshape(-1).cpu()
    if flat.numel() and not 0 <= int(flat.min()) <= int(flat.max()) < size:
        raise ValueError(f"code indices {int(flat.min())} ... {int(flat.max())} lie outside a codebook of {size}")
    return torch.bincount(flat, minlength=size)


def entropy(counts: Tensor) -> float:
    """``-sum p ln p`` in nats of the frequencies ``p = counts / counts.sum()``, from 0 to ``ln K``; ``0 ln 0 = 0``."""
    p = _checked(counts).double() / counts.sum()
    return -float(torch.special.xlogy(p, p).sum())


def perplexity(counts: Tensor) -> float:
    """``exp(entropy)``: as many equally frequent codes would have that entropy; from 1 to K."""
    return math.exp(entropy(counts))


def cvu(counts: Tensor, size: int) -> float:
    """Perplexity divided by ``size``; ``1 / size`` (one code only) or more.

    ``size``: ``K``, the real number of codes (then at most 1: all codes equally frequent), or the nominal one (FSQ's
    4,375 codes for 4,096: then it can exceed 1).
    """
    return perplexity(counts) / size


def usage(counts: Tensor) -> float:
    """The share of the K codes that occur at least once, in [0, 1]."""
    return float((_checked(counts) > 0).double().mean())


def _checked(counts: Tensor) -> Tensor:
    if not counts.numel() or int(counts.min()) < 0 or int(counts.sum()) == 0:
        raise ValueError("code counts have to be 0 or more, and at least one above 0")
    return counts
