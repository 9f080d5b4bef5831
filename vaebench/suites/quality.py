"""PSNR and SSIM of reconstructed images over a set, shared by the suites that reconstruct."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench.contracts import Measurement, SuiteInputs
from vaebench.data.images import ImageData
from vaebench.errors import UserError
from vaebench.metrics.image import mse_per_image, psnr_from_mse, ssim_per_image

SMALLEST_SSIM_SIDE = 11  # pixels: its window


class ImageQuality:
    """Collects batches of test images and their reconstructions; ``ssim``: whether SSIM is among the measurements."""

    def __init__(self, *, ssim: bool) -> None:
        self.ssim = ssim
        self._mse: list[Tensor] = []
        self._valid: list[Tensor] = []
        self._reflect: list[Tensor] = []

    def __len__(self) -> int:
        """How many images there are so far."""
        return sum(map(len, self._mse))

    def add(self, x: Tensor, y: Tensor) -> None:
        """A batch of images ``[b c h w]`` in [0, 1] and their reconstructions. Errors as those of `ssim_per_image`."""
        self._mse.append(mse_per_image(x, y))
        if self.ssim:
            self._valid.append(ssim_per_image(x, y, border="valid"))
            self._reflect.append(ssim_per_image(x, y, border="reflect"))

    def measurements(self) -> tuple[Measurement, ...]:
        """Mean squared error, PSNR by image and of the set, SSIM under both border rules (data range 1)."""
        errors = torch.cat(self._mse).double()
        values = {
            "mse": (float(errors.mean()), "", {}),
            "psnr": (float(psnr_from_mse(errors).mean()), "dB", {"average": "images"}),
            "psnr_set": (float(psnr_from_mse(errors.mean())), "dB", {"average": "set"}),
        }
        for border, found in {"valid": self._valid, "reflect": self._reflect}.items():
            if found:
                mean = float(torch.cat(found).double().mean())
                values[f"ssim_{border}"] = (mean, "", {"border": border, "window": "gaussian 11x11"})
        return tuple(
            Measurement(name, value, len(errors), unit, {"split": "test", "data_range": 1, **protocol})
            for name, (value, unit, protocol) in values.items()
        )


def image_data(inputs: SuiteInputs, suite: str) -> ImageData:
    """The data of a suite that works on images only. Raises `UserError` if it is none."""
    if isinstance(inputs.data, ImageData):
        return inputs.data
    raise UserError(f"suite {suite} needs images, {inputs.data.name} holds audio; use suite=tokens")
