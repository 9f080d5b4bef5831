"""PSNR and SSIM against torchmetrics, scikit-image and a loop over windows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench.compat import ensure_torchvision
from vaebench.errors import UserError
from vaebench.metrics.image import mse_per_image, psnr_from_mse, ssim_per_image

SHAPES = [(5, 1, 28, 28), (3, 3, 32, 32), (2, 2, 11, 11), (2, 1, 13, 40), (1, 3, 64, 61)]


def pair(shape: tuple[int, ...], noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """Smooth images with saturated regions, as digits have, and noisy copies."""
    generator = torch.Generator().manual_seed(sum(shape))
    coarse = torch.rand(shape[0], shape[1], 7, 7, generator=generator)
    x = ((F.interpolate(coarse, size=shape[2:], mode="bilinear") - 0.4) * 3).clamp(0, 1)
    return x, (x + noise * torch.randn(shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_ssim_reflect_is_that_of_torchmetrics(shape):
    ensure_torchvision()
    from torchmetrics.functional.image import structural_similarity_index_measure

    x, y = pair(shape)
    theirs = structural_similarity_index_measure(x.double(), y.double(), data_range=1.0, reduction="none")
    torch.testing.assert_close(ssim_per_image(x, y, border="reflect"), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_ssim_valid_is_that_of_scikit_image(shape):
    metrics = pytest.importorskip("skimage.metrics")
    x, y = pair(shape)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    theirs = [
        metrics.structural_similarity(a, b, channel_axis=0, **options)
        for a, b in zip(x.double().numpy(), y.double().numpy(), strict=True)
    ]
    torch.testing.assert_close(ssim_per_image(x, y, border="valid"), torch.tensor(theirs), rtol=0, atol=1e-12)


def test_ssim_valid_is_the_mean_over_windows_of_the_formula():
    x, y = pair((1, 1, 12, 13), noise=0.3)
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(line, line) / np.outer(line, line).sum()
    a, b = x[0, 0].double().numpy(), y[0, 0].double().numpy()
    values = []
    for i in range(2):
        for j in range(3):
            p, q = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mp, mq = (weights * p).sum(), (weights * q).sum()
            vp, vq = (weights * (p - mp) ** 2).sum(), (weights * (q - mq) ** 2).sum()
            cov = (weights * (p - mp) * (q - mq)).sum()
            values.append((2 * mp * mq + 1e-4) * (2 * cov + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
    assert ssim_per_image(x, y, border="valid").item() == pytest.approx(np.mean(values), abs=1e-12)


@pytest.mark.parametrize("border", ["valid", "reflect"])
def test_ssim_of_equal_images_is_one_and_it_is_symmetric(border):
    x, y = pair((4, 3, 28, 28))
    assert torch.equal(ssim_per_image(x, x, border=border), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(ssim_per_image(x, y, border=border), ssim_per_image(y, x, border=border))


def test_ssim_of_flat_images_is_the_luminance_term():
    x, y = torch.full((1, 1, 16, 16), 0.25), torch.full((1, 1, 16, 16), 0.75)
    expected = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    assert ssim_per_image(x, y, border="reflect").item() == pytest.approx(expected, abs=1e-12)


def test_ssim_of_many_images_does_not_depend_on_the_batch():
    x, y = pair((150, 1, 28, 28))
    alone = torch.cat([ssim_per_image(x[i : i + 1], y[i : i + 1], border="valid") for i in range(0, 150, 30)])
    torch.testing.assert_close(ssim_per_image(x, y, border="valid")[::30], alone, rtol=0, atol=1e-14)
    assert ssim_per_image(x.transpose(2, 3), y.transpose(2, 3), border="valid").shape == (150,)


def test_ssim_refuses_small_images_and_unknown_borders():
    x, y = pair((2, 1, 10, 28))
    with pytest.raises(UserError, match="at least 11x11 pixels, these are 10x28"):
        ssim_per_image(x, y, border="valid")
    x, y = pair((2, 1, 28, 28))
    with pytest.raises(UserError, match="unknown SSIM border 'relfect'; did you mean 'reflect'"):
        ssim_per_image(x, y, border="relfect")
    with pytest.raises(ValueError, match="one shape"):
        ssim_per_image(x, y[:1], border="valid")


def test_psnr_per_image_is_that_of_scikit_image_and_torchmetrics():
    metrics = pytest.importorskip("skimage.metrics")
    ensure_torchvision()
    from torchmetrics.functional.image import peak_signal_noise_ratio

    x, y = pair((6, 3, 20, 9))
    loop = [metrics.peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    torch.testing.assert_close(psnr_from_mse(mse_per_image(x, y)), torch.tensor(loop, dtype=torch.float32))
    of_set = peak_signal_noise_ratio(y, x, data_range=1.0)
    assert psnr_from_mse(mse_per_image(x, y).mean()).item() == pytest.approx(of_set.item(), abs=1e-4)


def test_mse_and_psnr_in_closed_form():
    x = torch.zeros(2, 1, 4, 4)
    y = torch.stack((torch.full((1, 4, 4), 0.1), torch.zeros(1, 4, 4)))
    torch.testing.assert_close(mse_per_image(x, y), torch.tensor([0.01, 0.0]))
    torch.testing.assert_close(psnr_from_mse(mse_per_image(x, y)), torch.tensor([20.0, math.inf]))
    torch.testing.assert_close(psnr_from_mse(torch.tensor([0.001, 0.0])), torch.tensor([30.0, math.inf]))
    with pytest.raises(ValueError, match="one shape"):
        mse_per_image(x, y[0])
