"""The convolutional autoencoder of latent diffusion (Rombach et al., arXiv 2112.10752), from diffusers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from annotated_types import Len
from torch import Tensor, nn

from vaebench.compat import ensure_torchvision
from vaebench.config.signatures import Count, multiple_of, require
from vaebench.errors import UserError


def halves(
    where: str,
    kind: str,
    *,
    colours: int,
    width: int,
    moments: bool,
    channels: int,
    multipliers: Sequence[int],
    blocks: int,
    groups: int,
) -> tuple[Any, Any]:
    """Encoder and decoder of diffusers' ``AutoencoderKL`` without the 1x1 convolutions between them, as in SD 3.

    To ``width`` channels (``moments``: twice as many) on a grid smaller by ``2^(len(multipliers) - 1)``, and back.
    ``channels * multipliers[i]`` channels at level i, ``blocks`` residual blocks each (one more in the decoder),
    self-attention at the smallest level, normalisations of ``groups`` groups.

    Raises:
        UserError: groups that do not divide the channels, or diffusers is not installed; ``where`` the options stand.
    """
    require(multiple_of(f"{where}.channels", channels, groups, f"{where}.groups"))
    ensure_torchvision()
    try:
        from diffusers.models.autoencoders.vae import Decoder, Encoder
    except ImportError as error:
        raise UserError(f"{where}.kind={kind} needs diffusers: pip install 'vaebench[diffusers]'") from error
    options: dict[str, Any] = {
        "block_out_channels": tuple(channels * multiplier for multiplier in multipliers),
        "layers_per_block": blocks,
        "norm_num_groups": groups,
        "act_fn": "silu",
    }
    down, up = ((kind,) * len(multipliers) for kind in ("DownEncoderBlock2D", "UpDecoderBlock2D"))
    encoder = Encoder(colours, width, down_block_types=down, double_z=moments, **options)
    return encoder, Decoder(width, colours, up_block_types=up, **options)


class KLNetwork(nn.Module):
    """Images ``[b c h w]`` in [-1, 1] to ``2 l`` numbers (mean and log-variance) per position of a grid, and back.

    ``latent_channels`` l; the other options are those of `halves`.

    Raises:
        UserError: an option out of range, images whose sides do not divide, or diffusers is not installed.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        channels: Count,
        multipliers: Annotated[Sequence[Count], Len(1)],
        blocks: Count,
        groups: Count,
        latent_channels: Count,
    ) -> None:
        super().__init__()
        colours, height, width = input_shape
        shrink = 2 ** (len(multipliers) - 1)
        if height % shrink or width % shrink:
            raise UserError(
                f"model.network.multipliers: the sides of {height} x {width} images are no multiples of {shrink}, the "
                "down-sampling; choose fewer levels, another dataset or dataset.shape"
            )
        self.latent_shape = (latent_channels, height // shrink, width // shrink)
        self.encoder, self.decoder = halves(
            "model.network",
            "kl",
            colours=colours,
            width=latent_channels,
            moments=True,
            channels=channels,
            multipliers=multipliers,
            blocks=blocks,
            groups=groups,
        )

    @property
    def last_weight(self) -> nn.Parameter:
        """The weights of the decoder's last layer."""
        weight: nn.Parameter = self.decoder.conv_out.weight
        return weight

    def encode(self, x: Tensor) -> Tensor:
        """Images in [-1, 1] -> means and log-variances ``[b 2l h/s w/s]``, s the down-sampling."""
        moments: Tensor = self.encoder(x)
        return moments

    def decode(self, z: Tensor) -> Tensor:
        """Latents ``[b l h/s w/s]`` -> images ``[b c h w]`` in about [-1, 1]."""
        decoded: Tensor = self.decoder(z)
        return decoded


class KLDecoder(nn.Module):
    """The decoder of `halves`; with ``upsample_first`` a nearest up-sampling by 2 and conv3 before.

    Raises:
        UserError: an option out of range, latents of another grid, or diffusers is not installed.
    """

    def __init__(
        self,
        *,
        latent_shape: Sequence[int],
        input_shape: Sequence[int],
        channels: Count,
        multipliers: Annotated[Sequence[Count], Len(1)],
        blocks: Count,
        groups: Count,
        upsample_first: bool,
        where: str,
    ) -> None:
        super().__init__()
        latents, height, width = latent_shape
        grow = 2 ** (len(multipliers) - 1 + upsample_first)
        if (height * grow, width * grow) != tuple(input_shape[1:]):
            raise UserError(
                f"{where}.multipliers={list(multipliers)}, {where}.upsample_first={str(upsample_first).lower()}: "
                f"{height} x {width} latents would become {height * grow} x {width * grow} images instead of "
                f"{input_shape[1]} x {input_shape[2]}; choose another number of levels"
            )
        self.first = (
            nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(latents, latents, 3, padding=1))
            if upsample_first
            else nn.Identity()
        )
        _, self.decoder = halves(
            where,
            "kl",
            colours=input_shape[0],
            width=latents,
            moments=False,
            channels=channels,
            multipliers=multipliers,
            blocks=blocks,
            groups=groups,
        )

    @property
    def last_weight(self) -> nn.Parameter:
        """The weights of the last convolution."""
        weight: nn.Parameter = self.decoder.conv_out.weight
        return weight

    def forward(self, z: Tensor) -> Tensor:
        """Latents ``[b l h' w']`` -> images ``[b c h w]`` in about [-1, 1]."""
        images: Tensor = self.decoder(self.first(z))
        return images
