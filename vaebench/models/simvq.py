"""SimVQ (Zhu et al., ICCV 2025, arXiv 2411.02038): a frozen Gaussian codebook times one learned linear layer.

The codebook is `vector_quantize_pytorch.SimVQ` without the rotation trick, which the paper does not have.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vaebench.config.signatures import NonNegative, checked
from vaebench.nn import across, precision
from vaebench.nn.tokenizers.quantise import Codebook, Quantised, perplexity
from vaebench.nn.tokenizers.tokenizer import tokenizer_of


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class LinearCodebook(Codebook):
    """Codes ``C W``, ``C`` ``[K d]`` ~ N(0, 1/d) frozen; ``|sg(z) - q|^2 + beta |z - sg(q)|^2``, means.

    ``bias``: whether W has one, as in the authors' runs.
    """

    beta: NonNegative
    bias: bool

    def __post_init__(self, dim: int | None) -> None:
        super().__post_init__(dim)
        from vector_quantize_pytorch import SimVQ

        self.library = SimVQ(
            dim=self.dim,
            codebook_size=self.codebook_size,
            codebook_transform=nn.Linear(self.dim, self.dim, bias=self.bias),
            rotation_trick=False,
            input_to_quantize_commit_loss_weight=self.beta,
        )

    def learn(self, z: Tensor, items: int) -> Quantised:
        """Codes, straight-through. Info: ``perplexity`` of the batch."""
        values, indices, loss = self.library(z[None])
        info = {"perplexity": perplexity(across.gathered(indices[0]), self.codebook_size)}
        return Quantised(values[0], indices[0], loss, info)

    def choose(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest code."""
        return self.library(z[None])[1][0], z

    def codes(self, indices: Tensor) -> Tensor:
        """Int64 ``[n]`` -> ``[n d]``."""
        with precision.full(indices.device):
            # All codes, then the chosen: a product of other rows could differ in the last bit.
            return self.library.codebook[indices]


simvq = tokenizer_of(LinearCodebook, "simvq")
