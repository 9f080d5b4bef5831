"""Finite scalar quantisation (arXiv 2309.15505), also symmetric with noise (arXiv 2411.19842).

The symmetric variant is written here: `vector_quantize_pytorch.FSQ(preserve_symmetry=True)` adds the same noise to
already rounded codes whatever the number of levels, which is not the published rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from vaebench.compat import need
from vaebench.config.signatures import Count, Share, checked
from vaebench.errors import UserError
from vaebench.nn import across
from vaebench.nn.tokenizers.quantise import (
    Levelled,
    Levels,
    Quantised,
    Quantiser,
    from_index,
    levels_for,
    perplexity,
    real_size,
    to_index,
)
from vaebench.nn.tokenizers.tokenizer import tokenizer_of

Mixture = Literal["element", "item"]


class SymmetricLevels(Levelled):
    """``a = (tanh z + 1) / 2``, ``l = round(a (L - 1))``, decoded as ``2 l / (L - 1) - 1``; no auxiliary loss.

    In training with noise: ``a + u / (L - 1)`` instead of the rounded value, u uniform in (-1/2, 1/2): half the
    distance between two codes either way, which is how far rounding moves a value (arXiv 2411.19842). The gradient is
    that of ``2 a - 1`` whatever it is.

    ``mixture``: element: each one by itself has noise with probability ``noise``, else is rounded. item: all tokens of
    an image or clip together; of the items without noise half are rounded and half are ``a`` itself (the code of
    arXiv 2411.19842, where ``noise`` is 1/2). ``levels``: L of each dimension, 2 or more.
    """

    def __init__(self, *, levels: Sequence[int], nominal_size: int, noise: Share, mixture: Mixture) -> None:
        super().__init__()
        self._settle(levels, nominal_size)
        self.noise = noise
        self.per_item = mixture == "item"

    def learn(self, z: Tensor, items: int) -> Quantised:
        """``z`` ``[n d]`` -> values in [-1, 1], with noise a little beyond. Info: ``perplexity`` of the batch."""
        a, rounded, indices = self._rounded(z)
        with torch.no_grad():
            change = self._change(a, rounded / (self.counts - 1) - a, items)
        info = {"perplexity": perplexity(across.gathered(indices), self.codebook_size)}
        return Quantised(2 * (a + change) - 1, indices, a.new_zeros(()), info)

    def choose(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest level of each dimension."""
        a, _, indices = self._rounded(z)
        return indices, 2 * a - 1

    def _rounded(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``a``, its levels ``[n d]`` and their index."""
        a = (z.tanh() + 1) / 2
        with torch.no_grad():
            rounded = (a * (self.counts - 1)).round()
            return a, rounded, to_index(rounded.long(), self.levels)

    def _change(self, a: Tensor, to_code: Tensor, items: int) -> Tensor:
        """What is added to ``a`` ``[n d]`` in training; ``to_code``: what rounding adds."""
        uniform = (torch.rand_like(a) - 0.5) / (self.counts - 1)
        if not self.per_item:
            return torch.where(torch.rand_like(a) < self.noise, uniform, to_code)
        drawn = torch.rand(items, 1, device=a.device).repeat_interleave(len(a) // items, dim=0)
        raw = (1 - self.noise) / 2
        return torch.where(drawn < self.noise, uniform, to_code * (drawn < 1 - raw))

    def codes(self, indices: Tensor) -> Tensor:
        """Int64 ``[n]`` -> ``[n d]`` in [-1, 1]."""
        return 2 * (from_index(indices, self.levels) / (self.counts - 1)) - 1


class StandardLevels(Quantiser):
    """`vector_quantize_pytorch.FSQ`: the original rule, which shifts an even number of levels by half a step."""

    def __init__(self, *, levels: Sequence[int], nominal_size: int) -> None:
        super().__init__()
        if min(levels) < 3:
            raise UserError(
                f"model.levels={list(levels)}: model.variant=standard wants 3 or more per dimension; "
                "use model.variant=symmetric"
            )
        need("model fsq, variant=standard", ["vector_quantize_pytorch"], "quantisers", ", or take variant=symmetric")
        from vector_quantize_pytorch import FSQ

        self.inputs = self.dim = len(levels)
        self.codebook_size = real_size(levels)
        self.nominal_size = nominal_size
        self.library = FSQ(list(levels))

    def learn(self, z: Tensor, items: int) -> Quantised:
        """``z`` ``[n d]`` -> values in [-1, 1], straight-through. Info: ``perplexity`` of the batch."""
        values, indices = self.library(z[None])
        indices = indices[0].long()
        return Quantised(
            values[0],
            indices,
            z.new_zeros(()),
            {"perplexity": perplexity(across.gathered(indices), self.codebook_size)},
        )

    def choose(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest level of each dimension."""
        return self.library(z[None])[1][0].long(), self.library.bound(z) / (self.library._levels // 2)

    def codes(self, indices: Tensor) -> Tensor:
        """Int64 ``[n]`` -> ``[n d]`` in [-1, 1]."""
        return self.library.indices_to_codes(indices)


@checked("model")
def levels_of(
    *,
    codebook_size: Count,
    levels: Levels | None,
    variant: Literal["symmetric", "standard"],
    noise: Share,
    mixture: Mixture,
) -> SymmetricLevels | StandardLevels:
    """The quantiser of a ``variant``; ``levels`` null: the paper's at this size.

    ``variant``: symmetric (``noise``: share with noise in training, ``mixture``: of what) or standard (no noise).
    """
    counts = levels_for(codebook_size, levels)
    if variant == "symmetric":
        return SymmetricLevels(levels=counts, nominal_size=codebook_size, noise=noise, mixture=mixture)
    return StandardLevels(levels=counts, nominal_size=codebook_size)


fsq = tokenizer_of(levels_of, "fsq")
