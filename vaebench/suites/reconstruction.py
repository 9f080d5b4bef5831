"""Reconstruction of the test images: PSNR and SSIM, each under the two rules that are in use; L1 and LPIPS."""

from __future__ import annotations

from dataclasses import dataclass

from vaebench.config.signatures import Count
from vaebench.contracts import Reconstructs, SuiteInputs, SuiteResult
from vaebench.suites.common import EightBits, image_data, one_per_class, reconstructed, walk
from vaebench.suites.quality import ImageQuality, perceptual_distance


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """PSNR, SSIM, L1 (data range 1) and LPIPS between test images and ``decode(encode(x))``.

    ``psnr``: mean over images of the image's PSNR, infinite with one exact image: ``infinite`` in the protocol says how
    many are. ``psnr_set``: PSNR of the mean squared error of the set. ``ssim_valid``: 11x11 Gaussian window inside the
    image only (Wang et al.; scikit-image). ``ssim_reflect``: the image padded by reflection (torchmetrics since 1.5).
    Both are left out of smaller images. ``l1``: mean absolute difference. ``lpips`` where its weights are at hand and
    the images have at least 16 x 16 pixels. ``eight_bits``: whether and how reconstructions are brought to 8 bits for
    the squared error and PSNR.
    """

    requires = (Reconstructs,)
    needs_classifier = False

    batch_size: Count
    eight_bits: EightBits | None

    def run(self, inputs: SuiteInputs) -> SuiteResult:
        """Measure ``inputs.model``."""
        model, data = inputs.model, image_data(inputs, "reconstruction")
        quality = ImageQuality(perceptual=perceptual_distance(data, inputs.device), stored=self.eight_bits)
        for x in walk(inputs, data.test_x, self.batch_size):
            quality.add(x, model.decode(model.encode(x)))
        return SuiteResult(
            quality.measurements(), reconstructed(inputs, data.test_x, one_per_class(data)), quality.left_out
        )
