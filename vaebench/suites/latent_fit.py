"""How well a diffusion model fits the latents of its autoencoder, before any decoder: the loss, and a distance.

What its samples come to as images depends on the decoder too; these numbers do not. DMVAE (arXiv 2512.07778) claims
that some latents are easier to model and shows it by images only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vaebench.config.signatures import AtLeast2, Count, Positive, Seed
from vaebench.contracts import Generates, Measurement, ModelsLatents, Sampling, SuiteInputs, SuiteResult
from vaebench.metrics.frechet import frechet_distance, reference
from vaebench.suites.common import batches, image_data, seeded


@dataclass(frozen=True, kw_only=True)
class LatentFit:
    """Latents of at most ``images`` test images, drawn by ``seed``, in the units of the model's network.

    ``flow_loss``: mean squared error of the velocity, per number, with ``draws`` times (uniform in [0, 1]) and noises
    for each latent. ``frechet``: squared Frechet distance of generated latents from those of the test images, as many,
    with their labels and without guidance. Both ``@train`` are of as many training images: what the loss gains by
    having seen an image, and how far apart two sets of real latents of that size are. Without training images they are
    left out. ``sampler``, ``steps``, ``shift``: as in `Sampling`.
    """

    requires = (Generates, ModelsLatents)
    needs_classifier = False

    images: AtLeast2
    draws: Count
    seed: Seed
    sampler: Literal["euler", "heun", "sde"]
    steps: Count
    shift: Positive
    batch_size: Count

    @property
    def sampling(self) -> Sampling:
        """Without guidance."""
        return Sampling(self.sampler, self.steps, self.shift, guidance=1.0, guidance_from=0.0, guidance_channels=None)

    def check(self, model: Generates) -> None:
        """Raise `UserError` for sampling that this model does not know."""
        model.check(self.sampling)

    @torch.no_grad()
    def run(self, inputs: SuiteInputs) -> SuiteResult:
        """Measure ``inputs.model``."""
        data, random = image_data(inputs, "latent_fit"), seeded(self.seed)
        rows = torch.randperm(len(data.test_x), generator=random)[: self.images]
        z, labels = self._encoded(inputs, data.test_x, rows, random), data.test_y.cpu()[rows]
        target = reference(self._points(inputs, z))
        common = {"split": "test", "seed": self.seed, "normalised": "as the model's network sees them"}
        loss = {**common, "draws": self.draws, "times": "uniform", "weights": "averaged"}
        drawn = {
            **{"sampler": self.sampler, "steps": self.steps, "shift": self.shift},
            **{"guidance": "none", "labels": "of the test images" if inputs.model.classes else "none"},
        }
        made = self._points(inputs, self._generated(inputs, labels, random))
        found = [
            Measurement("flow_loss", self._loss(inputs, z, labels), len(z), "", loss),
            Measurement("frechet", frechet_distance(target, made), len(z), "", {**common, **drawn}),
        ]
        seen = torch.randperm(len(data), generator=random)[: len(z)]
        if len(seen) > 1:
            own = self._encoded(inputs, data.train_x, seen, random)
            distance = frechet_distance(target, self._points(inputs, own))
            lost = self._loss(inputs, own, data.train_y.cpu()[seen])
            found += [
                Measurement("flow_loss@train", lost, len(own), "", {**loss, "split": "train"}),
                Measurement("frechet@train", distance, len(own), "", common),
            ]
        return SuiteResult(tuple(found))

    def _encoded(self, inputs: SuiteInputs, images: Tensor, rows: Tensor, random: torch.Generator) -> Tensor:
        """Raw latents on the CPU, float32 ``[n l h w]``, of the ``rows`` of uint8 ``images``."""
        some = batches(images[rows.to(images.device)], self.batch_size)
        return torch.cat([inputs.model.encode_latents(x.to(inputs.device), random).cpu() for x in some])

    def _generated(self, inputs: SuiteInputs, labels: Tensor, random: torch.Generator) -> Tensor:
        """As many raw latents on the CPU as there are ``labels``."""
        found = []
        for part in labels.split(self.batch_size):
            found.append(inputs.model.sample_latents(part.to(inputs.device), random, self.sampling).cpu())
            inputs.track(sum(map(len, found)), len(labels))
        return torch.cat(found)

    def _points(self, inputs: SuiteInputs, z: Tensor) -> Tensor:
        """Raw latents in the network's units as vectors, on the CPU, ``[n d]``."""
        parts = z.split(self.batch_size)
        return torch.cat([inputs.model.standardised(part.to(inputs.device)).flatten(1).cpu() for part in parts])

    def _loss(self, inputs: SuiteInputs, z: Tensor, labels: Tensor) -> float:
        """Of all latents with the same times and noises in each call, ``draws`` of each."""
        random, total = seeded(self.seed), 0.0
        for _ in range(self.draws):
            for part, own in zip(z.split(self.batch_size), labels.split(self.batch_size), strict=True):
                losses = inputs.model.flow_loss(part.to(inputs.device), own.to(inputs.device), random)
                total += float(losses.double().sum())
        return total / (self.draws * len(z))
