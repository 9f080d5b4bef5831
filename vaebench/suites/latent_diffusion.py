"""Images of a latent diffusion model against real ones: FID, sFID, inception score, precision, recall, KID."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from vaebench.config.signatures import AtLeast2, AtLeast10, Count, NonNegative, Positive, Seed, Share, require, whole
from vaebench.contracts import Generates, Measurement, Sampling, SuiteInputs, SuiteResult
from vaebench.metrics.frechet import frechet_distance
from vaebench.metrics.two_samples import inception_score, kernel_distance, precision_recall
from vaebench.nn.pretrained.inception import Resizing
from vaebench.suites.common import EightBits, eight_bits, in_eight_bits, picture, seeded
from vaebench.suites.judges import Activations, Features, Judge, joined, judge, observe
from vaebench.suites.references import Split, StatisticsFile, enough_for_fid, stored_moments

_SPLITS = 10  # of the inception score
_SHOWN = 40


@dataclass(frozen=True, kw_only=True)
class LatentDiffusion:
    """``samples`` images, drawn once, measured by one pass of the network ``features`` (see `judges.judge`).

    ``fid``: Frechet distance to the ``reference``: the ``test`` or ``train`` split, or a ``file`` (`StatisticsFile`,
    ``reference_file``). ``sfid``: the same in Inception's spatial features. ``is``: inception score of the network's
    class probabilities, 10 parts. ``precision``, ``recall`` by ``neighbours`` nearest neighbours and ``kid`` (of all
    pairs): of at most ``compared`` samples and as many real images; None: all. What a file has no data for is left out.

    ``labels``: ``balanced`` (class i mod classes for sample i) or ``random``, drawn before the noise from
    ``sample_seed``. ``eight_bits``: whether and how samples are brought to 8 bits before they are looked at; None: by
    Inception alone, which cuts. ``resize``: how Inception resizes. The other options are those of `Sampling`. With
    another network than Inception the numbers go by the same names and are never comparable with a paper's.

    Raises `UserError` for options out of range or at odds with each other.
    """

    requires = (Generates,)

    features: Features
    reference: Literal["test", "train", "file"]
    reference_file: str | None
    samples: AtLeast10
    sample_seed: Seed
    labels: Literal["balanced", "random"]
    neighbours: Count
    compared: AtLeast2 | None
    sampler: Literal["euler", "heun", "sde"]
    steps: Count
    shift: Positive
    guidance: NonNegative
    guidance_from: Share
    guidance_channels: Count | None
    batch_size: Count
    eight_bits: EightBits | None
    resize: Resizing | None

    def __post_init__(self) -> None:
        require(*self._mistakes())

    @property
    def sampling(self) -> Sampling:
        """How samples are drawn."""
        path = (self.sampler, self.steps, self.shift)
        return Sampling(*path, self.guidance, self.guidance_from, self.guidance_channels)

    @property
    def needs_classifier(self) -> bool:
        """Only as the judge."""
        return self.features == "classifier"

    def check(self, model: Generates) -> None:
        """Raise `UserError` for guidance or channels that this model has not, or a file that holds no statistics."""
        model.check(self.sampling)
        if self.reference_file is not None:
            stored_moments(Path(self.reference_file).expanduser())

    def run(self, inputs: SuiteInputs) -> SuiteResult:
        """Measure ``inputs.model``. Raises `UserError` for too few reference images, or what it cannot be asked for."""
        network = judge(self.features, inputs, self.resize)
        real = self._real(inputs, network)
        target = real.statistics()
        enough_for_fid(target)
        fake, arrays = self._draw(inputs, network)
        drawn = {
            **network.protocol,
            **in_eight_bits(self.eight_bits),
            "samples": self.samples,
            "sample_seed": self.sample_seed,
            "labels": self.labels if inputs.model.classes else "none",
            **{name: "all" if value is None else value for name, value in asdict(self.sampling).items()},
        }
        known = {**drawn, "reference": self.reference}
        if isinstance(real, StatisticsFile):
            known["reference_digest"] = real.digest
        compared = {**known, "reference_images": target.count or "unknown"}
        fid, score = frechet_distance(target, fake.features), inception_score(fake.logits, splits=_SPLITS)
        found = [
            Measurement("fid", fid, self.samples, "", compared),
            Measurement("is", score, self.samples, "", {**drawn, "splits": _SPLITS}),
        ]
        if fake.spatial is not None and (spatial := real.spatial()) is not None:
            sfid = frechet_distance(spatial, fake.spatial)
            found.append(Measurement("sfid", sfid, self.samples, "", compared))
        return SuiteResult((*found, *self._of_single_images(real, fake, known, inputs.device)), arrays)

    def _mistakes(self) -> Iterator[str | None]:
        """One line for each option that is at odds with another."""
        for name, count in (("samples", self.samples), ("compared", self.compared)):
            if count is not None:
                yield whole(f"suite.{name}", count, self.neighbours + 1, bound="more than suite.neighbours")
        if self.guidance_channels is not None and self.guidance == 1:
            channels = f"suite.guidance_channels={self.guidance_channels}"
            yield f"{channels}: there is no guidance to have (suite.guidance=1); leave it out"
        path = self.reference_file
        if self.reference == "file" and path is None:
            yield "suite.reference=file: name it, suite.reference_file=PATH"
        elif self.reference != "file" and path is not None:
            yield f"suite.reference_file={path}: is read with suite.reference=file, not {self.reference}"
        elif self.reference == "file" and self.features != "inception":
            yield f"suite.features={self.features}: the statistics in a reference_file are of inception's features"

    def _real(self, inputs: SuiteInputs, network: Judge) -> Split | StatisticsFile:
        if self.reference_file is not None:
            return StatisticsFile(Path(self.reference_file).expanduser(), inputs, network, self.batch_size)
        return Split(inputs, network, self.reference, self.batch_size, "latent_diffusion")

    def _draw(self, inputs: SuiteInputs, network: Judge) -> tuple[Activations, dict[str, Any]]:
        """What the judge sees in the samples; the first of them as a picture, in the order of their classes."""
        random = seeded(self.sample_seed)
        labels = self._labels(inputs.model.classes, random)
        found, shown, done = [], [], 0
        for part in labels.split(self.batch_size):
            images = eight_bits(inputs.model.generate(part.to(inputs.device), random, self.sampling), self.eight_bits)
            if done < _SHOWN:
                shown.append(images[: _SHOWN - done].cpu())
            found.append(observe(network, images, self.batch_size))
            done += len(part)
            inputs.track(done, self.samples)
        order = labels[:_SHOWN].argsort(stable=True)
        arrays = {"samples": picture(torch.cat(shown)[order]), "labels": labels[:_SHOWN][order].numpy()}
        return joined(found), arrays

    def _labels(self, classes: int, random: torch.Generator) -> Tensor:
        if not classes:
            return torch.zeros(self.samples, dtype=torch.int64)
        if self.labels == "random":
            return torch.randint(classes, (self.samples,), generator=random)
        return torch.arange(self.samples) % classes

    def _of_single_images(
        self, real: Split | StatisticsFile, fake: Activations, protocol: dict[str, Any], device: torch.device
    ) -> list[Measurement]:
        """What needs the features of single real images."""
        reference, samples = real.features(self.compared), fake.features[: self.compared]
        if reference is None:
            return []
        place = device if device.type == "cuda" else torch.device("cpu")  # it is done in float64
        sides = reference.to(place), samples.to(place)
        precision, recall = precision_recall(*sides, neighbours=self.neighbours)
        protocol = {**protocol, "reference_images": len(reference), "compared_samples": len(samples)}
        near = {**protocol, "neighbours": self.neighbours}
        kernel = {**protocol, "kernel": "(x y / d + 1)^3, unbiased, all pairs"}
        return [
            Measurement("precision", precision, len(samples), "", near),
            Measurement("recall", recall, len(reference), "", near),
            Measurement("kid", kernel_distance(*sides), len(samples), "", kernel),
        ]
