"""VQ-VAE (van den Oord et al., 2017, arXiv 1711.00937): a learned codebook, straight-through gradients, nothing else.

The baseline of arXiv 2602.17133. Written here: `vector_quantize_pytorch.VectorQuantize` weighs the codebook's and the
encoder's half of a learnable codebook's loss alike, so it cannot give this one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.config.signatures import AtLeast2, Count, NonNegative, checked
from vaebench.nn import precision
from vaebench.nn.tokenizers.neighbours import nearest
from vaebench.nn.tokenizers.quantise import Quantised, perplexity, straight_through, width_for
from vaebench.nn.tokenizers.tokenizer import tokenizer_of


class LearnedCodebook(nn.Module):
    """``q = e_j``, j the nearest code; ``|sg(z) - e|^2 + beta |z - sg(e)|^2``, means over tokens and dimensions.

    Eq. 3, arXiv 1711.00937; means and the start of the codes, uniform in (-1/K, 1/K), are those of VQGAN's code.
    ``beta``: 0 or more. ``dim``: width of a code.
    """

    @checked("model")
    def __init__(self, *, codebook_size: AtLeast2, dim: Count | None, beta: NonNegative) -> None:
        super().__init__()
        self.inputs = self.dim = dim = width_for(codebook_size, dim)
        self.codebook_size = self.nominal_size = codebook_size
        self.beta = beta
        self.codebook = nn.Parameter(torch.empty(codebook_size, dim).uniform_(-1 / codebook_size, 1 / codebook_size))

    def forward(self, z: Tensor) -> Quantised:
        """``z`` ``[n d]`` -> codes. Info: ``perplexity`` of the batch, ``codebook`` (the loss's first term)."""
        with precision.full(z.device):
            z = z.float()
            indices = nearest(self.codebook, z)
            codes = self.codes(indices)
            if not self.training:
                return Quantised(codes, indices, z.new_zeros(()), continuous=z)
            codebook = F.mse_loss(codes, z.detach())
            loss = codebook + self.beta * F.mse_loss(z, codes.detach())
        info = {"codebook": codebook.detach(), "perplexity": perplexity(indices, self.codebook_size)}
        return Quantised(straight_through(z, codes), indices, loss, info)

    def codes(self, indices: Tensor) -> Tensor:
        """Int64 ``[n]`` -> ``[n d]``."""
        return F.embedding(indices, self.codebook)


vq_vae = tokenizer_of(LearnedCodebook, "vq_vae")
