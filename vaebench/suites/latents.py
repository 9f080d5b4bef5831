"""The latents of a set of images, and how far each channel spreads; shared by the suites that look at latents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vaebench.contracts import GivesLatents
from vaebench.metrics.finite import require_finite
from vaebench.suites.common import batches


@dataclass(frozen=True)
class Latents:
    """``values``: the means of q(z|x) of n images, float32 ``[n l h w]``; ``mean``, ``std``: of each channel.

    These are over images and positions, float32 ``[l 1 1]``; the (population) deviation is 0 where a channel does not
    vary. All on the CPU: the latents of a large set are larger than the set.
    """

    values: Tensor
    mean: Tensor
    std: Tensor

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w)."""
        return self.values.shape[2], self.values.shape[3]

    def standardised(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """``[n l h w]`` (or ``rows`` of them) with mean 0 and deviation 1 per channel; 0 where one does not vary."""
        return (self.values[rows] - self.mean) / torch.where(self.std > 0, self.std, 1.0)


@torch.no_grad()
def latents_of(model: GivesLatents, images: Tensor, batch_size: int, device: torch.device) -> Latents:
    """Latents of ``images``, uint8 ``[n c h w]``. Raises `UserError` for latents that are not finite."""
    found = [model.latent_moments(x.to(device))[0].float().cpu() for x in batches(images, batch_size)]
    values = torch.cat(found)
    require_finite(values, "latents")
    # One channel at a time in float64; a constant one has a deviation of exactly 0.
    moments = [torch.var_mean(channel.double(), correction=0) for channel in values.unbind(1)]
    variance, mean = (torch.stack(each)[:, None, None] for each in zip(*moments, strict=True))
    return Latents(values, mean.float(), variance.sqrt().float())
