"""The convolutional autoencoder of latent diffusion (Rombach et al., arXiv 2112.10752), from diffusers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vaebench.nn.networks.vqgan import encoder_and_decoder
from vaebench.nn.options import require, whole
from vaebench.nn.tokenizers.pictures import multiple_of


class KLNetwork(nn.Module):
    """Images ``[b c h w]`` in [-1, 1] to ``2 l`` numbers (mean and log-variance) per position of a grid, and back.

    The encoder and decoder of diffusers' ``AutoencoderKL`` without the 1x1 convolutions between them, as in Stable
    Diffusion 3. The grid is smaller by ``2^(len(multipliers) - 1)``. ``channels * multipliers[i]`` channels at level i,
    ``blocks`` residual blocks each (one more in the decoder), self-attention at the smallest level, normalisations of
    ``groups`` groups. ``latent_channels`` l.

    Raises:
        UserError: an option out of range, images whose sides do not divide, or diffusers is not installed.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        channels: int,
        multipliers: Sequence[int],
        blocks: int,
        groups: int,
        latent_channels: int,
    ) -> None:
        super().__init__()
        require(
            whole("model.network.channels", channels, 1),
            whole("model.network.groups", groups, 1),
            multiple_of("model.network.channels", channels, groups, "model.network.groups"),
            whole("model.network.blocks", blocks, 1),
            *(whole("model.network.multipliers", multiplier, 1) for multiplier in multipliers or (0,)),
            whole("model.network.latent_channels", latent_channels, 1),
        )
        colours, height, width = input_shape
        shrink = 2 ** (len(multipliers) - 1)
        require(_shape_mistake(height, width, shrink))
        self.latent_shape = (latent_channels, height // shrink, width // shrink)
        self.encoder, self.decoder = encoder_and_decoder(
            "model.network.kind=kl",
            colours=colours,
            width=latent_channels,
            moments=True,
            channels=[channels * multiplier for multiplier in multipliers],
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


def _shape_mistake(height: int, width: int, shrink: int) -> str | None:
    """The sides of the images are multiples of the down-sampling."""
    if not (height % shrink or width % shrink):
        return None
    return (
        f"model.network.multipliers: the sides of {height} x {width} images are no multiples of {shrink}, the "
        "down-sampling; choose fewer levels, another dataset or dataset.shape"
    )
