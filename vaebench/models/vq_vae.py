"""VQ-VAE (van den Oord et al., 2017, arXiv 1711.00937): a learned codebook, straight-through gradients, nothing else.

The baseline of arXiv 2602.17133. Written here: `vector_quantize_pytorch.VectorQuantize` weighs the codebook's and the
encoder's half of a learnable codebook's loss alike, so it cannot give this one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.config.signatures import NonNegative, checked
from vaebench.nn import across
from vaebench.nn.tokenizers.neighbours import nearest
from vaebench.nn.tokenizers.quantise import Codebook, Quantised, perplexity, straight_through
from vaebench.nn.tokenizers.tokenizer import tokenizer_of


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class LearnedCodebook(Codebook):
    """``q = e_j``, j the nearest code; ``|sg(z) - e|^2 + beta |z - sg(e)|^2``, means over tokens and dimensions.

    Eq. 3, arXiv 1711.00937; means and the start of the codes, uniform in (-1/K, 1/K), are those of VQGAN's code.
    """

    beta: NonNegative

    def __post_init__(self, dim: int | None) -> None:
        super().__post_init__(dim)
        size = self.codebook_size
        self.codebook = nn.Parameter(torch.empty(size, self.dim).uniform_(-1 / size, 1 / size))

    def learn(self, z: Tensor, items: int) -> Quantised:
        """Info: ``codebook`` (the loss's first term), ``perplexity`` of the batch."""
        indices = nearest(self.codebook, z)
        codes = self.codes(indices)
        codebook = F.mse_loss(codes, z.detach())
        loss = codebook + self.beta * F.mse_loss(z, codes.detach())
        info = {"codebook": codebook.detach(), "perplexity": perplexity(across.gathered(indices), self.codebook_size)}
        return Quantised(straight_through(z, codes), indices, loss, info)

    def choose(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest code."""
        return nearest(self.codebook, z), z

    def codes(self, indices: Tensor) -> Tensor:
        """Int64 ``[n]`` -> ``[n d]``."""
        return F.embedding(indices, self.codebook)


vq_vae = tokenizer_of(LearnedCodebook, "vq_vae")
