"""The convolutional autoencoder of latent diffusion (Rombach et al., arXiv 2112.10752), from diffusers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Len
from torch import Tensor, nn

from vaebench.compat import ensure_torchvision
from vaebench.config.signatures import Count, multiple_of, require
from vaebench.errors import UserError


@dataclass(eq=False, repr=False, kw_only=True)
class KLLevels:
    """Options of `halves`: ``channels * multipliers[i]`` channels at level i, ``blocks`` residual blocks each.

    ``groups``: of the normalisations. The decoder has one more block at each level.
    """

    channels: Count
    multipliers: Annotated[Sequence[Count], Len(1)]
    blocks: Count
    groups: Count

    @property
    def shrink(self) -> int:
        """The side of an image over that of the grid."""
        return 2 ** (len(self.multipliers) - 1)

    def halves(self, where: str, kind: str, *, colours: int, width: int, moments: bool = False) -> tuple[Any, Any]:
        """Encoder and decoder of diffusers' ``AutoencoderKL`` without the 1x1 convolutions between them, as in SD 3.

        To ``width`` channels (``moments``: twice as many) on a grid smaller by `shrink`, and back; self-attention at
        the smallest level.

        Raises `UserError`: groups that do not divide the channels, or diffusers is not installed; ``where`` the options
        stand.
        """
        require(multiple_of(f"{where}.channels", self.channels, self.groups, f"{where}.groups"))
        ensure_torchvision()
        try:
            from diffusers.models.autoencoders.vae import Decoder, Encoder
        except ImportError as error:
            raise UserError(f"{where}.kind={kind} needs diffusers: pip install 'vaebench[diffusers]'") from error
        options: dict[str, Any] = {
            "block_out_channels": tuple(self.channels * multiplier for multiplier in self.multipliers),
            "layers_per_block": self.blocks,
            "norm_num_groups": self.groups,
            "act_fn": "silu",
        }
        down, up = ((block,) * len(self.multipliers) for block in ("DownEncoderBlock2D", "UpDecoderBlock2D"))
        encoder = Encoder(colours, width, down_block_types=down, double_z=moments, **options)
        return encoder, Decoder(width, colours, up_block_types=up, **options)


@dataclass(eq=False, repr=False, kw_only=True)
class KLNetwork(KLLevels, nn.Module):
    """Images ``[b c h w]`` in [-1, 1] to ``2 l`` numbers (mean and log-variance) per position of a grid, and back.

    ``latent_channels`` l; the other options are those of `KLLevels`.

    Raises `UserError`: an option out of range, images whose sides do not divide, or diffusers is not installed.
    """

    input_shape: Sequence[int]
    latent_channels: Count

    def __post_init__(self) -> None:
        nn.Module.__init__(self)
        colours, height, width = self.input_shape
        if height % self.shrink or width % self.shrink:
            raise UserError(
                f"model.network.multipliers: the sides of {height} x {width} images are no multiples of "
                f"{self.shrink}, the down-sampling; choose fewer levels, another dataset or dataset.shape"
            )
        self.latent_shape = (self.latent_channels, height // self.shrink, width // self.shrink)
        self.encoder, self.decoder = self.halves(
            "model.network", "kl", colours=colours, width=self.latent_channels, moments=True
        )

    @property
    def last_weight(self) -> nn.Parameter:
        """The weights of the decoder's last layer."""
        return self.decoder.conv_out.weight

    def encode(self, x: Tensor) -> Tensor:
        """Images in [-1, 1] -> means and log-variances ``[b 2l h/s w/s]``, s the down-sampling."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Latents ``[b l h/s w/s]`` -> images ``[b c h w]`` in about [-1, 1]."""
        return self.decoder(z)

    def as_diffusers(self) -> Any:
        """The same network as diffusers' ``AutoencoderKL``, with these weights: on [-1, 1], latents unscaled."""
        from diffusers import AutoencoderKL

        levels = len(self.multipliers)
        found: Any = AutoencoderKL(
            in_channels=self.input_shape[0],
            out_channels=self.input_shape[0],
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=tuple(self.channels * multiplier for multiplier in self.multipliers),
            layers_per_block=self.blocks,
            latent_channels=self.latent_channels,
            norm_num_groups=self.groups,
            sample_size=self.input_shape[1],
            scaling_factor=1.0,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
        found.load_state_dict(self.state_dict())
        return found.eval()


@dataclass(eq=False, repr=False, kw_only=True)
class KLDecoder(KLLevels, nn.Module):
    """The decoder of `KLLevels`; with ``upsample_first`` a nearest up-sampling by 2 and conv3 before.

    Raises `UserError`: an option out of range, latents of another grid, or diffusers is not installed.
    """

    latent_shape: Sequence[int]
    input_shape: Sequence[int]
    upsample_first: bool
    where: str

    def __post_init__(self) -> None:
        nn.Module.__init__(self)
        latents, height, width = self.latent_shape
        grow = self.shrink * 2**self.upsample_first
        if (height * grow, width * grow) != tuple(self.input_shape[1:]):
            option = f"{self.where}.multipliers={list(self.multipliers)}"
            raise UserError(
                f"{option}, {self.where}.upsample_first={str(self.upsample_first).lower()}: {height} x {width} latents "
                f"would become {height * grow} x {width * grow} images instead of {self.input_shape[1]} x "
                f"{self.input_shape[2]}; choose another number of levels"
            )
        self.first = (
            nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(latents, latents, 3, padding=1))
            if self.upsample_first
            else nn.Identity()
        )
        _, self.decoder = self.halves(self.where, "kl", colours=self.input_shape[0], width=latents)

    @property
    def last_weight(self) -> nn.Parameter:
        """The weights of the last convolution."""
        return self.decoder.conv_out.weight

    def forward(self, z: Tensor) -> Tensor:
        """Latents ``[b l h' w']`` -> images ``[b c h w]`` in about [-1, 1]."""
        return self.decoder(self.first(z))
