"""PSNR and SSIM of single images in [0, 1]: one value per image, so that a mean comes with its spread.

SSIM's Gaussian filter is written as two banded matrices, one over rows and one over columns, because on small images a
matrix product is about ten times as fast as the equivalent convolution, even in float64.

Images are float ``[b c h w]`` in [0, 1]; `ValueError` is raised for two batches that are not of one such shape.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from vaebench.errors import UserError, unknown

Border = Literal["valid", "reflect"]

_TAPS, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2  # (K1 range)^2 and (K2 range)^2
_CHUNK_PIXELS = 1 << 15  # pixels at a time: the four float64 maps and what is made of them stay in the CPU's cache


def mse_per_image(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared error of each image, ``[b]``, at least 0, in squared units of the images."""
    _check(x, y)
    return (x - y).square().mean((1, 2, 3))


def psnr_from_mse(mse: Tensor) -> Tensor:
    """``10 log10(1 / mse)`` in dB for images of range 1; infinite where ``mse`` is 0, NaN where it is NaN.

    The mean over images is at least the PSNR of their mean error (Jensen): say which of them is meant.
    """
    return -10 * mse.log10()


def mean_psnr(mse: Tensor) -> tuple[float, dict[str, int]]:
    """The mean over images of the PSNR in dB, from their squared errors ``[n]``, and what its protocol has to say.

    Infinite with one exact image, as with scikit-image and torchmetrics; then ``infinite``: how many are exact.
    """
    exact = int((mse == 0).sum())
    return float(psnr_from_mse(mse.double()).mean()), {"infinite": exact} if exact else {}


def ssim_per_image(x: Tensor, y: Tensor, *, border: Border) -> Tensor:
    """Structural similarity of each image: 11-tap Gaussian of sigma 1.5, K1 = 0.01, K2 = 0.03, mean over channels.

    ``border`` moves the mean visibly on small images, so it is always named. ``valid`` averages over the windows that
    lie within the image (Wang et al. 2004; scikit-image with Gaussian weights); ``reflect`` over windows around every
    pixel, the image mirrored about its edge pixels (the default of torchmetrics 1.9).

    Returns ``[b]`` float64 in [-1, 1] (float32 on MPS, which has no float64). Raises `UserError` for images smaller
    than the window, 11 by 11 pixels, and for another border.
    """
    _check(x, y)
    b, c, h, w = x.shape
    if min(h, w) < _TAPS:
        raise UserError(f"SSIM needs images of at least {_TAPS}x{_TAPS} pixels, these are {h}x{w}")
    if border not in ("valid", "reflect"):
        raise UserError(unknown("SSIM border", border, ("valid", "reflect")))
    dtype = torch.float32 if x.device.type == "mps" else torch.float64
    rows = _filter_matrix(h, border, dtype, x.device)
    columns = _filter_matrix(w, border, dtype, x.device).T
    chunk = max(1, _CHUNK_PIXELS // (h * w))
    planes = (t.reshape(b * c, h, w).split(chunk) for t in (x, y))
    means = [_ssim(one.to(dtype), other.to(dtype), rows, columns) for one, other in zip(*planes, strict=True)]
    return torch.cat(means).view(b, c).mean(1)


def _ssim(x: Tensor, y: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Mean SSIM ``[n]`` of planes ``[n h w]``.

    Local means m and variances v of s = x + y and d = x - y give 4 mx my = ms^2 - md^2, 2 (mx^2 + my^2) = ms^2 + md^2
    and likewise covariance and variances: four filtered maps instead of five, and less cancellation where x ~ y.
    """
    s, d = x + y, x - y
    filtered = rows @ (torch.stack((s, d, s * s, d * d)) @ columns)
    squared_mean = filtered[:2].square()
    variance = (filtered[2:] - squared_mean).clamp(min=0)
    (ms, md), (vs, vd) = squared_mean, variance
    index = (ms - md + 2 * _C1) * (vs - vd + 2 * _C2) / ((ms + md + 2 * _C1) * (vs + vd + 2 * _C2))
    return index.mean((1, 2))


@lru_cache(maxsize=32)
def _filter_matrix(size: int, border: Border, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The Gaussian filter along an axis of ``size`` pixels, ``[outputs, size]``; every row sums to 1."""
    half = _TAPS // 2
    offsets = torch.arange(-half, half + 1)
    weights = torch.exp(offsets.double().square() / (-2 * _SIGMA**2))
    centres = torch.arange(size) if border == "reflect" else torch.arange(half, size - half)
    taps = (centres[:, None] + offsets).abs()  # mirrored about the first pixel, then about the last
    taps = torch.where(taps < size, taps, 2 * (size - 1) - taps)
    matrix = torch.zeros(len(centres), size, dtype=torch.float64)
    matrix.scatter_add_(1, taps, (weights / weights.sum()).expand(len(centres), _TAPS))
    return matrix.to(device, dtype)


def _check(x: Tensor, y: Tensor) -> None:
    if x.shape != y.shape or x.ndim != 4:
        raise ValueError(f"expected two batches of one shape [b c h w], got {tuple(x.shape)} and {tuple(y.shape)}")
