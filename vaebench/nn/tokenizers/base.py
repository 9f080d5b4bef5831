"""What the autoencoders around a tokenizer's quantiser have in common, of images and of audio."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Autoencoder(nn.Module):
    """An ``encoder`` and a ``decoder`` around a grid of tokens, ``(h, w)`` for images, ``(t,)`` for audio.

    ``width``: C, the channels of a token. Each kind has its own ``target``: what the data gives -> the features that
    are encoded and reconstructed, without gradient; ``loss``: of decoded features, with unweighted terms; ``signal``:
    decoded features -> the data's domain, images in [0, 1] or waveforms in [-1, 1], float32.
    """

    width: int
    encoder: nn.Module
    decoder: nn.Module

    def encode(self, features: Tensor) -> Tensor:
        """Features -> ``[b width *grid]``."""
        return self.encoder(features)

    def decode(self, h: Tensor) -> Tensor:
        """``[b width *grid]`` -> features."""
        return self.decoder(h.contiguous())

    def log_mel(self, decoded: Tensor) -> Tensor | None:
        """Decoded features -> log10-mel power ``[b bands t]``; None where they are no such thing."""
        return None

    def look(self, data: Any) -> None:
        """See all training data once before the first step; most learn nothing from it."""
