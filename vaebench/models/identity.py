"""No model: the reconstruction is the image itself, noise and all. The anchor of the noise tables."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vaebench.contracts import Phase


class Identity(nn.Module):
    """``decode(encode(x)) = x``, unclipped. ``input_shape`` (c, h, w)."""

    def __init__(self, *, input_shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(input_shape)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """None: there is nothing to train."""
        return ()

    def encode(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` -> their pixels ``[b c*h*w]``."""
        return x.flatten(1)

    def decode(self, z: Tensor) -> Tensor:
        """Pixels ``[b c*h*w]`` -> images ``[b c h w]``, in whatever range they came."""
        return z.unflatten(1, self.shape)
