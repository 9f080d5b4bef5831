"""FID of generated images against a split of the dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vaebench.config.signatures import AtLeast2, Count, Seed
from vaebench.contracts import Measurement, Reconstructs, Samples, SuiteInputs, SuiteResult
from vaebench.metrics.frechet import frechet_distance
from vaebench.metrics.two_samples import require_finite
from vaebench.nn.pretrained.inception import Resizing
from vaebench.suites.common import EightBits, batches, eight_bits, image_data, in_eight_bits, picture, seeded
from vaebench.suites.judges import Features, judge, observe
from vaebench.suites.references import Split

_SHOWN = 40


@dataclass(frozen=True, kw_only=True)
class Generation:
    """Frechet distance between features of ``samples`` generated images and of the ``reference`` split.

    ``features``: ``inception`` (2048 pool features of the FID Inception network: the FID), ``classifier`` (the bench's
    own classifier) or ``cifar10_resnet``; with the last two never comparable with a paper's FID. ``latent``: ``prior``
    (the model's own `sample`) or ``fitted_gaussian`` (decode draws of a Gaussian fitted to the codes of the training
    images). ``eight_bits``: whether and how what is generated is brought to 8 bits before it is looked at; None: by
    Inception alone, which cuts. ``resize``: how Inception resizes (see `judges.judge`).
    """

    features: Features
    latent: Literal["prior", "fitted_gaussian"]
    reference: Literal["test", "train"]
    samples: AtLeast2
    sample_seed: Seed
    batch_size: Count
    eight_bits: EightBits | None
    resize: Resizing | None

    @property
    def requires(self) -> tuple[type, ...]:
        """Sampling for the prior; encoding and decoding for a fitted Gaussian."""
        return (Samples,) if self.latent == "prior" else (Reconstructs,)

    @property
    def needs_classifier(self) -> bool:
        """Only for its features."""
        return self.features == "classifier"

    def run(self, inputs: SuiteInputs) -> SuiteResult:
        """Measure ``inputs.model``."""
        network = judge(self.features, inputs, self.resize)
        target = Split(inputs, network, self.reference, self.batch_size, "generation").statistics()
        draw = self._sampler(inputs)
        found, shown, done = [], [], 0
        while done < self.samples:
            images = eight_bits(draw(min(self.batch_size, self.samples - done)), self.eight_bits)
            if done < _SHOWN:
                shown.append(images[: _SHOWN - done])
            found.append(observe(network, images, self.batch_size).features)
            done += len(images)
            inputs.track(done, self.samples)
        protocol = {
            "latent": self.latent,
            "reference": self.reference,
            "reference_images": target.count,
            "samples": self.samples,
            "sample_seed": self.sample_seed,
            **network.protocol,
            **in_eight_bits(self.eight_bits),
        }
        fid = Measurement("fid", frechet_distance(target, torch.cat(found)), self.samples, "", protocol)
        return SuiteResult((fid,), {"samples": picture(torch.cat(shown))})

    def _sampler(self, inputs: SuiteInputs) -> Callable[[int], Tensor]:
        """A function that generates the next ``n`` images."""
        model, random = inputs.model, seeded(self.sample_seed)
        if self.latent == "prior":
            return lambda count: model.sample(count, random)
        images = image_data(inputs, "generation").train_x
        codes = torch.cat([model.encode(x).cpu() for x in batches(images, self.batch_size)]).double()
        require_finite(codes, "codes of the training images")
        shape, codes = codes.shape[1:], codes.flatten(1)
        mean, covariance = codes.mean(0), codes.T.cov()
        # eigh rather than Cholesky: a masked or unused dimension has no variance at all.
        values, vectors = torch.linalg.eigh(covariance)
        root = vectors * values.clamp(min=0).sqrt()

        def draw(count: int) -> Tensor:
            z = mean + torch.randn(count, len(mean), generator=random, dtype=torch.float64) @ root.T
            decoded: Tensor = model.decode(z.float().view(count, *shape).to(inputs.device))
            return decoded

        return draw
