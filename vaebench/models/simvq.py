"""SimVQ (Zhu et al., ICCV 2025, arXiv 2411.02038): a frozen Gaussian codebook times one learned linear layer.

The codebook is `vector_quantize_pytorch.SimVQ` without the rotation trick, which the paper does not have.
"""

from __future__ import annotations

from torch import Tensor, nn

from vaebench.config.signatures import AtLeast2, Count, NonNegative, checked
from vaebench.nn import precision
from vaebench.nn.tokenizers.quantise import Quantised, perplexity, width_for
from vaebench.nn.tokenizers.tokenizer import tokenizer_of


class LinearCodebook(nn.Module):
    """Codes ``C W``, ``C`` ``[K d]`` ~ N(0, 1/d) frozen; ``|sg(z) - q|^2 + beta |z - sg(q)|^2``, means.

    ``bias``: whether W has one, as in the authors' runs.
    """

    @checked("model")
    def __init__(self, *, codebook_size: AtLeast2, dim: Count | None, beta: NonNegative, bias: bool) -> None:
        super().__init__()
        from vector_quantize_pytorch import SimVQ

        self.inputs = self.dim = dim = width_for(codebook_size, dim)
        self.codebook_size = self.nominal_size = codebook_size
        self.library = SimVQ(
            dim=dim,
            codebook_size=codebook_size,
            codebook_transform=nn.Linear(dim, dim, bias=bias),
            rotation_trick=False,
            input_to_quantize_commit_loss_weight=beta,
        )

    def forward(self, z: Tensor) -> Quantised:
        """``z`` ``[n d]`` -> codes, straight-through. Info: ``perplexity`` of the batch."""
        with precision.full(z.device):
            z = z.float()
            values, indices, loss = self.library(z[None])
            values, indices = values[0], indices[0]
            if not self.training:
                return Quantised(self.codes(indices), indices, z.new_zeros(()), continuous=z)
        return Quantised(values, indices, loss, {"perplexity": perplexity(indices, self.codebook_size)})

    def codes(self, indices: Tensor) -> Tensor:
        """Int64 ``[n]`` -> ``[n d]``."""
        with precision.full(indices.device):
            # All codes, then the chosen: a product of other rows could differ in the last bit.
            codebook: Tensor = self.library.codebook
        return codebook[indices]


simvq = tokenizer_of(LinearCodebook, "simvq")
