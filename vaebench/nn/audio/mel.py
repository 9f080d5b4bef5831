"""Log-mel spectra of waveforms and an autoencoder of them, one token per frame.

The way back: a pseudo-inverse of the mel filters, then Griffin-Lim phases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from vaebench.config.signatures import LARGEST, Count, CountOrNone, Positive, checked, multiple_of, require, whole
from vaebench.contracts import LossOutput, TrainingData
from vaebench.errors import UserError
from vaebench.nn import precision
from vaebench.nn.networks.levels import Residual, normalised
from vaebench.nn.sampling import SEED, own_draws, spread
from vaebench.nn.tokenizers.base import Autoencoder

_LOOKED_AT = 4096  # clips, at most, for the mean and standard deviation
_BATCH = 64
Window = Annotated[int, Interval(ge=4, le=LARGEST)]


class LogMel(nn.Module):
    """Waveforms <-> log10-mel power: Hann window of ``n_fft`` samples every ``hop``, ``bands`` triangles, ``floor``.

    The triangles have height 1 and lie on HTK's scale, 2595 log10(1 + f/700), from 0 Hz to half of ``sample_rate``
    (Hz). A full-scale sine has a power of about ``(n_fft/4)^2``; powers below ``floor`` are raised to it.

    Raises `UserError`: an option out of range; ``hop`` above half a window; more bands than the window's resolution can
    tell apart.
    """

    window: Tensor
    filters: Tensor
    inverse: Tensor

    @checked("model.autoencoder")
    def __init__(self, *, sample_rate: int, n_fft: Window, hop: Count, bands: Count, floor: Positive) -> None:
        super().__init__()
        require(whole("model.autoencoder.hop", hop, 1, n_fft // 2, "half of model.autoencoder.n_fft"))
        self.n_fft, self.hop, self.floor = n_fft, hop, floor
        filters = _filters(sample_rate, n_fft, bands)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("filters", filters.float(), persistent=False)
        self.register_buffer("inverse", torch.linalg.pinv(filters).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Waveforms ``[b 1 t]`` in [-1, 1] -> log10 power float32 ``[b bands ceil(t/hop)]``.

        Frame i is centred at sample ``i hop``; beyond the ends lies silence.
        """
        x = padded(x, self.hop)
        with precision.full(x.device):
            power = self._stft(x[:, 0].float()).abs().square()
            return (self.filters @ power).clamp_min(self.floor).log10()

    def waveform(self, log_mel: Tensor, iterations: int) -> Tensor:
        """log10 power ``[b bands t]`` -> waveforms float32 ``[b 1 t*hop]`` in [-1, 1], louder samples cut.

        ``iterations`` of `griffin_lim`. Deterministic, and the same for a clip whatever else is in the batch.
        """
        with precision.full(log_mel.device):
            power = (self.inverse @ (10 ** log_mel.float())).clamp_min(0)
            return self.griffin_lim(power.sqrt(), iterations)[:, None].clamp(-1, 1)

    def griffin_lim(self, magnitude: Tensor, iterations: int) -> Tensor:
        """Waveforms ``[b t*hop]`` whose spectrum comes near ``magnitude`` ``[b n_fft/2+1 t]`` (Griffin & Lim, 1984).

        The first phases are uniform, from a constant seed; then the phases of the waveform's own spectrum, again and
        again.
        """
        frequencies, frames = magnitude.shape[1:]
        turns = torch.rand(frames, frequencies, generator=torch.Generator().manual_seed(SEED)).to(magnitude.device)
        phase = torch.polar(torch.ones_like(turns), 2 * torch.pi * turns).T
        x = self._istft(magnitude * phase)
        for _ in range(iterations):
            spectrum = self._stft(x)
            x = self._istft(magnitude * torch.sgn(spectrum))
        return x

    def _stft(self, x: Tensor) -> Tensor:
        """``[b t]``, t a multiple of hop -> complex ``[b n_fft/2+1 t/hop]``: centred frames without the last one."""
        options: dict[str, Any] = {"hop_length": self.hop, "window": self.window, "pad_mode": "constant"}
        return torch.stft(x, self.n_fft, return_complex=True, **options)[..., :-1]

    def _istft(self, spectrum: Tensor) -> Tensor:
        """The inverse of `_stft` by overlap-add and least squares: ``[b n_fft/2+1 t]`` -> ``[b t*hop]``."""
        length = spectrum.shape[-1] * self.hop
        return torch.istft(spectrum, self.n_fft, hop_length=self.hop, window=self.window, length=length)


def padded(x: Tensor, multiple: int) -> Tensor:
    """``[b 1 t]`` with silence behind it up to the next multiple, one at least."""
    length = max(1, -(-x.shape[-1] // multiple)) * multiple
    return F.pad(x, (0, length - x.shape[-1]))


def _filters(sample_rate: int, n_fft: int, bands: int) -> Tensor:
    """Weights float64 ``[bands n_fft/2+1]``, to the bit those of ``transformers.audio_utils.mel_filter_bank``.

    Raises `UserError` where a band lies between two frequencies.
    """
    mels = np.linspace(0, 2595 * np.log10(1 + sample_rate / 2 / 700), bands + 2)
    corners = 700 * (np.power(10, mels / 2595) - 1)
    above = corners - np.linspace(0, sample_rate // 2, n_fft // 2 + 1)[:, None]  # of each frequency, to each corner
    widths = np.diff(corners)
    filters = np.maximum(0, np.minimum(-above[:, :-2] / widths[:-1], above[:, 2:] / widths[1:])).T
    if (filters.max(1) == 0).any():
        require(
            f"model.autoencoder.bands={bands}: too many for windows of {n_fft} samples at {sample_rate} Hz, some bands "
            "lie between two frequencies; use fewer, or a larger model.autoencoder.n_fft"
        )
    return torch.from_numpy(filters.copy())


@dataclass(eq=False, repr=False, kw_only=True)
class MelAutoencoder(Autoencoder):
    """Waveforms -> standardised log-mel spectra -> ``width`` channels per frame, and back.

    Encoder: conv3, two `Residual` with a conv1 at the end, GN, SiLU; the decoder mirrors it. L1 on the standardised
    spectra. ``sample_rate`` in Hz; ``n_fft``, ``hop``, ``bands`` and ``floor`` are those of `LogMel`; ``groups`` of the
    normalisations divide ``width``. ``griffin_lim``: iterations on the way to a waveform.
    """

    mean: Tensor = field(init=False)
    std: Tensor = field(init=False)
    input_shape: Sequence[int]
    sample_rate: int
    width: Count
    groups: Count
    n_fft: Window
    hop: Count
    bands: Count
    floor: Positive
    griffin_lim: CountOrNone

    def __post_init__(self) -> None:
        width, groups = self.width, self.groups
        require(multiple_of("model.autoencoder.width", width, groups, "model.autoencoder.groups"))
        nn.Module.__init__(self)
        self.front = LogMel(
            sample_rate=self.sample_rate, n_fft=self.n_fft, hop=self.hop, bands=self.bands, floor=self.floor
        )
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

        def blocks() -> list[nn.Module]:
            return [*(Residual(width, groups, dimensions=1, last=1) for _ in range(2)), *normalised(width, groups)]

        self.encoder = nn.Sequential(nn.Conv1d(self.bands, width, 3, padding=1), *blocks())
        self.decoder = nn.Sequential(*blocks(), nn.Conv1d(width, self.bands, 3, padding=1))

    def target(self, x: Tensor) -> Tensor:
        """Waveforms ``[b 1 t]`` of any length -> standardised log-mel ``[b bands ceil(t/hop)]``."""
        return (self.front(x) - self.mean) / self.std

    def loss(self, decoded: Tensor, features: Tensor) -> LossOutput:
        """Term ``l1``."""
        l1 = (decoded.float() - features).abs().mean()
        return LossOutput(l1, {"l1": l1.detach()})

    def log_mel(self, decoded: Tensor) -> Tensor:
        """What is decoded, as log10-mel power ``[b bands t]``, float32."""
        return decoded.float() * self.std + self.mean

    def signal(self, decoded: Tensor) -> Tensor:
        """What is decoded, as waveforms ``[b 1 t*hop]`` in [-1, 1]: their phases are made up (Griffin-Lim)."""
        return self.front.waveform(self.log_mel(decoded), self.griffin_lim)

    def look(self, data: TrainingData) -> None:
        """Sets mean and standard deviation, over all bands and frames of one crop of every training clip.

        Of 4,096 evenly spread clips where there are more. The silence around short clips counts: the network sees it.

        Raises `UserError`: all of it is silence.
        """
        with own_draws(), torch.no_grad():
            rows = spread(len(data), _LOOKED_AT, data.device)
            spectra = torch.cat([self.front(data.batch(part).x).flatten() for part in rows.split(_BATCH)])
        std, mean = torch.std_mean(spectra.double(), correction=0)
        if std == 0:
            raise UserError(
                f"{data.name}: every training clip is silent (below model.autoencoder.floor={self.floor}); "
                "check the files, or lower the floor"
            )
        self.mean.copy_(mean)
        self.std.copy_(std)
