"""What a tokenizer is built on: autoencoders of images and of audio, chosen by ``model.autoencoder.kind``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from vaebench.config import signatures
from vaebench.contracts import LossOutput, TrainingData
from vaebench.errors import UserError
from vaebench.nn.audio.codec import CodecAutoencoder
from vaebench.nn.audio.mel_autoencoder import MelAutoencoder
from vaebench.nn.tokenizers import images

IMAGES: dict[str, Any] = {"conv": images.conv, "vqgan": images.vqgan}
AUDIO: dict[str, Any] = {"mel": MelAutoencoder, "codec": CodecAutoencoder}


class Autoencoder(Protocol):
    """An ``nn.Module``: an encoder and a decoder around a grid of tokens, ``(h, w)`` for images, ``(t,)`` for audio.

    ``width``: C, the channels of a token. ``target``: what the data gives -> the features that are encoded and
    reconstructed, without gradient. ``encode``: features -> ``[b C *grid]``. ``decode``: back to features. ``loss``:
    of decoded features, with unweighted terms. ``signal``: decoded features -> the data's domain, images in [0, 1] or
    waveforms in [-1, 1], float32. ``log_mel``: decoded features -> log10-mel power ``[b bands t]``, None where they are
    no such thing. ``look``: see all training data once before the first step.
    """

    width: int

    def target(self, x: Tensor) -> Tensor: ...  # noqa: D102

    def encode(self, features: Tensor) -> Tensor: ...  # noqa: D102

    def decode(self, h: Tensor) -> Tensor: ...  # noqa: D102

    def loss(self, decoded: Tensor, features: Tensor) -> LossOutput: ...  # noqa: D102

    def signal(self, decoded: Tensor) -> Tensor: ...  # noqa: D102

    def log_mel(self, decoded: Tensor) -> Tensor | None: ...  # noqa: D102

    def look(self, data: TrainingData) -> None: ...  # noqa: D102


def build(options: Mapping[str, Any], *, input_shape: Sequence[int], sample_rate: int | None) -> Autoencoder:
    """The autoencoder that ``options`` (a file of ``conf/autoencoder``) describe, with fresh weights.

    ``input_shape``: (c, h, w) of images or (1, samples) of audio. ``sample_rate``: of audio, in Hz.

    Raises:
        UserError: an unknown kind, a kind for other data, unknown, missing, ill-typed or impossible options.
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
    if kind in AUDIO:
        if sample_rate is None or sample_rate < 1:
            raise UserError(
                f"dataset.sample_rate={sample_rate}: model.autoencoder.kind={kind} needs the rate of the audio, in Hz"
            )
        data["sample_rate"] = sample_rate
    built: Autoencoder = signatures.chosen("model.autoencoder", options, kinds, **data)
    return built
