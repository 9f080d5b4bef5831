"""How far the mask of one batch is from the moving average's (BatchTopK-VAE): does the average matter at test time?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vaebench.config.signatures import Count
from vaebench.contracts import MasksLatents, Measurement, Reconstructs, SuiteInputs, SuiteResult
from vaebench.errors import UserError
from vaebench.metrics.image import mean_psnr, mse_per_image
from vaebench.suites.common import batches, image_data


@dataclass(frozen=True, kw_only=True)
class Masks:
    """Jaccard overlap |A and B| / |A or B| of each test batch's own mask with the EMA mask, for several batch sizes.

    ``jaccard@n``: mean over the batches of ``n`` consecutive test images (at most ``max_batches`` of them).
    ``psnr@batch_mask``, ``psnr@ema_mask``: mean over images of the PSNR when batches of ``psnr_batch`` use either mask.
    """

    requires = (MasksLatents, Reconstructs)
    needs_classifier = False

    batch_sizes: Sequence[Count]
    psnr_batch: Count
    max_batches: Count

    def __post_init__(self) -> None:
        if not self.batch_sizes or len({*self.batch_sizes}) < len(self.batch_sizes):
            raise UserError(f"suite.batch_sizes={list(self.batch_sizes)}: expected at least one, each once")

    def run(self, inputs: SuiteInputs) -> SuiteResult:
        """Measure ``inputs.model``."""
        model, images = inputs.model, image_data(inputs, "masks").test_x
        ema, found = model.ema_mask(), list[Measurement]()
        for size in self.batch_sizes:
            used = images[: size * self.max_batches]
            masks = [model.batch_mask(x) for x in batches(used, size)]
            overlaps = torch.stack([(mask & ema).sum() / (mask | ema).sum() for mask in masks])
            protocol = {"batch_size": size, "batches": len(masks), "split": "test"}
            found.append(Measurement(f"jaccard@{size}", float(overlaps.double().mean()), len(used), "", protocol))
        used = images[: self.psnr_batch * self.max_batches]
        for name in ("batch_mask", "ema_mask"):
            errors = []
            for x in batches(used, self.psnr_batch):
                mask = model.batch_mask(x) if name == "batch_mask" else ema
                errors.append(mse_per_image(x, model.decode(model.encode_masked(x, mask))))
            value, exact = mean_psnr(torch.cat(errors))
            protocol = {"batch_size": self.psnr_batch, "average": "images", "split": "test", **exact}
            found.append(Measurement(f"psnr@{name}", value, len(used), "dB", protocol))
        arrays = {"importance": model.importance_ema().cpu().numpy(), "mask": ema.cpu().numpy()}
        return SuiteResult(tuple(found), arrays)
