"""What codes cost: reconstruction with the codes and without them, and how far a latent is from its code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaebench.config.signatures import Count, Positive, require
from vaebench.contracts import EncodesContinuously, Measurement, Reconstructs, SuiteInputs, SuiteResult, Tokenizes
from vaebench.data.audio import AudioData
from vaebench.data.images import ImageData
from vaebench.errors import UserError
from vaebench.metrics.image import mse_per_image, psnr_from_mse
from vaebench.metrics.speech import log_spectral_distance
from vaebench.nn.audio.mel import LogMel
from vaebench.suites.common import walk
from vaebench.suites.tokens import as_long, own_front, spectra


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """Test items decoded from their codes, and from the same latents before they became codes.

    ``error``: root mean square of code minus latent over the latents' own spread, in the decoder's terms: 0 without
    codes, 1 for a single code at the mean. Images: ``psnr``, ``psnr_continuous`` (means over images) and
    ``psnr_lost``, their difference. Audio: ``lsd``, ``lsd_continuous``, ``lsd_gained`` of log-mel spectra, those of the
    decoder if it makes some, else of its waveforms, by ``window`` and ``hop`` in seconds, ``bands`` and ``floor``.

    Raises `UserError` if some of these four are given and others not.
    """

    requires = (Tokenizes, Reconstructs, EncodesContinuously)
    needs_classifier = False

    batch_size: Count
    window: Positive | None
    hop: Positive | None
    bands: Count | None
    floor: Positive | None

    def __post_init__(self) -> None:
        own = {name: getattr(self, name) for name in ("window", "hop", "bands", "floor")}
        if lacking := [name for name, value in own.items() if value is None]:
            given = [f"suite.{name}" for name in own if name not in lacking]
            require(*(f"suite.{name}=null: goes with {', '.join(given)}" for name in lacking if given))

    @torch.no_grad()
    def run(self, inputs: SuiteInputs) -> SuiteResult:
        """Measure ``inputs.model``. Raises `UserError` for audio that is not decoded by way of spectra."""
        data, spread = inputs.data, Spread()
        if isinstance(data, AudioData):
            name, change = "lsd", "lsd_gained"
            coded, continuous = _audio(inputs, data, spread, self._spectra(data.sample_rate))
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

    def _spectra(self, rate: int) -> LogMel | None:
        """Those of waveforms; None if no options say which."""
        if self.window is None or self.hop is None or self.bands is None or self.floor is None:
            return None
        return spectra(rate, window=self.window, hop=self.hop, bands=self.bands, floor=self.floor)


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


def _audio(inputs: SuiteInputs, data: AudioData, spread: Spread, of_waves: LogMel | None) -> tuple[Tensor, Tensor]:
    """Log-spectral distance of each test clip with codes and without, from spectra without any code in their way.

    ``of_waves``: the spectra of a decoder that makes none itself.
    """
    model, front = inputs.model, None
    distances = []
    for row in range(len(data.test)):
        x = data.test.item(row)[None].to(inputs.device)
        both = model.encode_both(x)
        spread.add(*both)
        decoded = [model.decode_log_mel(z) for z in both]
        if front is None:
            front = _front(model, of_waves, waves=any(one is None for one in decoded)).to(inputs.device)
        log_mel, length = front(x).cpu(), x.shape[-1]
        heard = (
            front(as_long(model.decode(z), length)) if one is None else one
            for one, z in zip(decoded, both, strict=True)
        )
        distances.append([float(log_spectral_distance(log_mel, one.cpu())) for one in heard])
        inputs.track(row + 1, len(data.test))
    coded, continuous = torch.tensor(distances).T
    return coded, continuous


def _front(model: torch.nn.Module, of_waves: LogMel | None, *, waves: bool) -> LogMel:
    """The spectra in which a model's sounds are compared: its own, or those of its waveforms."""
    if not waves:
        return own_front(model)
    if of_waves is None:
        raise UserError(
            "suite quantisation: this decoder makes waveforms; say by which spectra they are compared (suite.window, "
            "hop, bands, floor), or take a decoder of spectra, autoencoder@model.autoencoder=mel"
        )
    return of_waves
