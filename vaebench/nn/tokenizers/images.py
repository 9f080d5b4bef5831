"""Autoencoders of images for tokenizers: a small convolutional one, and VQGAN's (Esser et al., arXiv 2012.09841)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from annotated_types import Len
from torch import Tensor, nn

from vaebench.config.signatures import Count, NonNegative, multiple_of, require
from vaebench.contracts import LossOutput
from vaebench.errors import UserError
from vaebench.nn.losses.perceptual import frozen_lpips
from vaebench.nn.networks import kl
from vaebench.nn.networks.levels import Residual, laid_out, normalised
from vaebench.nn.pretrained.frozen import Frozen


class ImageAutoencoder(nn.Module):
    """Images to tokens of ``width`` channels on a grid smaller by ``shrink``, and back.

    Loss: L1 in [-1, 1], plus ``perceptual`` times ``lpips``, None for none. ``by_layout``: whether ``encoder`` and
    ``decoder`` are faster in the layout of `laid_out`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        width: int,
        shrink: int,
        perceptual: float,
        lpips: Frozen | None,
        by_layout: bool,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.width = width
        self.shrink = shrink
        self.perceptual = perceptual
        self.lpips = lpips
        self.by_layout = by_layout

    def target(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` in [0, 1] -> [-1, 1]. Raises `UserError` for sides that ``shrink`` does not divide."""
        if any(side % self.shrink for side in x.shape[2:]):
            raise UserError(
                f"images of {x.shape[2]} x {x.shape[3]}: the sides have to be multiples of {self.shrink} "
                "(model.autoencoder)"
            )
        return 2 * x - 1

    def encode(self, features: Tensor) -> Tensor:
        """``[b c h w]`` -> ``[b width h/s w/s]``, s ``shrink``."""
        h: Tensor = self.encoder(laid_out(features) if self.by_layout else features)
        return h

    def decode(self, h: Tensor) -> Tensor:
        """``[b width h/s w/s]`` -> ``[b c h w]``."""
        decoded: Tensor = self.decoder(laid_out(h) if self.by_layout else h.contiguous())
        return decoded

    def loss(self, decoded: Tensor, features: Tensor) -> LossOutput:
        """Both ``[b c h w]`` in [-1, 1] -> terms ``l1`` and, where it is asked for, ``lpips``."""
        decoded = decoded.float()
        l1 = (decoded - features).abs().mean()
        if self.lpips is None:
            return LossOutput(l1, {"l1": l1.detach()})
        distance: Tensor = self.lpips((decoded + 1) / 2, (features + 1) / 2).mean()
        return LossOutput(l1 + self.perceptual * distance, {"l1": l1.detach(), "lpips": distance.detach()})

    def signal(self, decoded: Tensor) -> Tensor:
        """[-1, 1] -> images in [0, 1], float32; what lies outside is cut."""
        return ((decoded.float() + 1) / 2).clamp(0, 1)

    def log_mel(self, decoded: Tensor) -> None:
        """Images have none."""

    def look(self, data: Any) -> None:
        """Nothing is learnt from the data beforehand."""


def conv(*, input_shape: Sequence[int], width: Count, groups: Count, perceptual: NonNegative) -> ImageAutoencoder:
    """A small one: a grid a quarter as high and wide.

    Encoder: conv4 of stride 2, `Residual`, both again, GN, SiLU. Decoder: `Residual`, nearest up-sampling and conv3,
    `Residual`, GN, SiLU, transposed conv4 of stride 2. ``groups`` of the normalisations divide ``width``.
    """
    require(
        multiple_of("model.autoencoder.width", width, groups, "model.autoencoder.groups"),
        _shape_mistake(input_shape, 4),
    )
    lpips = _lpips(input_shape, perceptual)
    channels = input_shape[0]

    def block() -> nn.Module:
        return Residual(width, groups, dimensions=2, last=3)

    encoder = nn.Sequential(
        *(nn.Conv2d(channels, width, 4, 2, 1), block()),
        *(nn.Conv2d(width, width, 4, 2, 1), block()),
        *normalised(width, groups),
    )
    decoder = nn.Sequential(
        *(block(), nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1), block()),
        *(*normalised(width, groups), nn.ConvTranspose2d(width, channels, 4, 2, 1)),
    )
    return ImageAutoencoder(encoder, decoder, width=width, shrink=4, perceptual=perceptual, lpips=lpips, by_layout=True)


def vqgan(
    *,
    input_shape: Sequence[int],
    channels: Count,
    multipliers: Annotated[Sequence[Count], Len(1)],
    blocks: Count,
    groups: Count,
    width: Count,
    perceptual: NonNegative,
) -> ImageAutoencoder:
    """VQGAN's, the two `kl.halves`, without a discriminator. Raises `UserError` where diffusers is not installed."""
    shrink = 2 ** (len(multipliers) - 1)
    require(_shape_mistake(input_shape, shrink))
    lpips = _lpips(input_shape, perceptual)
    encoder, decoder = kl.halves(
        "model.autoencoder",
        "vqgan",
        colours=input_shape[0],
        width=width,
        moments=False,
        channels=channels,
        multipliers=multipliers,
        blocks=blocks,
        groups=groups,
    )
    return ImageAutoencoder(
        encoder, decoder, width=width, shrink=shrink, perceptual=perceptual, lpips=lpips, by_layout=False
    )


def _lpips(input_shape: Sequence[int], perceptual: float) -> Frozen | None:
    option = f"model.autoencoder.perceptual={perceptual}"
    return frozen_lpips(input_shape, option, "set it to 0") if perceptual else None


def _shape_mistake(shape: Sequence[int], shrink: int) -> str | None:
    """The sides of images (c, h, w) are multiples of ``shrink``."""
    if not any(side % shrink or side < shrink for side in shape[1:]):
        return None
    height, width = shape[1:]
    return (
        f"model.autoencoder: the sides of {height} x {width} images are not multiples of {shrink}; "
        "choose another dataset or dataset.shape"
    )
