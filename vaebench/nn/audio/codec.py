"""A codec of waveforms: strided convolutions, one token per ``hop`` samples; a distance of waveforms to train it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import torch
from annotated_types import Len
from torch import Tensor, nn

from vaebench.config.signatures import AtLeast2, Count, NonNegative, require
from vaebench.contracts import LossOutput
from vaebench.nn import precision
from vaebench.nn.audio.mel import padded
from vaebench.nn.pretrained.whisper import SAMPLE_RATE, WhisperDistance
from vaebench.nn.tokenizers.base import Autoencoder

_DILATIONS = (1, 3)
_KERNEL = 7
SIZES = (32, 64, 128, 256, 512, 1024)  # windows of the STFT distance
_SMALLEST = 1e-5  # magnitudes below it are equal on the logarithmic scale


class _Unit(nn.Module):
    """``x + conv1(ELU(conv7(ELU(x))))``, the wide kernel dilated."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        reach = dilation * (_KERNEL // 2)
        self.branch = nn.Sequential(
            *(nn.ELU(), nn.Conv1d(channels, channels, _KERNEL, padding=reach, dilation=dilation)),
            *(nn.ELU(), nn.Conv1d(channels, channels, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[b channels t]``, the same shape."""
        return x + self.branch(x)


@dataclass(eq=False, repr=False, kw_only=True)
class CodecAutoencoder(Autoencoder):
    """Waveforms to ``width`` channels per ``hop = prod(rates)`` samples, and back.

    Encoder: conv7 to ``channels[0]``; for each rate two residual units of dilations 1 and 3 and a convolution of that
    stride to the next of ``channels``; ELU, conv7 to ``width``. The decoder mirrors it with transposed convolutions and
    ends in tanh. Loss: ``waveform`` times L1, plus ``stft`` times `stft_distance`, plus `WhisperDistance` with the
    encoder ``whisper`` (a folder or a name on the Hugging Face hub, null for none; 16 kHz only).
    """

    input_shape: Sequence[int]
    sample_rate: int
    channels: Sequence[Count]
    rates: Annotated[Sequence[AtLeast2], Len(1)]
    width: Count
    waveform: NonNegative
    stft: NonNegative
    whisper: str | None

    def __post_init__(self) -> None:
        require(*self._mistakes())
        nn.Module.__init__(self)
        self.hop = math.prod(self.rates)
        self._heard = None if self.whisper is None else WhisperDistance(self.whisper)
        self.encoder = nn.Sequential(*_encoder(self.channels, self.rates, self.width))
        self.decoder = nn.Sequential(*_decoder(self.channels, self.rates, self.width))

    def _mistakes(self) -> Iterator[str]:
        """One line for each pair of options, or option and data, that do not go together."""
        if len(self.channels) != len(self.rates) + 1:
            yield (
                f"model.autoencoder.channels={list(self.channels)}: expected {len(self.rates) + 1} numbers, one more "
                "than model.autoencoder.rates"
            )
        if not self.waveform and not self.stft:
            yield "model.autoencoder.waveform=0 and .stft=0: nothing is left to learn from; set one of them above 0"
        if self.whisper is not None and self.sample_rate != SAMPLE_RATE:
            yield (
                f"model.autoencoder.whisper={self.whisper}: Whisper hears {SAMPLE_RATE} Hz, the data has "
                f"{self.sample_rate} Hz; set it to null, or dataset.sample_rate={SAMPLE_RATE}"
            )

    def target(self, x: Tensor) -> Tensor:
        """Waveforms ``[b 1 t]`` in [-1, 1] with silence behind them, up to a multiple of ``hop``."""
        return padded(x, self.hop)

    def loss(self, decoded: Tensor, features: Tensor) -> LossOutput:
        """Terms ``l1``, ``stft`` and, where it is asked for, ``whisper``; a term of weight 0 is not computed."""
        decoded = decoded.float()
        terms = {"l1": (decoded - features).abs().mean()}
        total = self.waveform * terms["l1"]
        if self.stft:
            terms["stft"] = stft_distance(decoded[:, 0], features[:, 0])
            total = total + self.stft * terms["stft"]
        if self._heard is not None:
            terms["whisper"] = self._heard(decoded[:, 0], features[:, 0])
            total = total + terms["whisper"]
        return LossOutput(total, {name: term.detach() for name, term in terms.items()})

    def signal(self, decoded: Tensor) -> Tensor:
        """Waveforms ``[b 1 t*hop]`` in [-1, 1], float32."""
        return decoded.float()


def _units(channels: int) -> list[nn.Module]:
    return [_Unit(channels, dilation) for dilation in _DILATIONS]


def _encoder(channels: Sequence[int], rates: Sequence[int], width: int) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv1d(1, channels[0], _KERNEL, padding=_KERNEL // 2)]
    for rate, (before, after) in zip(rates, pairwise(channels), strict=True):
        layers += [*_units(before), nn.ELU(), nn.Conv1d(before, after, 2 * rate, rate, padding=-(-rate // 2))]
    return [*layers, nn.ELU(), nn.Conv1d(channels[-1], width, _KERNEL, padding=_KERNEL // 2)]


def _decoder(channels: Sequence[int], rates: Sequence[int], width: int) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv1d(width, channels[-1], _KERNEL, padding=_KERNEL // 2)]
    for rate, (after, before) in reversed(list(zip(rates, pairwise(channels), strict=True))):
        half = -(-rate // 2)
        up = nn.ConvTranspose1d(before, after, 2 * rate, rate, padding=half, output_padding=rate % 2)
        layers += [nn.ELU(), up, *_units(after)]
    return [*layers, nn.ELU(), nn.Conv1d(channels[0], 1, _KERNEL, padding=_KERNEL // 2), nn.Tanh()]


def stft_distance(a: Tensor, b: Tensor, sizes: Sequence[int] = SIZES) -> Tensor:
    """Multi-resolution STFT distance of waveforms ``[b t]`` in [-1, 1], a float32 scalar, 0 if they are equal.

    Mean over ``sizes``, windows (Hann) of so many samples every quarter of it, of the mean absolute difference of
    magnitudes plus that of log10 powers, as in the training code of L3AC (arXiv 2504.04949). Frames are centred, and
    beyond the ends lies silence, so any length will do. Differentiable in both.
    """
    total = torch.zeros((), device=a.device)
    with precision.full(a.device):
        both = torch.cat((a, b)).float()
        for size in sizes:
            window = torch.hann_window(size, device=a.device)
            options: dict[str, Any] = {"hop_length": size // 4, "window": window, "pad_mode": "constant"}
            one, other = torch.stft(both, size, return_complex=True, **options).abs().chunk(2)
            log_one, log_other = (2 * part.clamp_min(_SMALLEST).log10() for part in (one, other))
            total = total + (one - other).abs().mean() + (log_one - log_other).abs().mean()
    return total / len(sizes)
