"""VQ-VAE-2's codebook (arXiv 1906.00446) as it is usually run: moving averages, a k-means start, dead codes replaced.

Not in the tables of arXiv 2602.17133: what its VQ-VAE baseline leaves out. The codebook is
`vector_quantize_pytorch.VectorQuantize`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vaebench.config.signatures import Fraction, NonNegative, checked
from vaebench.contracts import draws
from vaebench.errors import UserError
from vaebench.nn import across
from vaebench.nn.tokenizers.quantise import Codebook, Quantised, perplexity
from vaebench.nn.tokenizers.tokenizer import tokenizer_of


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class AveragedCodebook(Codebook):
    """Codes are moving averages of their tokens; loss ``beta |z - sg(e)|^2``, a mean; straight-through gradients.

    ``decay``: of the averages, in [0, 1). ``reset_below``: a code whose moving average of tokens per batch is below
    this becomes a random token of the batch; 0: never. ``kmeans_init``: start from k-means of the first batch.
    Everything random comes from the global generator; all state lies in buffers.
    """

    beta: NonNegative
    decay: Fraction
    reset_below: NonNegative
    kmeans_init: bool

    def __post_init__(self, dim: int | None) -> None:
        super().__post_init__(dim)
        from vector_quantize_pytorch import VectorQuantize

        self.library = VectorQuantize(
            dim=self.dim,
            codebook_size=self.codebook_size,
            decay=self.decay,
            commitment_weight=self.beta,
            kmeans_init=self.kmeans_init,
            threshold_ema_dead_code=self.reset_below,
            rotation_trick=False,
            sync_codebook=False,
        )

    def learn(self, z: Tensor, items: int) -> Quantised:
        """Codes; the codebook moves. Info: ``perplexity`` of the batch."""
        with draws.whole():  # what it draws is of the whole batch
            values, indices, loss = (part.squeeze(0) for part in self.library(across.gathered(z)[None]))
        info = {"perplexity": perplexity(indices, self.codebook_size)}
        return Quantised(across.own(values), across.own(indices), loss, info)

    def choose(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest code. Raises `UserError` before the first step of a codebook that starts from k-means."""
        if not self.library._codebook.initted:
            raise UserError("model.kmeans_init=true: the codebook starts with the first step; train it first")
        return self.library(z[None])[1][0], z

    def codes(self, indices: Tensor) -> Tensor:
        """Int64 ``[n]`` -> ``[n d]``."""
        return self.library.codebook[indices]


vq_ema = tokenizer_of(AveragedCodebook, "vq_ema")
