"""Reconstruction of the test images: PSNR and SSIM, each under the two rules that are in use."""

from __future__ import annotations

import torch

from vaebench.contracts import Measurement, Reconstructs, SuiteInputs, SuiteResult
from vaebench.metrics.image import mse_per_image, psnr_from_mse, ssim_per_image
from vaebench.suites.common import batches, one_per_class, picture


class Reconstruction:
    """PSNR and SSIM (data range 1) between test images and ``decode(encode(x))``.

    ``psnr``: mean over images of the image's PSNR. ``psnr_set``: PSNR of the mean squared error of the set.
    ``ssim_valid``: 11x11 Gaussian window inside the image only (Wang et al.; scikit-image). ``ssim_reflect``: the image
    padded by reflection (torchmetrics since 1.5).
    """

    requires = (Reconstructs,)
    needs_classifier = False

    def __init__(self, *, batch_size: int) -> None:
        self.batch_size = batch_size

    def run(self, inputs: SuiteInputs) -> SuiteResult:
        """Measure ``inputs.model``."""
        model, images = inputs.model, inputs.data.test_x
        mse, valid, reflect = [], [], []
        for x in batches(images, self.batch_size):
            y = model.decode(model.encode(x))
            mse.append(mse_per_image(x, y))
            valid.append(ssim_per_image(x, y, border="valid"))
            reflect.append(ssim_per_image(x, y, border="reflect"))
            inputs.track(sum(map(len, mse)), len(images))
        errors = torch.cat(mse).double()
        values = {
            "mse": (float(errors.mean()), "", {}),
            "psnr": (float(psnr_from_mse(errors).mean()), "dB", {"average": "images"}),
            "psnr_set": (float(psnr_from_mse(errors.mean())), "dB", {"average": "set"}),
            "ssim_valid": (
                float(torch.cat(valid).double().mean()),
                "",
                {"border": "valid", "window": "gaussian 11x11"},
            ),
            "ssim_reflect": (
                float(torch.cat(reflect).double().mean()),
                "",
                {"border": "reflect", "window": "gaussian 11x11"},
            ),
        }
        rows = one_per_class(inputs.data)
        shown = images[rows.to(images.device)].float().div(255)
        return SuiteResult(
            tuple(
                Measurement(name, value, len(images), unit, {"split": "test", "data_range": 1, **protocol})
                for name, (value, unit, protocol) in values.items()
            ),
            {"inputs": picture(shown), "reconstructions": picture(model.decode(model.encode(shown)))},
        )
