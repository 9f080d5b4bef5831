"""How evenly the codes of a discrete latent space are used: counts, perplexity, CVU and the share of codes used.

CVU ("codebook valid usage", arXiv 2602.17133, section 4) is the perplexity of the codes' frequencies over **all tokens
of the set**, divided by the number of codes. From fewer tokens than codes it cannot reach 1: state both beside it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def code_counts(indices: Tensor, size: int) -> Tensor:
    """How often each code occurs.

    Args:
        indices: int64, any shape, values in ``0 ... size - 1``.
        size: the number of codes K.

    Returns:
        int64 ``[size]`` on the CPU; add those of all batches before anything is computed from them.

    Raises:
        ValueError: an index lies outside the codebook.
    """
    flat = indices.reshape(-1).cpu()
    if flat.numel() and not 0 <= int(flat.min()) <= int(flat.max()) < size:
        raise ValueError(f"code indices {int(flat.min())} ... {int(flat.max())} lie outside a codebook of {size}")
    return torch.bincount(flat, minlength=size)


def entropy(counts: Tensor) -> float:
    """``-sum p ln p`` in nats of the frequencies ``p = counts / counts.sum()``, from 0 to ``ln K``; ``0 ln 0 = 0``.

    Raises:
        ValueError: there is no token at all, or a count is negative.
    """
    _check(counts)
    p = counts.double() / counts.sum()
    return -float(torch.special.xlogy(p, p).sum())


def perplexity(counts: Tensor) -> float:
    """``exp(entropy)``: as many equally frequent codes would have that entropy; from 1 to K. Errors as `entropy`."""
    return math.exp(entropy(counts))


def cvu(counts: Tensor, size: int) -> float:
    """Perplexity divided by the size of the codebook.

    Args:
        counts: int64 ``[K]``, over the whole set.
        size: the denominator: ``K``, the real number of codes (then the value is at most 1: all codes equally
            frequent), or the nominal size (FSQ's 4,375 codes for 4,096: then it can exceed 1).

    Returns:
        ``1 / size`` (one code only) or more. Errors as `entropy`.
    """
    return perplexity(counts) / size


def usage(counts: Tensor) -> float:
    """The share of the K codes that occur at least once, in [0, 1]. Errors as `entropy`."""
    _check(counts)
    return float((counts > 0).double().mean())


def _check(counts: Tensor) -> None:
    if not counts.numel() or int(counts.min()) < 0 or int(counts.sum()) == 0:
        raise ValueError("code counts have to be 0 or more, and at least one above 0")
