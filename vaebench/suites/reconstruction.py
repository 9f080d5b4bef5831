"""Reconstruction of the test images: PSNR and SSIM, each under the two rules that are in use; L1 and LPIPS."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vaebench.config.signatures import Count
from vaebench.contracts import SuiteInputs, SuiteResult
from vaebench.suites.common import (
    Code,
    EightBits,
    coded_by,
    encoder,
    image_data,
    in_code,
    one_per_class,
    reconstructed,
    walk,
)
from vaebench.suites.quality import ImageQuality, perceptual_distance


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """PSNR, SSIM, L1 (data range 1) and LPIPS between test images and ``decode(encode(x))``.

    ``psnr``: mean over images of the image's PSNR, infinite with one exact image: ``infinite`` in the protocol says how
    many are. ``psnr_set``: PSNR of the mean squared error of the set. ``ssim_valid``: 11x11 Gaussian window inside the
    image only (Wang et al.; scikit-image). ``ssim_reflect``: the image padded by reflection (torchmetrics since 1.5).
    Both are left out of smaller images. ``l1``: mean absolute difference. ``lpips`` where its weights are at hand and
    the images have at least 16 x 16 pixels. ``eight_bits``: whether and how reconstructions are brought to 8 bits for
    the squared error and PSNR. ``code``: ``draw`` has a draw of the posterior in place of the model's own code.
    """

    needs_classifier = False

    batch_size: Count
    eight_bits: EightBits | None
    code: Code | None

    @property
    def requires(self) -> tuple[type, ...]:
        """Encoding and decoding."""
        return coded_by(self.code)

    def run(self, inputs: SuiteInputs) -> SuiteResult:
        """Measure ``inputs.model``."""
        model, data = inputs.model, image_data(inputs, "reconstruction")
        encode = encoder(model, self.code)
        quality = ImageQuality(perceptual=perceptual_distance(data, inputs.device), stored=self.eight_bits)
        for x in walk(inputs, data.test_x, self.batch_size):
            quality.add(x, model.decode(encode(x)))
        found = (replace(one, protocol={**one.protocol, **in_code(self.code)}) for one in quality.measurements())
        pictures = reconstructed(inputs, data.test_x, one_per_class(data), self.code)
        return SuiteResult(tuple(found), pictures, quality.left_out)
