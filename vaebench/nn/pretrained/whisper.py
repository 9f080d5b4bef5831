"""A distance of speech in the features of Whisper's encoder (Radford et al., arXiv 2212.04356)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.compat import ensure_torchvision, need
from vaebench.errors import UserError
from vaebench.nn import across, precision
from vaebench.nn.pretrained import hub
from vaebench.nn.pretrained.frozen import Frozen

SAMPLE_RATE = 16_000
LARGEST = 5.0
_N_FFT, _HOP = 400, 160  # of all of Whisper's models
_FRAMES_PER_FEATURE = 2


class WhisperDistance:
    """Waveforms a, b -> mean over features in time of ``|f(a) - f(b)|^2``, at most `LARGEST`.

    ``source``: a folder that transformers saved, or a name on the Hugging Face hub (``openai/whisper-tiny.en``). As in
    the training code of L3AC (arXiv 2504.04949) clips are brought to the encoder's window (30 s) with silence, which
    counts, and a larger distance is scaled down to `LARGEST`, so that its gradient keeps its direction.

    Raises `UserError`: the encoder cannot be loaded; says why.
    """

    def __init__(self, source: str) -> None:
        self.encoder = Frozen(_Encoder(*_loaded(source)))

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """``[b t]`` each, in [-1, 1] at `SAMPLE_RATE` -> a float32 scalar; differentiable in ``a``."""
        with torch.no_grad():
            wanted = self.encoder(b)
        distance = (self.encoder(a) - wanted).square().sum(-1).mean()
        return distance * (LARGEST / across.mean(distance.detach()).clamp_min(LARGEST))


class _Encoder(nn.Module):
    """Waveforms to features: Whisper's log-mel spectrum, then its encoder."""

    window: Tensor
    filters: Tensor

    def __init__(self, encoder: nn.Module, filters: Tensor, features: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.samples = features * _FRAMES_PER_FEATURE * _HOP
        self.register_buffer("window", torch.hann_window(_N_FFT))
        self.register_buffer("filters", filters)

    def forward(self, x: Tensor) -> Tensor:
        """``[b t]`` -> float32 ``[b features width]``; beyond the encoder's window nothing is heard."""
        with precision.full(x.device):
            x = F.pad(x.float(), (0, max(0, self.samples - x.shape[-1])))[:, : self.samples]
            spectrum = torch.stft(x, _N_FFT, hop_length=_HOP, window=self.window, return_complex=True)[..., :-1]
            log_mel = (self.filters @ spectrum.abs().square()).clamp_min(1e-10).log10()
            log_mel = torch.maximum(log_mel, log_mel.amax((1, 2), keepdim=True) - 8)
        features: Tensor = self.encoder((log_mel + 4) / 4).last_hidden_state
        return features.float()


def _loaded(source: str) -> tuple[nn.Module, Tensor, int]:
    """The encoder, its mel filters ``[bands 201]`` and the number of its features."""
    need(f"model.autoencoder.whisper={source}", ["transformers"], "language", ", or take whisper: null")
    ensure_torchvision()
    from transformers import WhisperFeatureExtractor, WhisperModel

    try:
        with hub.quiet():
            model = WhisperModel.from_pretrained(source)
    except Exception as error:  # a folder or the hub can fail in many ways
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"model.autoencoder.whisper={source}: cannot be loaded ({reason}); "
            "give a folder that transformers saved, or a name on the Hugging Face hub, or null"
        ) from error
    extractor = WhisperFeatureExtractor(feature_size=model.config.num_mel_bins)
    filters = torch.from_numpy(extractor.mel_filters).float().T.contiguous()
    return model.get_encoder(), filters, model.config.max_source_positions
