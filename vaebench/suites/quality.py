"""PSNR, SSIM and LPIPS of reconstructed images over a set, shared by the suites that reconstruct."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaebench.contracts import Measurement
from vaebench.data.images import ImageData
from vaebench.metrics.image import mean_psnr, mse_per_image, ssim_per_image
from vaebench.nn.pretrained import lpips
from vaebench.suites.common import EightBits, eight_bits, in_eight_bits

_SIDE = 11  # pixels: SSIM's window
_WINDOW = {"window": f"gaussian {_SIDE}x{_SIDE}"}
_PROTOCOLS: dict[str, dict[str, Any]] = {
    "l1": {"data_range": 1},
    "ssim_valid": {"data_range": 1, "border": "valid", **_WINDOW},
    "ssim_reflect": {"data_range": 1, "border": "reflect", **_WINDOW},
    "lpips": {"network": "vgg"},
}


class ImageQuality:
    """Collects batches of test images of one size and their reconstructions.

    ``perceptual``: what measures LPIPS; None: not measured. ``stored``: how reconstructions are brought to 8 bits
    (`eight_bits`) for the squared error and PSNR; None: they are not. SSIM is left out of images smaller than its
    window, and everything where a reconstruction holds NaN or infinity: no mean over the others stands for the model.
    """

    def __init__(self, *, perceptual: lpips.LPIPS | None, stored: EightBits | None = None) -> None:
        self.perceptual = perceptual
        self.stored = stored
        self.left_out: dict[str, str] = {}
        self._values: dict[str, list[Tensor]] = {}
        self._diverged = 0

    def add(self, x: Tensor, y: Tensor) -> None:
        """A batch of images ``[b c h w]`` in [0, 1] and their reconstructions."""
        self._diverged += int((~y.isfinite()).flatten(1).any(1).sum())
        found = {"mse": mse_per_image(x, eight_bits(y, self.stored)), "l1": (x - y).abs().mean((1, 2, 3))}
        if min(x.shape[2:]) < _SIDE:
            why = f"its window needs {_SIDE}x{_SIDE} pixels, the images have {x.shape[2]}x{x.shape[3]}"
            self.left_out = dict.fromkeys(("ssim_valid", "ssim_reflect"), why)
        else:
            found["ssim_valid"] = ssim_per_image(x, y, border="valid")
            found["ssim_reflect"] = ssim_per_image(x, y, border="reflect")
        if self.perceptual is not None:
            found["lpips"] = self.perceptual(x, y.clamp(0, 1))
        for name, values in found.items():
            self._values.setdefault(name, []).append(values)

    def measurements(self) -> tuple[Measurement, ...]:
        """Means over images, data range 1: squared error, PSNR (also of the set), L1, SSIM by border rule, LPIPS.

        What is not among them is in `left_out`.
        """
        found = {name: torch.cat(values).double() for name, values in self._values.items()}
        count = len(found["mse"])
        if self._diverged:
            why = f"{self._diverged} of {count} reconstructions hold NaN or infinity; the model has diverged"
            self.left_out |= dict.fromkeys(("psnr", "psnr_set", *found), why)
            return ()
        errors = found.pop("mse")
        psnr, exact = mean_psnr(errors)
        pixels = {"data_range": 1, **in_eight_bits(self.stored)}
        of_set, none_differs = mean_psnr(errors.mean()[None])
        values: dict[str, tuple[float, str, dict[str, Any]]] = {
            "mse": (float(errors.mean()), "", pixels),
            "psnr": (psnr, "dB", {**pixels, "average": "images", **exact}),
            "psnr_set": (of_set, "dB", {**pixels, "average": "set", **(exact if none_differs else {})}),
        }
        values |= {name: (float(each.mean()), "", _PROTOCOLS[name]) for name, each in found.items()}
        return tuple(
            Measurement(name, value, count, unit, {"split": "test", **protocol})
            for name, (value, unit, protocol) in values.items()
        )


def perceptual_distance(data: ImageData, device: torch.device) -> lpips.LPIPS | None:
    """LPIPS on ``device`` where its weights are at hand and the images are large enough for it."""
    if min(data.shape[1:]) < lpips.SMALLEST_SIDE or not lpips.available():
        return None
    return lpips.load().to(device)
