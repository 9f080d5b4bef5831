"""What codes cost: reconstruction with the codes and without them, and how far a latent is from its code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaebench.config.signatures import Count
from vaebench.contracts import EncodesContinuously, Measurement, Reconstructs, SuiteInputs, SuiteResult, Tokenizes
from vaebench.data.audio import AudioData
from vaebench.data.images import ImageData
from vaebench.errors import UserError
from vaebench.metrics.image import mse_per_image, psnr_from_mse
from vaebench.metrics.speech import log_spectral_distance
from vaebench.suites.common import walk
from vaebench.suites.tokens import own_front


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """Test items decoded from their codes, and from the same latents before they became codes.

    ``error``: root mean square of code minus latent over the latents' own spread, in the decoder's terms: 0 without
    codes, 1 for a single code at the mean. Images: ``psnr``, ``psnr_continuous`` (means over images) and
    ``psnr_lost``, their difference. Audio whose decoder makes log-mel spectra: ``lsd``, ``lsd_continuous``,
    ``lsd_gained``.
    """

    requires = (Tokenizes, Reconstructs, EncodesContinuously)
    needs_classifier = False

    batch_size: Count

    @torch.no_grad()
    def run(self, inputs: SuiteInputs) -> SuiteResult:
        """Measure ``inputs.model``. Raises `UserError` for audio that is not decoded by way of spectra."""
        data, spread = inputs.data, Spread()
        if isinstance(data, AudioData):
            name, change = "lsd", "lsd_gained"
            coded, continuous = _audio(inputs, data, spread)
        else:
            name, change = "psnr", "psnr_lost"
            coded, continuous = _images(inputs, data, spread, self.batch_size)
        with_codes, without = (float(values.double().mean()) for values in (coded, continuous))
        lost = with_codes - without if name == "lsd" else without - with_codes
        common: dict[str, Any] = {"split": "test", "average": "items", "codebook_size": inputs.model.codebook_size}
        exact = [int(items.isposinf().sum()) for items in (coded, continuous)]  # PSNR of an exact image
        values = {name: (with_codes, exact[0]), f"{name}_continuous": (without, exact[1]), change: (lost, sum(exact))}
        measured = [
            Measurement(key, value, len(coded), "dB", {**common, **({"infinite": n} if n else {})})
            for key, (value, n) in values.items()
        ]
        return SuiteResult((*measured, Measurement("error", spread.error(), spread.count, "", common)))


class Spread:
    """Adds up, in float64, how far codes are from latents and how far latents are from their mean."""

    def __init__(self) -> None:
        self.count = 0
        self._errors = torch.zeros((), dtype=torch.float64)
        self._squares = torch.zeros((), dtype=torch.float64)
        self._sum = torch.zeros((), dtype=torch.float64)  # of each dimension, once there is something

    def add(self, codes: Tensor, latents: Tensor) -> None:
        """Both ``[b d *grid]``."""
        q, z = (found.movedim(1, -1).reshape(-1, found.shape[1]).double().cpu() for found in (codes, latents))
        self.count += len(z)
        self._errors += (q - z).square().sum()
        self._squares += z.square().sum()
        self._sum = self._sum + z.sum(0)

    def error(self) -> float:
        """Root of (sum |q - z|^2 / sum |z - mean z|^2); 0 where the latents do not differ at all."""
        around = self._squares - self._sum.square().sum() / self.count
        return 0.0 if around <= 0 else float((self._errors / around).sqrt())


def _images(inputs: SuiteInputs, data: ImageData, spread: Spread, batch_size: int) -> tuple[Tensor, Tensor]:
    """PSNR of each test image with codes and without."""
    model, errors = inputs.model, list[Tensor]()
    for x in walk(inputs, data.test_x, batch_size):
        both = model.encode_both(x)
        spread.add(*both)
        errors.append(torch.stack([mse_per_image(x, model.decode(z)) for z in both]))
    coded, continuous = (psnr_from_mse(each.double()) for each in torch.cat(errors, 1))
    return coded, continuous


def _audio(inputs: SuiteInputs, data: AudioData, spread: Spread) -> tuple[Tensor, Tensor]:
    """Log-spectral distance of each test clip with codes and without, from spectra without any code in their way."""
    model, front = inputs.model, None
    distances = []
    for row in range(len(data.test)):
        x = data.test.item(row)[None].to(inputs.device)
        both = model.encode_both(x)
        spread.add(*both)
        decoded = [model.decode_log_mel(z) for z in both]
        if any(one is None for one in decoded):
            raise UserError("suite quantisation: audio needs a decoder of spectra, autoencoder@model.autoencoder=mel")
        front = front or own_front(model)
        log_mel = front(x).cpu()
        distances.append([float(log_spectral_distance(log_mel, one.cpu())) for one in decoded])
        inputs.track(row + 1, len(data.test))
    coded, continuous = torch.tensor(distances).T
    return coded, continuous
