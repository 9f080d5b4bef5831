"""What a tokenizer is built on, chosen by ``model.autoencoder.kind``: the autoencoders of images, and those of audio.

Of images a small convolutional one, and VQGAN's (Esser et al., arXiv 2012.09841).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from vaebench.config import signatures
from vaebench.config.signatures import Count, NonNegative, multiple_of, require
from vaebench.contracts import LossOutput
from vaebench.errors import UserError
from vaebench.nn.audio.codec import CodecAutoencoder
from vaebench.nn.audio.mel import MelAutoencoder
from vaebench.nn.losses.reconstruction import frozen_lpips
from vaebench.nn.networks.kl import KLLevels
from vaebench.nn.networks.levels import Residual, laid_out, normalised
from vaebench.nn.pretrained.frozen import Frozen
from vaebench.nn.tokenizers.base import Autoencoder


@dataclass(eq=False, repr=False, kw_only=True)
class ImageAutoencoder(Autoencoder):
    """Images to tokens of ``width`` channels on a grid smaller by ``shrink``, and back.

    Loss: L1 in [-1, 1], plus ``perceptual`` times LPIPS.
    """

    shrink: ClassVar[Any]
    input_shape: Sequence[int]
    width: Count
    perceptual: NonNegative

    def _begin(self, *mistakes: str | None) -> None:
        """Check the options and find the weights of LPIPS, if it is asked for."""
        require(*mistakes, _shape_mistake(self.input_shape, self.shrink))
        nn.Module.__init__(self)
        option = f"model.autoencoder.perceptual={self.perceptual}"
        self.lpips: Frozen | None = None
        if self.perceptual:
            self.lpips = frozen_lpips(self.input_shape, option, "set it to 0")

    def target(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` in [0, 1] -> [-1, 1]. Raises `UserError` for sides that ``shrink`` does not divide."""
        if any(side % self.shrink for side in x.shape[2:]):
            raise UserError(
                f"images of {x.shape[2]} x {x.shape[3]}: the sides have to be multiples of {self.shrink} "
                "(model.autoencoder)"
            )
        return 2 * x - 1

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


@dataclass(eq=False, repr=False, kw_only=True)
class ConvAutoencoder(ImageAutoencoder):
    """A small one: a grid a quarter as high and wide.

    Encoder: conv4 of stride 2, `Residual`, both again, GN, SiLU. Decoder: `Residual`, nearest up-sampling and conv3,
    `Residual`, GN, SiLU, transposed conv4 of stride 2. ``groups`` of the normalisations divide ``width``.
    """

    shrink: ClassVar[int] = 4
    groups: Count

    def __post_init__(self) -> None:
        width, channels = self.width, self.input_shape[0]
        self._begin(multiple_of("model.autoencoder.width", width, self.groups, "model.autoencoder.groups"))

        def block() -> nn.Module:
            return Residual(width, self.groups, dimensions=2, last=3)

        self.encoder = nn.Sequential(
            *(nn.Conv2d(channels, width, 4, 2, 1), block()),
            *(nn.Conv2d(width, width, 4, 2, 1), block()),
            *normalised(width, self.groups),
        )
        self.decoder = nn.Sequential(
            *(block(), nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1), block()),
            *(*normalised(width, self.groups), nn.ConvTranspose2d(width, channels, 4, 2, 1)),
        )

    def encode(self, features: Tensor) -> Tensor:
        """``[b c h w]`` -> ``[b width h/4 w/4]``."""
        return self.encoder(laid_out(features))

    def decode(self, h: Tensor) -> Tensor:
        """``[b width h/4 w/4]`` -> ``[b c h w]``."""
        return self.decoder(laid_out(h))


@dataclass(eq=False, repr=False, kw_only=True)
class VQGAN(KLLevels, ImageAutoencoder):
    """VQGAN's, without a discriminator: the two halves of `KLLevels`. Raises `UserError` without diffusers."""

    def __post_init__(self) -> None:
        self._begin()
        self.encoder, self.decoder = self.halves(
            "model.autoencoder", "vqgan", colours=self.input_shape[0], width=self.width
        )


IMAGES: dict[str, Any] = {"conv": ConvAutoencoder, "vqgan": VQGAN}
_NEEDED = ("width", "encode", "decode", "target", "loss", "signal", "log_mel", "look")
AUDIO: dict[str, Any] = {"mel": MelAutoencoder, "codec": CodecAutoencoder}


def build(options: Mapping[str, Any], *, input_shape: Sequence[int], sample_rate: int | None) -> Autoencoder:
    """The autoencoder that ``options`` (a file of ``conf/autoencoder``) describe, with fresh weights.

    ``input_shape``: (c, h, w) of images or (1, samples) of audio. ``sample_rate``: of audio, in Hz.

    Raises `UserError`: an unknown kind, a kind for other data, unknown, missing, ill-typed or impossible options.
    """
    kinds = IMAGES | AUDIO
    kind = str(options.get("kind"))
    fitting, found = (IMAGES, "images") if len(input_shape) == 3 else (AUDIO, "audio")
    if kind in kinds.keys() - fitting.keys():
        choices = " or ".join(f"autoencoder@model.autoencoder={name}" for name in fitting)
        raise UserError(
            f"model.autoencoder.kind={kind}: the dataset is {found} of shape {list(input_shape)}; choose {choices}"
        )
    data: dict[str, Any] = {"input_shape": input_shape}
    if "." in kind:  # a plug-in's takes it or not
        data["sample_rate"] = sample_rate
    if kind in AUDIO:
        if sample_rate is None or sample_rate < 1:
            raise UserError(
                f"dataset.sample_rate={sample_rate}: model.autoencoder.kind={kind} needs the rate of the audio, in Hz"
            )
        data["sample_rate"] = sample_rate
    return signatures.chosen("model.autoencoder", options, kinds, _NEEDED, **data)


def _shape_mistake(shape: Sequence[int], shrink: int) -> str | None:
    """The sides of images (c, h, w) are multiples of ``shrink``."""
    if not any(side % shrink or side < shrink for side in shape[1:]):
        return None
    height, width = shape[1:]
    return (
        f"model.autoencoder: the sides of {height} x {width} images are not multiples of {shrink}; "
        "choose another dataset or dataset.shape"
    )
