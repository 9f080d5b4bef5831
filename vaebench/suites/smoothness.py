"""How reconstruction suffers when noise is added to the latents: their smoothness (LDMAE, arXiv 2507.09984)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vaebench.config.signatures import Count, NonNegative, Seed
from vaebench.contracts import Completes, GivesLatents, Measurement, SuiteInputs, SuiteResult
from vaebench.contracts.infinite import difference
from vaebench.errors import UserError
from vaebench.metrics.frechet import frechet_distance
from vaebench.metrics.image import mean_psnr, mse_per_image
from vaebench.nn.pretrained.inception import Resizing
from vaebench.suites.common import (
    EightBits,
    Latents,
    batches,
    eight_bits,
    image_data,
    in_eight_bits,
    latents_of,
    picture,
    seeded,
    some_of_each,
)
from vaebench.suites.judges import Features, Judge, judge, observe
from vaebench.suites.references import Split, enough_for_fid

_SHOWN = 10
_SPREAD = 3.0  # standard deviations between black or white and the middle grey of a latent picture


@dataclass(frozen=True, kw_only=True)
class Smoothness:
    """Test images decoded from ``z' = mean + eps * n * std_c`` for each of ``epsilons``, 0 among them.

    ``std_c``: standard deviation of latent channel c over the test images and the positions, so that a model that
    inflates its latents gains nothing. ``n``: unit noise, drawn once from ``noise_seed``, the same for every eps.
    ``rfid@eps``: Frechet distance to the test images themselves in the network ``features`` (see `judges.judge`);
    ``psnr@eps``: mean over images; ``rfid_rise@eps`` and ``psnr_drop@eps``: how much worse they are than at 0.
    ``eight_bits``: whether and how decoded images are brought to 8 bits before they are measured; None: by Inception
    alone, which cuts. ``resize``: how Inception resizes.

    Arrays, for one image per class and up to ten: ``inputs``, ``at_<eps>``, ``latents`` (uint8 ``[n h w l]``, grey the
    channel's mean, black and white three deviations off) and, of a model that `Completes`, ``masked``, ``completed``.

    Raises `UserError` for epsilons without 0.
    """

    requires = (GivesLatents,)

    features: Features
    epsilons: Sequence[NonNegative]
    noise_seed: Seed
    batch_size: Count
    eight_bits: EightBits | None
    resize: Resizing | None

    def __post_init__(self) -> None:
        if 0 not in self.epsilons or len({f"{eps:g}" for eps in self.epsilons}) < len(self.epsilons):
            raise UserError(
                f"suite.epsilons={list(self.epsilons)}: expected 0, which the others are compared with, and each once"
            )

    @property
    def needs_classifier(self) -> bool:
        """Only as the judge."""
        return self.features == "classifier"

    @torch.no_grad()
    def run(self, inputs: SuiteInputs) -> SuiteResult:
        """Measure ``inputs.model``. Raises `UserError` for too few test images."""
        data = image_data(inputs, "smoothness")
        images, rows = data.test_x, some_of_each(data.test_y, _SHOWN)
        network = judge(self.features, inputs, self.resize)
        target = Split(inputs, network, "test", self.batch_size, "smoothness").statistics()
        enough_for_fid(target)
        latents = latents_of(inputs.model, images, self.batch_size, inputs.device)
        arrays = self._pictures(inputs, images[rows.to(images.device)], latents, rows)
        rfid, psnr = {}, {}
        for index, eps in enumerate(self.epsilons):
            seen, errors, shown, done = [], [], [], 0
            for x, y in zip(batches(images, self.batch_size), self._decoded(inputs, latents, eps), strict=True):
                seen.append(observe(network, y, self.batch_size).features)
                errors.append(mse_per_image(x.to(inputs.device), y).cpu())
                shown.append(y.cpu()[rows[(rows >= done) & (rows < done + len(x))] - done])
                done += len(x)
                inputs.track(index * len(images) + done, len(self.epsilons) * len(images))
            rfid[eps] = frechet_distance(target, torch.cat(seen))
            psnr[eps] = mean_psnr(torch.cat(errors))
            arrays[f"at_{eps:g}"] = picture(torch.cat(shown))
        return SuiteResult(tuple(self._measurements(rfid, psnr, len(images), network)), arrays)

    def _decoded(self, inputs: SuiteInputs, latents: Latents, eps: float) -> Iterator[Tensor]:
        """Images decoded from the latents with noise, a batch at a time."""
        random = seeded(self.noise_seed)
        for z in latents.values.split(self.batch_size):
            noisy = z + eps * latents.std * torch.randn(z.shape, generator=random) if eps else z
            yield eight_bits(inputs.model.decode(noisy.to(inputs.device)), self.eight_bits)

    def _measurements(
        self, rfid: dict[float, float], psnr: dict[float, tuple[float, dict[str, int]]], count: int, judge: Judge
    ) -> Iterator[Measurement]:
        common = {"split": "test", "noise_seed": self.noise_seed, "noise_unit": "deviation of the channel"}
        common |= in_eight_bits(self.eight_bits)
        judged = {**common, **judge.protocol}
        pixels = {**common, "average": "images", "data_range": 1}
        for eps in self.epsilons:
            yield Measurement(f"rfid@{eps:g}", rfid[eps], count, "", judged)
            yield Measurement(f"psnr@{eps:g}", psnr[eps][0], count, "dB", pixels | psnr[eps][1])
            if eps:
                yield Measurement(f"rfid_rise@{eps:g}", rfid[eps] - rfid[0], count, "", judged)
                drop, exact = difference(psnr[0][0], psnr[eps][0]), psnr[0][1] | psnr[eps][1]
                yield Measurement(f"psnr_drop@{eps:g}", drop, count, "dB", pixels | exact)

    def _pictures(self, inputs: SuiteInputs, images: Tensor, latents: Latents, rows: Tensor) -> dict[str, np.ndarray]:
        """The images ``rows`` themselves, their latents, and what a model that completes images makes of them."""
        x = images.float().div(255).to(inputs.device)
        grey = latents.standardised(rows) / (2 * _SPREAD) + 0.5
        arrays = {"epsilons": np.array(self.epsilons), "inputs": picture(x), "latents": picture(grey)}
        if isinstance(inputs.model, Completes):
            masked, completed = inputs.model.complete(x, seeded(self.noise_seed))
            arrays |= {"masked": picture(masked), "completed": picture(completed)}
        return arrays
