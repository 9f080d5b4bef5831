"""VQ-VAE-2's codebook (arXiv 1906.00446) as it is usually run: moving averages, a k-means start, dead codes replaced.

Not in the tables of arXiv 2602.17133: what its VQ-VAE baseline leaves out. The codebook is
`vector_quantize_pytorch.VectorQuantize`.
"""

from __future__ import annotations

from torch import Tensor, nn

from vaebench.config.signatures import AtLeast2, Count, Fraction, NonNegative, checked
from vaebench.errors import UserError
from vaebench.nn import precision
from vaebench.nn.tokenizers.quantise import Quantised, perplexity, width_for
from vaebench.nn.tokenizers.tokenizer import tokenizer_of


class AveragedCodebook(nn.Module):
    """Codes are moving averages of their tokens; loss ``beta |z - sg(e)|^2``, a mean; straight-through gradients.

    ``decay``: of the averages, in [0, 1). ``reset_below``: a code whose moving average of tokens per batch is below
    this becomes a random token of the batch; 0: never. ``kmeans_init``: start from k-means of the first batch.
    Everything random comes from the global generator; all state lies in buffers.
    """

    @checked("model")
    def __init__(
        self,
        *,
        codebook_size: AtLeast2,
        dim: Count | None,
        beta: NonNegative,
        decay: Fraction,
        reset_below: NonNegative,
        kmeans_init: bool,
    ) -> None:
        super().__init__()
        from vector_quantize_pytorch import VectorQuantize

        self.inputs = self.dim = dim = width_for(codebook_size, dim)
        self.codebook_size = self.nominal_size = codebook_size
        self.library = VectorQuantize(
            dim=dim,
            codebook_size=codebook_size,
            decay=decay,
            commitment_weight=beta,
            kmeans_init=kmeans_init,
            threshold_ema_dead_code=reset_below,
            rotation_trick=False,
        )

    def forward(self, z: Tensor) -> Quantised:
        """``z`` ``[n d]`` -> codes; in training the codebook moves. Info: ``perplexity`` of the batch.

        Raises `UserError` in eval mode before the first training step of a codebook that starts from k-means.
        """
        with precision.full(z.device):
            z = z.float()
            if not self.training:
                if not self.library._codebook.initted:
                    raise UserError("model.kmeans_init=true: the codebook starts with the first step; train it first")
                indices = self.library(z[None])[1][0]
                return Quantised(self.codes(indices), indices, z.new_zeros(()), continuous=z)
            values, indices, loss = (part.squeeze(0) for part in self.library(z[None]))
        return Quantised(values, indices, loss, {"perplexity": perplexity(indices, self.codebook_size)})

    def codes(self, indices: Tensor) -> Tensor:
        """Int64 ``[n]`` -> ``[n d]``."""
        codebook: Tensor = self.library.codebook
        return codebook[indices]


vq_ema = tokenizer_of(AveragedCodebook, "vq_ema")
