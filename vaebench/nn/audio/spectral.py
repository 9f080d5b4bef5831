"""A distance of waveforms in spectra of several resolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vaebench.nn import precision

SIZES = (32, 64, 128, 256, 512, 1024)
_SMALLEST = 1e-5  # magnitudes below it are equal on the logarithmic scale


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
