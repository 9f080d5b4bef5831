"""How near a reconstructed waveform is to the original: spectral distances, SI-SDR, STOI and PESQ.

Waveforms are float ``[t]`` in [-1, 1]. What is not defined for an item (a silent original, one too short) is ``None``:
leave it out of a mean and say how many were. Whether an item is left out depends on the original alone, so that no
model gains by failing on it.

``x`` is the original, ``y`` the reconstruction; `ValueError` is raised for two that are not of one shape.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vaebench.compat import need
from vaebench.errors import UserError

SDR_LIMIT = 60.0  # dB
STOI_SECONDS = 0.4  # 30 frames of 25.6 ms, half overlapping: less has no intermediate intelligibility
PESQ_SECONDS = 0.25
PESQ_BANDS = {8000: "narrow", 16000: "wide"}
# By band the package's name for it, and what ITU-T P.862.1 and P.862.2 map the lowest raw score, -0.5, to.
_PESQ_MODES = {
    "narrow": ("nb", 0.999 + 4 / (1 + math.exp(1.4945 * 0.5 + 4.6607))),
    "wide": ("wb", 0.999 + 4 / (1 + math.exp(1.3669 * 0.5 + 3.8224))),
}
_SILENCE = 1e-4  # a peak below it is silence: 16-bit audio ends at 3e-5
_FLOOR = 1e-7  # of the power behind a magnitude, before its logarithm


def log_spectral_distance(x: Tensor, y: Tensor) -> Tensor:
    """Mean over frames of the root mean square over bands of the difference in dB (``10 log10`` of power), at least 0.

    Both are log10 of power (mel or linear), float ``[... bands frames]`` -> float64 ``[...]``.
    """
    if x.shape != y.shape:
        raise ValueError(f"expected two log spectra of one shape, got {tuple(x.shape)} and {tuple(y.shape)}")
    return (10 * (x.double() - y.double())).square().mean(-2).sqrt().mean(-1)


def stft_distance(x: Tensor, y: Tensor, resolutions: Sequence[Sequence[int]]) -> float:
    """Multi-resolution STFT distance: spectral convergence plus the L1 distance of log magnitudes.

    Eq. 4-6 of Yamamoto et al. 2020 (arXiv 1910.11480): with magnitudes X of the original and Y, per resolution
    ``|X - Y|_F / |X|_F + mean |ln X - ln Y|``, averaged over the ``resolutions``: (FFT size, length of a Hann window,
    hop) in samples each. Frames are centred on samples, the signal goes on as silence; a power is at least 1e-7.
    """
    _check(x, y)
    found = []
    for size, window, hop in resolutions:
        a, b = (_magnitudes(signal, size, window, hop) for signal in (x, y))
        convergence = (a - b).norm() / a.norm()
        found.append(float(convergence + (a.log() - b.log()).abs().mean()))
    return sum(found) / len(found)


def si_sdr(x: Tensor, y: Tensor) -> float | None:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019, arXiv 1811.02508), means not removed.

    ``10 log10(|a x|^2 / |a x - y|^2)`` with ``a = <x, y> / <x, x>``, cut to ±60 dB: a copy is 60, silence and what is
    orthogonal to the original -60. None where the original is silent, NaN where either holds NaN or infinity.
    """
    _check(x, y)
    if not _finite(x, y):
        return math.nan  # what is cut to a limit below would be the limit
    if is_silent(x):
        return None
    x, y = x.double(), y.double()
    target = (x @ y) / (x @ x) * x
    signal, distortion = float(target @ target), float((target - y) @ (target - y))
    if signal == 0:
        return -SDR_LIMIT
    if distortion == 0:
        return SDR_LIMIT
    return min(SDR_LIMIT, max(-SDR_LIMIT, 10 * math.log10(signal / distortion)))


def stoi(x: Tensor, y: Tensor, sample_rate: int) -> float | None:
    """Short-time objective intelligibility (Taal et al. 2011), by the package pystoi, which resamples to 10 kHz.

    Mostly in [0, 1]; None where the original is silent or has less than 0.4 s that are not, NaN where either holds NaN
    or infinity. Raises `UserError` if pystoi is not installed.
    """
    _check(x, y)
    need("STOI", ["pystoi"], "speech", ", or leave STOI out")
    if not _finite(x, y):
        return math.nan
    if is_silent(x) or len(x) < STOI_SECONDS * sample_rate:
        return None
    from pystoi import stoi as measure

    with warnings.catch_warnings():
        # pystoi drops the silent frames of the original, and warns where too few are left.
        warnings.filterwarnings("error", message="Not enough STFT frames", category=RuntimeWarning)
        try:
            return float(measure(x.double().cpu().numpy(), y.double().cpu().numpy(), sample_rate))
        except RuntimeWarning:
            return None


def pesq(x: Tensor, y: Tensor, sample_rate: int) -> float | None:
    """Perceptual evaluation of speech quality by the package pesq: narrow-band (P.862.1) at 8 kHz, wide-band at 16 kHz.

    The scale of wide-band (P.862.2) is another one: do not compare the two. A mean opinion score, 1.0 to 4.6; a silent
    reconstruction gets the lowest value of the scale. None where no utterance is found in the original or it is below
    0.25 s, NaN where either holds NaN or infinity. Raises `UserError` for another sample rate, or without pesq.
    """
    _check(x, y)
    need("PESQ", ["pesq"], "speech", ", or leave PESQ out")
    if sample_rate not in PESQ_BANDS:
        raise UserError(f"PESQ needs audio at 8000 or 16000 Hz, this is at {sample_rate}; leave PESQ out")
    if not _finite(x, y):
        return math.nan
    if is_silent(x) or len(x) < PESQ_SECONDS * sample_rate:
        return None
    import pesq as package

    original, other = x.float().cpu().numpy(), y.float().cpu().numpy()
    mode, lowest = _PESQ_MODES[PESQ_BANDS[sample_rate]]
    try:
        if is_silent(y):  # the package divides by a level: its answer would be an error
            package.pesq(sample_rate, original, original, mode)
            return lowest
        return float(package.pesq(sample_rate, original, other, mode))
    except (package.NoUtterancesError, package.BufferTooShortError):
        return None


def is_silent(x: Tensor) -> bool:
    """Whether a waveform stays below 1e-4, three steps of 16-bit audio; an empty one does."""
    return not x.numel() or float(x.abs().max()) < _SILENCE


def _finite(x: Tensor, y: Tensor) -> bool:
    return bool(x.isfinite().all() and y.isfinite().all())


def _magnitudes(x: Tensor, size: int, window: int, hop: int) -> Tensor:
    shape = torch.hann_window(window, device=x.device, dtype=torch.float64)
    padded = F.pad(x.double(), (size // 2, size // 2))
    spectrum = torch.stft(padded, size, hop, window, shape, center=False, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square()).clamp(min=_FLOOR).sqrt()


def _check(x: Tensor, y: Tensor) -> None:
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"expected two waveforms of one shape [t], got {tuple(x.shape)} and {tuple(y.shape)}")
