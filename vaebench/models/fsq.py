"""Finite scalar quantisation (arXiv 2309.15505), also symmetric with noise (arXiv 2411.19842).

The symmetric variant is written here: `vector_quantize_pytorch.FSQ(preserve_symmetry=True)` adds the same noise to
already rounded codes whatever the number of levels, which is not the published rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vaebench.errors import UserError
from vaebench.nn import autoencoders, precision
from vaebench.nn.options import one_of, probability, require
from vaebench.nn.quantise import Quantised, from_index, levels_for, perplexity, real_size, to_index
from vaebench.nn.tokenizer import Tokenizer

VARIANTS = ("symmetric", "standard")


class SymmetricLevels(nn.Module):
    """``a = (tanh z + 1) / 2``, ``l = round(a (L - 1))``, decoded as ``2 l / (L - 1) - 1``; no auxiliary loss.

    In training an element is, with probability ``noise``, ``a + u / L`` instead of the rounded value, u uniform in
    (-1/2, 1/2). The gradient is that of ``2 a - 1`` in both cases. ``levels``: L of each dimension, 2 or more.
    """

    counts: Tensor

    def __init__(self, *, levels: Sequence[int], nominal_size: int, noise: float) -> None:
        super().__init__()
        require(probability("model.noise", noise))
        self.levels = tuple(levels)
        self.inputs = self.dim = len(self.levels)
        self.codebook_size = real_size(self.levels)
        self.nominal_size = nominal_size
        self.noise = noise
        self.register_buffer("counts", torch.tensor(self.levels, dtype=torch.float32), persistent=False)

    def forward(self, z: Tensor) -> Quantised:
        """``z`` ``[n d]`` -> values in [-1, 1], with noise a little beyond. Info: ``perplexity`` of the batch."""
        a = (z.float().tanh() + 1) / 2
        with torch.no_grad():
            rounded = (a * (self.counts - 1)).round()
            indices = to_index(rounded.long(), self.levels)
            if not self.training:
                return Quantised(self.codes(indices), indices, a.new_zeros(()), continuous=2 * a - 1)
            uniform = (torch.rand_like(a) - 0.5) / self.counts
            change = torch.where(torch.rand_like(a) < self.noise, uniform, rounded / (self.counts - 1) - a)
        info = {"perplexity": perplexity(indices, self.codebook_size)}
        return Quantised(2 * (a + change) - 1, indices, a.new_zeros(()), info)

    def codes(self, indices: Tensor) -> Tensor:
        """Int64 ``[n]`` -> ``[n d]`` in [-1, 1]."""
        return 2 * (from_index(indices, self.levels) / (self.counts - 1)) - 1


class StandardLevels(nn.Module):
    """`vector_quantize_pytorch.FSQ`: the original rule, which shifts an even number of levels by half a step."""

    def __init__(self, *, levels: Sequence[int], nominal_size: int) -> None:
        super().__init__()
        if min(levels) < 3:
            raise UserError(
                f"model.levels={list(levels)}: model.variant=standard wants 3 or more per dimension; "
                "use model.variant=symmetric"
            )
        from vector_quantize_pytorch import FSQ

        self.inputs = self.dim = len(levels)
        self.codebook_size = real_size(levels)
        self.nominal_size = nominal_size
        self.library = FSQ(list(levels))

    def forward(self, z: Tensor) -> Quantised:
        """``z`` ``[n d]`` -> values in [-1, 1], straight-through. Info: ``perplexity`` of the batch."""
        with precision.full(z.device):
            z = z.float()
            values, indices = self.library(z[None])
            values, indices = values[0], indices[0].long()
            if not self.training:
                bounded = self.library.bound(z) / (self.library._levels // 2)
                return Quantised(self.codes(indices), indices, z.new_zeros(()), continuous=bounded)
        return Quantised(values, indices, z.new_zeros(()), {"perplexity": perplexity(indices, self.codebook_size)})

    def codes(self, indices: Tensor) -> Tensor:
        """Int64 ``[n]`` -> ``[n d]`` in [-1, 1]."""
        codes: Tensor = self.library.indices_to_codes(indices)
        return codes


def fsq(
    *,
    input_shape: Sequence[int],
    sample_rate: int | None,
    autoencoder: Mapping[str, Any],
    codebook_size: int,
    levels: Sequence[int] | None,
    variant: str,
    noise: float,
) -> Tokenizer:
    """A tokenizer with `SymmetricLevels` or `StandardLevels`; ``levels`` null: the paper's at this size.

    ``variant``: symmetric (``noise``: share of elements with noise in training) or standard (no noise).
    """
    require(one_of("model.variant", variant, VARIANTS))
    counts = levels_for(codebook_size, levels)
    quantiser = (
        SymmetricLevels(levels=counts, nominal_size=codebook_size, noise=noise)
        if variant == "symmetric"
        else StandardLevels(levels=counts, nominal_size=codebook_size)
    )
    return Tokenizer(autoencoders.build(autoencoder, input_shape=input_shape, sample_rate=sample_rate), quantiser)
