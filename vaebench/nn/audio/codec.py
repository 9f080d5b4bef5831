"""A codec of waveforms: strided convolutions, one token per ``hop`` samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

from annotated_types import Len
from torch import Tensor, nn

from vaebench.config.signatures import AtLeast2, Count, NonNegative, require
from vaebench.contracts import LossOutput
from vaebench.nn.audio.mel import padded
from vaebench.nn.audio.spectral import stft_distance
from vaebench.nn.pretrained.whisper import SAMPLE_RATE, WhisperDistance

_DILATIONS = (1, 3)
_KERNEL = 7


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
        added: Tensor = x + self.branch(x)
        return added


class CodecAutoencoder(nn.Module):
    """Waveforms to ``width`` channels per ``hop = prod(rates)`` samples, and back.

    Encoder: conv7 to ``channels[0]``; for each rate two residual units of dilations 1 and 3 and a convolution of that
    stride to the next of ``channels``; ELU, conv7 to ``width``. The decoder mirrors it with transposed convolutions and
    ends in tanh. Loss: ``waveform`` times L1, plus ``stft`` times `stft_distance`, plus `WhisperDistance` with the
    encoder ``whisper`` (a folder or a name on the Hugging Face hub, null for none; 16 kHz only).
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        sample_rate: int,
        channels: Sequence[Count],
        rates: Annotated[Sequence[AtLeast2], Len(1)],
        width: Count,
        waveform: NonNegative,
        stft: NonNegative,
        whisper: str | None,
    ) -> None:
        super().__init__()
        require(*_mistakes(channels, rates, (waveform, stft), whisper, sample_rate))
        self.width = width
        self.hop = math.prod(rates)
        self.waveform, self.stft = waveform, stft
        self.whisper = None if whisper is None else WhisperDistance(whisper)
        self.encoder = nn.Sequential(*_encoder(channels, rates, width))
        self.decoder = nn.Sequential(*_decoder(channels, rates, width))

    def target(self, x: Tensor) -> Tensor:
        """Waveforms ``[b 1 t]`` in [-1, 1] with silence behind them, up to a multiple of ``hop``."""
        return padded(x, self.hop)

    def encode(self, features: Tensor) -> Tensor:
        """``[b 1 t*hop]`` -> ``[b width t]``."""
        h: Tensor = self.encoder(features)
        return h

    def decode(self, h: Tensor) -> Tensor:
        """``[b width t]`` -> ``[b 1 t*hop]`` in [-1, 1]."""
        decoded: Tensor = self.decoder(h.contiguous())
        return decoded

    def loss(self, decoded: Tensor, features: Tensor) -> LossOutput:
        """Terms ``l1``, ``stft`` and, where it is asked for, ``whisper``; a term of weight 0 is not computed."""
        decoded = decoded.float()
        terms = {"l1": (decoded - features).abs().mean()}
        total = self.waveform * terms["l1"]
        if self.stft:
            terms["stft"] = stft_distance(decoded[:, 0], features[:, 0])
            total = total + self.stft * terms["stft"]
        if self.whisper is not None:
            terms["whisper"] = self.whisper(decoded[:, 0], features[:, 0])
            total = total + terms["whisper"]
        return LossOutput(total, {name: term.detach() for name, term in terms.items()})

    def log_mel(self, decoded: Tensor) -> None:
        """A waveform is what it decodes."""

    def signal(self, decoded: Tensor) -> Tensor:
        """Waveforms ``[b 1 t*hop]`` in [-1, 1], float32."""
        return decoded.float()

    def look(self, data: Any) -> None:
        """Nothing is learnt from the data beforehand."""


def _mistakes(
    channels: Sequence[int], rates: Sequence[int], weights: Sequence[float], whisper: str | None, sample_rate: int
) -> list[str | None]:
    """One line for each pair of options, or option and data, that do not go together."""
    stages = nothing = rate = None
    if len(channels) != len(rates) + 1:
        stages = (
            f"model.autoencoder.channels={list(channels)}: expected {len(rates) + 1} numbers, one more than "
            "model.autoencoder.rates"
        )
    if not any(weights):
        nothing = "model.autoencoder.waveform=0 and .stft=0: nothing is left to learn from; set one of them above 0"
    if whisper is not None and sample_rate != SAMPLE_RATE:
        rate = (
            f"model.autoencoder.whisper={whisper}: Whisper hears {SAMPLE_RATE} Hz, the data has {sample_rate} Hz; "
            f"set it to null, or dataset.sample_rate={SAMPLE_RATE}"
        )
    return [stages, nothing, rate]


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
