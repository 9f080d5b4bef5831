"""Vector quantisers: what they give, what is asked of them, and the parts that several of them share.

Shapes: ``n`` tokens of all images or clips of a batch, ``d`` width of a code, ``K`` codes, ``L`` levels of a dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Annotated, Literal

import torch
from annotated_types import Len
from torch import Tensor, nn

from vaebench.config.signatures import AtLeast2, Count, NonNegative
from vaebench.errors import UserError
from vaebench.nn import across, precision

# FSQ's and FSP's levels of each nominal codebook size, first dimension first; their number is the width of the codes
# of VQ, SimVQ and VP-VAE too (arXiv 2602.17133; 64 is ours, for smoke runs).
LEVELS = {
    64: (4, 4, 4),
    256: (8, 6, 5),
    1024: (8, 5, 5, 5),
    4096: (7, 5, 5, 5, 5),
    16384: (8, 8, 8, 6, 5),
}

Levels = Annotated[Sequence[AtLeast2], Len(1)]  # of each dimension


@dataclass(frozen=True)
class Quantised:
    """What a quantiser makes of ``n`` tokens.

    ``values``: ``[n d]``, what the decoder gets, with the method's gradient. ``indices``: int64 ``[n]``, None while
    there are no codes: in training where the values are not codes (VP-VAE, TokenBridge), and before VP-VAE's codebook
    is fitted. ``loss``: scalar, to be added to the reconstruction's, 0 outside training. ``info``: detached scalars
    worth logging. ``continuous``: in evaluation, what ``values`` were before they became codes, in the same terms.
    """

    values: Tensor
    indices: Tensor | None
    loss: Tensor
    info: Mapping[str, Tensor] = field(default_factory=dict)
    continuous: Tensor | None = None


class Quantiser(nn.Module):
    """Tokens -> values; its training mode decides what it does. Computes in float32 under any autocast.

    ``inputs``: width of the tokens it takes (TokenBridge takes mean and log-variance). ``dim``: width ``d`` of what it
    gives. ``codebook_size``: how many codes there really are. ``nominal_size``: the ``K`` of the table. ``per_item``:
    whether all tokens of an image or clip are treated alike in training.

    A method gives ``learn``: what training makes of tokens float32 ``[n inputs]`` of so many items; ``choose``: the
    indices of their codes, int64 ``[n]``, None while there are no codes, and what they stand for exactly, ``[n d]``;
    ``codes``: indices -> float32 ``[n d]``, to the bit what a call in eval mode gives with these indices. One whose
    codes are made after the training has ``fit`` and ``usage_of`` too, and ``codebook_latents``: how many latents to
    give to ``fit`` at most (see `VectorPerturbation`).
    """

    inputs: int
    dim: int
    codebook_size: int
    nominal_size: int
    per_item = False
    learn: Callable[[Tensor, int], Quantised]
    choose: Callable[[Tensor], tuple[Tensor | None, Tensor]]
    codes: Callable[[Tensor], Tensor]

    def forward(self, z: Tensor, items: int | None = None) -> Quantised:
        """``z`` ``[n inputs]``, of ``items`` images or clips, those of each together and equally many.

        In evaluation the codes, or the tokens themselves while there are none. Each token is an item where ``items`` is
        None.
        """
        with precision.full(z.device):
            z = z.float()
            if self.training:
                return self.learn(z, len(z) if items is None else items)
            indices, continuous = self.choose(z)
            codes = continuous if indices is None else self.codes(indices)
            return Quantised(codes, indices, z.new_zeros(()), continuous=continuous)


@dataclass(eq=False, repr=False, kw_only=True)
class Codebook(Quantiser):
    """``codebook_size`` codes of width ``dim``; null: that of FSQ's codes, or `UserError` where it is unknown."""

    codebook_size: AtLeast2
    dim: InitVar[Count | None]

    def __post_init__(self, dim: int | None) -> None:
        super().__init__()
        self.inputs = self.dim = width_for(self.codebook_size, dim)
        self.nominal_size = self.codebook_size


class Levelled(Quantiser):
    """A quantiser with ``levels`` L of each dimension; ``counts``: the same as float32 ``[d]``."""

    levels: tuple[int, ...]
    counts: Tensor

    def _settle(self, levels: Sequence[int], nominal_size: int) -> None:
        """Keep the levels and the sizes that follow from them."""
        self.levels = tuple(levels)
        self.inputs = self.dim = len(self.levels)
        self.codebook_size = real_size(self.levels)
        self.nominal_size = nominal_size
        self.register_buffer("counts", torch.tensor(self.levels, dtype=torch.float32), persistent=False)


@dataclass(eq=False, repr=False, kw_only=True)
class MomentNorm:
    """Options of ``L_norm = norm_weight (mean_weight |mu|^2 + variance_weight |sigma^2 - variance|^2)``.

    ``norm_over``: the squared norms are the sum (arXiv 2602.17133) or the mean (its authors' code) over dimensions.
    """

    norm_weight: NonNegative
    mean_weight: NonNegative
    variance_weight: NonNegative
    norm_over: Literal["sum", "mean"]

    def norm(self, z: Tensor, variance: float) -> tuple[Tensor, dict[str, Tensor]]:
        """``L_norm``, and its two unweighted terms by name, detached.

        ``mu``, ``sigma^2`` (unbiased): of each dimension of ``z`` ``[n d]``, over all tokens of the batch; ``n`` is at
        least 2.
        """
        spread, mean = across.var_mean(z)
        terms = mean.square(), (spread - variance).square()
        mean_term, variance_term = (term.sum() if self.norm_over == "sum" else term.mean() for term in terms)
        total = self.mean_weight * mean_term + self.variance_weight * variance_term
        return self.norm_weight * total, {"norm_mean": mean_term.detach(), "norm_variance": variance_term.detach()}


def levels_for(codebook_size: int, levels: Sequence[int] | None) -> tuple[int, ...]:
    """``levels``, or those of the nominal size. Raises `UserError` for an unknown size, or levels of another."""
    if levels is None:
        if codebook_size in LEVELS:
            return LEVELS[codebook_size]
        raise UserError(
            f"model.codebook_size={codebook_size}: no levels are known for it; "
            f"choose one of {', '.join(map(str, LEVELS))}, or give model.levels, for example [8,6,5]"
        )
    size = real_size(levels)
    if not codebook_size / 2 < size < codebook_size * 2:
        raise UserError(
            f"model.levels={list(levels)}: makes {size} codes, and model.codebook_size={codebook_size} says otherwise; "
            f"set model.codebook_size={size} too"
        )
    return tuple(levels)


def width_for(codebook_size: int, dim: int | None) -> int:
    """``dim``, or the width of FSQ's codes at this size. Raises `UserError` for an unknown size."""
    if dim is not None:
        return dim
    if codebook_size in LEVELS:
        return len(LEVELS[codebook_size])
    raise UserError(
        f"model.codebook_size={codebook_size}: no width is known for it; "
        f"choose one of {', '.join(map(str, LEVELS))}, or give model.dim, for example 4"
    )


def to_index(levels: Tensor, sizes: Sequence[int]) -> Tensor:
    """Mixed radix: levels int64 ``[n d]`` -> ``sum_i l_i prod_(j<i) L_j``, int64 ``[n]``; the first moves fastest."""
    index = levels[:, -1]
    for dimension in range(len(sizes) - 2, -1, -1):
        index = index * sizes[dimension] + levels[:, dimension]
    return index


def from_index(indices: Tensor, sizes: Sequence[int]) -> Tensor:
    """The inverse of `to_index`: int64 ``[n]`` -> ``[n d]``."""
    levels = []
    for size in sizes:
        levels.append(indices % size)
        indices = indices // size
    return torch.stack(levels, dim=-1)


def straight_through(z: Tensor, values: Tensor) -> Tensor:
    """The numbers of ``values`` (up to rounding) with the gradient of ``z``."""
    return z + (values - z).detach()


def perplexity(indices: Tensor, codebook_size: int) -> Tensor:
    """``exp(H)`` of the codes in a batch, int64 ``[n]``: 1 to ``codebook_size``, scalar."""
    shares = torch.bincount(indices, minlength=codebook_size).float() / indices.numel()
    return torch.special.entr(shares).sum().exp()


def real_size(levels: Sequence[int]) -> int:
    """How many codes there are with these levels."""
    return math.prod(levels)
