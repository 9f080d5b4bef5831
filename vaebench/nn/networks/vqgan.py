"""The encoder and decoder of VQGAN (Esser et al., arXiv 2012.09841), from diffusers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from vaebench.compat import ensure_torchvision
from vaebench.contracts import LossOutput
from vaebench.errors import UserError
from vaebench.nn.options import require, whole
from vaebench.nn.tokenizers.pictures import Pictures, multiple_of, shape_mistake


class VqganAutoencoder(nn.Module):
    """Images to tokens of ``width`` channels on a grid smaller by ``2^(len(multipliers) - 1)``, and back.

    ``channels * multipliers[i]`` channels at level i, ``blocks`` residual blocks each (one more in the decoder),
    self-attention at the smallest level, normalisations of ``groups`` groups. Loss: L1 in [-1, 1], plus ``perceptual``
    times LPIPS; no discriminator.

    Raises:
        UserError: an option out of range, or diffusers is not installed.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        channels: int,
        multipliers: Sequence[int],
        blocks: int,
        groups: int,
        width: int,
        perceptual: float,
    ) -> None:
        super().__init__()
        require(
            whole("model.autoencoder.channels", channels, 1),
            whole("model.autoencoder.groups", groups, 1),
            multiple_of("model.autoencoder.channels", channels, groups, "model.autoencoder.groups"),
            whole("model.autoencoder.blocks", blocks, 1),
            whole("model.autoencoder.width", width, 1),
            *(whole("model.autoencoder.multipliers", multiplier, 1) for multiplier in multipliers or (0,)),
        )
        self.shrink = 2 ** (len(multipliers) - 1)
        require(shape_mistake(input_shape, self.shrink))
        self.width = width
        self.pictures = Pictures(input_shape, perceptual)
        self.encoder, self.decoder = encoder_and_decoder(
            "model.autoencoder.kind=vqgan",
            colours=input_shape[0],
            width=width,
            moments=False,
            channels=[channels * multiplier for multiplier in multipliers],
            blocks=blocks,
            groups=groups,
        )

    def target(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` in [0, 1] -> [-1, 1]. Raises `UserError` for sides that do not divide."""
        return self.pictures.target(x, self.shrink)

    def encode(self, features: Tensor) -> Tensor:
        """``[b c h w]`` -> ``[b width h/s w/s]``, s the down-sampling."""
        h: Tensor = self.encoder(features)
        return h

    def decode(self, h: Tensor) -> Tensor:
        """``[b width h/s w/s]`` -> ``[b c h w]``."""
        decoded: Tensor = self.decoder(h.contiguous())
        return decoded

    def loss(self, decoded: Tensor, features: Tensor) -> LossOutput:
        """Terms ``l1`` and, where it is asked for, ``lpips``."""
        return self.pictures.loss(decoded, features)

    def signal(self, decoded: Tensor) -> Tensor:
        """Images in [0, 1]."""
        return self.pictures.signal(decoded)

    def log_mel(self, decoded: Tensor) -> None:
        """Images have none."""

    def look(self, data: Any) -> None:
        """Nothing is learnt from the data beforehand."""


def encoder_and_decoder(
    needed_by: str, *, colours: int, width: int, moments: bool, channels: Sequence[int], blocks: int, groups: int
) -> tuple[Any, Any]:
    """The two halves, of diffusers, with fresh weights: to ``width`` channels (``moments``: twice as many), and back.

    ``channels``: at each level. ``needed_by``: the option at fault where diffusers is missing, a `UserError`.
    """
    ensure_torchvision()
    try:
        from diffusers.models.autoencoders.vae import Decoder, Encoder
    except ImportError as error:
        raise UserError(f"{needed_by} needs diffusers: pip install 'vaebench[diffusers]'") from error
    options: dict[str, Any] = {
        "block_out_channels": tuple(channels),
        "layers_per_block": blocks,
        "norm_num_groups": groups,
        "act_fn": "silu",
    }
    down, up = ((kind,) * len(channels) for kind in ("DownEncoderBlock2D", "UpDecoderBlock2D"))
    encoder = Encoder(colours, width, down_block_types=down, double_z=moments, **options)
    return encoder, Decoder(width, colours, up_block_types=up, **options)
