"""TokenBridge (Wang et al., arXiv 2503.16430): a Gaussian VAE whose latents are cut into bins after the training.

Bins lie between the percentiles of N(0, 1), so each has the same probability under the prior; a bin is decoded as the
mean of the normal distribution within it. The authors' script picks the nearest of those means instead, after a
rescaling; here the bins are those of the paper's text.
"""

from __future__ import annotations

import math
from dataclasses import InitVar, dataclass, field

import torch
from torch import Tensor

from vaebench.config.signatures import AtLeast2, Count, NonNegative, checked
from vaebench.errors import UserError
from vaebench.nn.latents import gaussian_kl, posterior, reparameterise
from vaebench.nn.tokenizers.quantise import Quantised, Quantiser, from_index, to_index
from vaebench.nn.tokenizers.tokenizer import tokenizer_of


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class PercentileBins(Quantiser):
    """Training: a sample of the posterior, loss ``kl_weight`` times its KL. Else: the bins of the posterior's means.

    It takes means and log-variances. KL in nats: the sum over dimensions, the mean over tokens. ``bins``: per
    dimension; there are ``bins ** dim`` codes. ``dim`` null: so that there are ``codebook_size`` of them.
    """

    edges: Tensor = field(init=False)
    centres: Tensor = field(init=False)
    codebook_size: Count
    dim: InitVar[Count | None]
    bins: AtLeast2
    kl_weight: NonNegative

    def __post_init__(self, dim: int | None) -> None:
        super().__init__()
        self.nominal_size = self.codebook_size
        self.dim = _width(self.codebook_size, self.bins) if dim is None else dim
        self.inputs = 2 * self.dim
        self.levels = (self.bins,) * self.dim
        self.codebook_size = self.bins**self.dim
        edges, centres = percentile_bins(self.bins)
        self.register_buffer("edges", edges[1:-1].float(), persistent=False)
        self.register_buffer("centres", centres.float(), persistent=False)

    def learn(self, z: Tensor, items: int) -> Quantised:
        """A sample. Info: ``kl``."""
        mu, logvar = posterior(z)
        kl = gaussian_kl(mu, logvar).sum(dim=1).mean()
        return Quantised(reparameterise(mu, logvar), None, self.kl_weight * kl, {"kl": kl.detach()})

    def choose(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The bins of the means."""
        mu, _ = posterior(z)
        return to_index(torch.bucketize(mu.contiguous(), self.edges), self.levels), mu

    def codes(self, indices: Tensor) -> Tensor:
        """Int64 ``[n]`` -> ``[n dim]``."""
        return self.centres[from_index(indices, self.levels)]


def percentile_bins(bins: int) -> tuple[Tensor, Tensor]:
    """Edges ``[bins + 1]`` of equal probability under N(0, 1) and the mean within each, ``[bins]``; float64.

    The mean of a standard normal within (a, b) is ``(phi(a) - phi(b)) / (Phi(b) - Phi(a))``.
    """
    edges = torch.special.ndtri(torch.arange(bins + 1, dtype=torch.float64) / bins)
    density = torch.exp(-edges.square() / 2) / math.sqrt(2 * math.pi)
    return edges, bins * (density[:-1] - density[1:])


def _width(codebook_size: int, bins: int) -> int:
    """The width at which ``bins ** width`` is the nominal size. Raises `UserError` where there is none."""
    width = round(math.log(codebook_size, bins))
    if width < 1 or bins**width != codebook_size:
        raise UserError(
            f"model.codebook_size={codebook_size}: is no power of model.bins={bins}; "
            "choose one that is, or give model.dim, for example 4"
        )
    return width


tokenbridge = tokenizer_of(PercentileBins, "tokenbridge")
