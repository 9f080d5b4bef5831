"""An autoencoder of log-mel spectra: one token per frame."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaebench.config.signatures import Count, CountOrNone, Positive, multiple_of, require
from vaebench.contracts import LossOutput, TrainingData
from vaebench.errors import UserError
from vaebench.nn.audio.mel import LogMel, Window
from vaebench.nn.networks.levels import Residual, normalised
from vaebench.nn.sampling import own_draws, spread

_LOOKED_AT = 4096  # clips, at most, for the mean and standard deviation
_BATCH = 64


class MelAutoencoder(nn.Module):
    """Waveforms -> standardised log-mel spectra -> ``width`` channels per frame, and back.

    Encoder: conv3, two `Residual` with a conv1 at the end, GN, SiLU; the decoder mirrors it. L1 on the standardised
    spectra. ``sample_rate`` in Hz; ``n_fft``, ``hop``, ``bands`` and ``floor`` are those of `LogMel`; ``groups`` of the
    normalisations divide ``width``. ``griffin_lim``: iterations on the way to a waveform.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        sample_rate: int,
        width: Count,
        groups: Count,
        n_fft: Window,
        hop: Count,
        bands: Count,
        floor: Positive,
        griffin_lim: CountOrNone,
    ) -> None:
        super().__init__()
        require(multiple_of("model.autoencoder.width", width, groups, "model.autoencoder.groups"))
        self.width = width
        self.griffin_lim = griffin_lim
        self.front = LogMel(sample_rate=sample_rate, n_fft=n_fft, hop=hop, bands=bands, floor=floor)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

        def blocks() -> list[nn.Module]:
            return [*(Residual(width, groups, dimensions=1, last=1) for _ in range(2)), *normalised(width, groups)]

        self.encoder = nn.Sequential(nn.Conv1d(bands, width, 3, padding=1), *blocks())
        self.decoder = nn.Sequential(*blocks(), nn.Conv1d(width, bands, 3, padding=1))

    def target(self, x: Tensor) -> Tensor:
        """Waveforms ``[b 1 t]`` of any length -> standardised log-mel ``[b bands ceil(t/hop)]``."""
        log_mel: Tensor = self.front(x)
        return (log_mel - self.mean) / self.std

    def encode(self, features: Tensor) -> Tensor:
        """``[b bands t]`` -> ``[b width t]``."""
        h: Tensor = self.encoder(features)
        return h

    def decode(self, h: Tensor) -> Tensor:
        """``[b width t]`` -> ``[b bands t]``."""
        decoded: Tensor = self.decoder(h.contiguous())
        return decoded

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

        Raises:
            UserError: all of it is silence.
        """
        with own_draws(), torch.no_grad():
            rows = spread(len(data), _LOOKED_AT, data.device)
            spectra = torch.cat([self.front(data.batch(part).x).flatten() for part in rows.split(_BATCH)])
        std, mean = torch.std_mean(spectra.double(), correction=0)
        if std == 0:
            raise UserError(
                f"{data.name}: every training clip is silent (below model.autoencoder.floor={self.front.floor}); "
                "check the files, or lower the floor"
            )
        self.mean.copy_(mean)
        self.std.copy_(std)
