"""Finite scalar perturbation (Zhai et al., 2026, arXiv 2602.17133): FSQ trained with uniform noise.

Each scalar goes through a distribution function into [0, 1], where its codes are the centres of equal bins. Where the
paper and its authors' code differ there is an option; `vector_quantize_pytorch.FSP` is the same authors' code (the
peer of the tests) and has neither eta nor the paper's reading of acceptance and mixture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import InitVar, dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from vaebench.config.signatures import Count, OneOf, Positive, Share, checked
from vaebench.errors import UserError
from vaebench.nn import across
from vaebench.nn.tokenizers.quantise import (
    Levelled,
    Levels,
    MomentNorm,
    Quantised,
    from_index,
    levels_for,
    perplexity,
    to_index,
)
from vaebench.nn.tokenizers.tokenizer import tokenizer_of

# The decoder gets (z - 1/2) over the standard deviation of U[0, 1] (the authors' code; the paper is silent).
_SPREAD = math.sqrt(1 / 12)


@dataclass(frozen=True)
class Distribution:
    """``g`` from the reals to [0, 1], its inverse, and the variance of a variable whose distribution function g is."""

    g: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    variance: float


ACTIVATIONS = {
    # The logistic distribution of scale 1/2.
    "tanh": Distribution(lambda a: (a.tanh() + 1) / 2, lambda p: (2 * p - 1).atanh(), math.pi**2 / 12),
    "sigmoid": Distribution(torch.sigmoid, torch.logit, math.pi**2 / 3),
    "normal": Distribution(torch.special.ndtr, torch.special.ndtri, 1.0),
    "laplace": Distribution(
        lambda a: 0.5 - 0.5 * a.sign() * torch.expm1(-a.abs()),
        lambda p: -(p - 0.5).sign() * torch.log1p(-2 * (p - 0.5).abs()),
        2.0,
    ),
    # Has no variance: only where its weight is 0.
    "cauchy": Distribution(lambda a: a.atan() / math.pi + 0.5, lambda p: (math.pi * (p - 0.5)).tan(), 0.0),
}


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class ScalarPerturbation(MomentNorm, Levelled):
    """``z = g(a)``; codes ``(floor(L z) + 1/2) / L``; in training z + u, u uniform of width ``eta / L``, in places.

    Training: with probability ``quantise_rate`` the code, straight-through; else ``z + u`` where that stays in [0, 1]
    and z itself where not (Eq. 16: under a uniform density the Metropolis-Hastings test is that of the support).
    Both have the gradient of z. Loss: that of `MomentNorm`, of a, at the variance of g's distribution.

    ``activation``: g, one of `ACTIVATIONS`. ``levels``: L of each dimension; null: the paper's at this size.
    ``accept``: the support test per coordinate (code) or per vector (paper). ``mixture``: the draw of the code or
    z + u per element (code) or once per forward (paper). ``eta``: above 0. ``invert``: the decoder gets ``g^-1`` of the
    value, with the gradient of a, instead of the value at mean 0 and variance 1.
    """

    codebook_size: Count
    levels: InitVar[Levels | None]
    activation: Annotated[str, OneOf(tuple(ACTIVATIONS))]
    eta: Positive
    quantise_rate: Share
    accept: Literal["coordinate", "vector"]
    mixture: Literal["element", "forward"]
    invert: bool

    def __post_init__(self, levels: Levels | None) -> None:
        if self.activation == "cauchy" and self.norm_weight * self.variance_weight != 0:
            raise UserError("model.activation=cauchy: has no variance to keep to; set model.variance_weight=0")
        Levelled.__init__(self)
        self._settle(levels_for(self.codebook_size, levels), self.codebook_size)
        self.distribution = ACTIVATIONS[self.activation]

    def learn(self, z: Tensor, items: int) -> Quantised:
        """``z`` ``[n d]`` is the paper's a. Info: ``acceptance`` (the support test), norm terms, ``perplexity``."""
        y, chosen, indices = self._binned(z)
        with torch.no_grad():
            change, acceptance = self._change(y, (chosen + 0.5) / self.counts)
        loss, terms = self.norm(z, self.distribution.variance)
        info = {
            "acceptance": acceptance,
            **terms,
            "perplexity": perplexity(across.gathered(indices), self.codebook_size),
        }
        value = self._decoded(y + change)
        return Quantised(z + (value - z).detach() if self.invert else value, indices, loss, info)

    def choose(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The bins, and what the decoder would get of ``z`` itself."""
        y, _, indices = self._binned(z)
        return indices, self._decoded(y)

    def _binned(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``g(z)``, its bins ``[n d]`` and their index."""
        y = self.distribution.g(z)
        with torch.no_grad():
            chosen = (y * self.counts).floor().clamp(min=0).minimum(self.counts - 1)
            return y, chosen, to_index(chosen.long(), self.levels)

    def _change(self, y: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
        """What is added to ``y`` in training, and the share of proposals accepted."""
        noise = (torch.rand_like(y) - 0.5) * (self.eta / self.counts)
        proposal = y + noise
        inside = (proposal >= 0) & (proposal <= 1)
        if self.accept == "vector":
            inside = inside.all(dim=1, keepdim=True)
        draw = torch.rand_like(y) if self.mixture == "element" else torch.rand((), device=y.device)
        change = torch.where(draw < self.quantise_rate, centres - y, noise * inside)
        return change, inside.float().mean()

    def _decoded(self, y: Tensor) -> Tensor:
        """Values in [0, 1] -> what the decoder gets."""
        if self.invert:
            return self.distribution.inverse(y.clamp(1e-6, 1 - 1e-6))
        return (y - 0.5) / _SPREAD

    def codes(self, indices: Tensor) -> Tensor:
        """Int64 ``[n]`` -> ``[n d]``, through the inverse only where the forward pass goes through it."""
        return self._decoded((from_index(indices, self.levels) + 0.5) / self.counts)


fsp = tokenizer_of(ScalarPerturbation, "fsp")
