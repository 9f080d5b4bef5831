"""What the autoencoders of images share: the range [-1, 1], L1 plus LPIPS, checks of the shape."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vaebench.contracts import LossOutput
from vaebench.errors import UserError
from vaebench.nn.options import non_negative, require
from vaebench.nn.pretrained import lpips
from vaebench.nn.pretrained.frozen import Frozen


class Pictures:
    """Images in [0, 1] <-> [-1, 1], and their loss: L1 there plus ``perceptual`` times LPIPS, 0 for none.

    Raises:
        UserError: ``perceptual`` is negative, or above 0 where LPIPS cannot be had: its weights are missing, or the
            images are too small.
    """

    def __init__(self, input_shape: Sequence[int], perceptual: float) -> None:
        require(non_negative("model.autoencoder.perceptual", perceptual))
        self.weight = perceptual
        self.network: Frozen | None = None
        if perceptual:
            if min(input_shape[1:]) < lpips.SMALLEST_SIDE or input_shape[0] not in (1, 3):
                raise UserError(
                    f"model.autoencoder.perceptual={perceptual}: LPIPS is for grey or colour images of at least "
                    f"{lpips.SMALLEST_SIDE} x {lpips.SMALLEST_SIDE}, not {list(input_shape)}; set it to 0"
                )
            try:
                self.network = Frozen(lpips.load())
            except UserError as error:
                raise UserError(f"model.autoencoder.perceptual={perceptual}: {error}; or set it to 0") from error

    def target(self, x: Tensor, shrink: int) -> Tensor:
        """``[b c h w]`` in [0, 1] -> [-1, 1]. Raises `UserError` for sides that are no multiples of ``shrink``."""
        if any(side % shrink for side in x.shape[2:]):
            raise UserError(
                f"images of {x.shape[2]} x {x.shape[3]}: the sides have to be multiples of {shrink} (model.autoencoder)"
            )
        return 2 * x - 1

    def loss(self, decoded: Tensor, features: Tensor) -> LossOutput:
        """Both ``[b c h w]`` in [-1, 1] -> terms ``l1`` and, where it is asked for, ``lpips``."""
        decoded = decoded.float()
        l1 = (decoded - features).abs().mean()
        if self.network is None:
            return LossOutput(l1, {"l1": l1.detach()})
        perceptual: Tensor = self.network((decoded + 1) / 2, (features + 1) / 2).mean()
        return LossOutput(l1 + self.weight * perceptual, {"l1": l1.detach(), "lpips": perceptual.detach()})

    def signal(self, decoded: Tensor) -> Tensor:
        """[-1, 1] -> images in [0, 1], float32; what lies outside is cut."""
        return ((decoded.float() + 1) / 2).clamp(0, 1)


def shape_mistake(shape: Sequence[int], shrink: int) -> str | None:
    """The sides of images (c, h, w) are multiples of ``shrink``."""
    if not any(side % shrink or side < shrink for side in shape[1:]):
        return None
    height, width = shape[1:]
    return (
        f"model.autoencoder: the sides of {height} x {width} images are not multiples of {shrink}; "
        "choose another dataset or dataset.shape"
    )


def multiple_of(name: str, value: int, divisor: int, of: str) -> str | None:
    """``value`` is a multiple of ``divisor``, the option ``of``."""
    if divisor < 1 or value % divisor == 0:
        return None
    return f"{name}={value}: expected a multiple of {of}={divisor}"
