"""Where the classes lie in the latents of test images, and how far their law is from the one they were matched with.

DMVAE (arXiv 2512.07778) shows the first as a t-SNE and puts no number on either: these definitions are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from vaebench.config.signatures import AtLeast10, Count, Seed, require, whole
from vaebench.contracts import Encodes, Measurement, Normalised, SuiteInputs, SuiteResult
from vaebench.errors import UserError
from vaebench.metrics.frechet import frechet_distance, reference
from vaebench.metrics.two_samples import (
    maximum_mean_discrepancy,
    median_distance,
    require_finite,
    sliced_wasserstein,
)
from vaebench.nn.sampling import own_draws
from vaebench.suites.common import image_data, seeded, silhouette, walk


@dataclass(frozen=True, kw_only=True)
class LatentStructure:
    """Each image is a point, its code flattened; points are compared by Euclidean distance, scaled as they are.

    ``knn``: accuracy on all test images of a vote of the ``neighbours`` nearest among the codes of ``fitted`` training
    images. ``silhouette``: of ``compared`` test images against their classes. Both are left out where there is one
    class, ``knn`` also without training images. ``std``: of all numbers of all codes together; ``std@images``: root
    mean square over dimensions of the deviation over images, which is 0 where all images have one code.
    ``std_normalised``: ``std`` in units of the model's ``latent_std`` (`Normalised`).

    With a reference law, between as many of its samples as test codes (``compared`` at most), both in the model's units
    (`Normalised`): ``frechet``, the squared Frechet distance; ``mmd``, unbiased and squared, with a Gaussian kernel as
    wide as the median distance in the reference; ``sliced_wasserstein`` over ``projections`` directions. ``@floor``:
    the same between those samples and as many others of the reference, what a perfect match would come to.

    Which images and samples: drawn by ``seed``. Arrays: ``points`` float32 ``[n 2]`` of ``shown`` test images by
    ``embedding`` (``tsne``, with ``perplexity`` or less where points are few; ``umap``, which needs umap-learn;
    ``none``) and their ``labels``; in the same plane ``reference_points`` and ``reference_labels``, samples of the law.

    Raises `UserError` for options at odds with each other.
    """

    requires = (Encodes,)
    needs_classifier = False
    needs_reference = True

    neighbours: Count
    fitted: Count
    compared: AtLeast10
    projections: Count
    seed: Seed
    embedding: Literal["tsne", "umap", "none"]
    shown: AtLeast10
    perplexity: Annotated[float, Ge(1)]
    batch_size: Count

    def __post_init__(self) -> None:
        require(whole("suite.fitted", self.fitted, self.neighbours, bound="at least the neighbours"))

    def check(self, model: Any) -> None:
        """Raise `UserError` if the picture needs a package that is not there."""
        if self.embedding == "umap" and find_spec("umap") is None:
            raise UserError("suite.embedding=umap: needs the package umap-learn; install it, or use tsne or none")

    @torch.no_grad()
    def run(self, inputs: SuiteInputs) -> SuiteResult:
        """Measure ``inputs.model``. Raises `UserError` for codes that are not finite or no match of the reference's."""
        self.check(inputs.model)
        data, random = image_data(inputs, "latent_structure"), seeded(self.seed)
        labels, train = data.test_y.cpu(), torch.randperm(len(data), generator=random)[: self.fitted]
        codes = self._codes(inputs, data.test_x)
        order = torch.randperm(len(codes), generator=random)
        some, shown = order[: self.compared], order[: self.shown]
        found = _deviations(inputs.model, codes)
        if len(labels.unique()) > 1 and len(train):
            fitted = self._codes(inputs, data.train_x[train.to(data.train_x.device)])
            found.append(self._vote(fitted, data.train_y.cpu()[train], codes, labels))
        if 1 < len(labels[some].unique()) < len(some):
            protocol = {"split": "test", "groups": "classes", "distance": "euclidean", "seed": self.seed}
            value = silhouette(codes[some], labels[some])
            found.append(Measurement("silhouette", value, len(some), "", protocol))
        codes = _in_units_of(inputs.model, codes)
        if inputs.reference is None:
            return SuiteResult(tuple(found), self._picture(codes[shown], labels[shown]))
        samples, classes = self._reference(inputs, codes.shape[1], random)
        found += self._distances(inputs, codes[some], samples)
        own = samples[: self.shown], classes[: self.shown]
        return SuiteResult(tuple(found), self._picture(codes[shown], labels[shown], own))

    def _codes(self, inputs: SuiteInputs, images: Tensor) -> Tensor:
        """Flattened codes float32 ``[n d]``, on the CPU, of ``images`` uint8 ``[n c h w]``."""
        found = walk(inputs, images, self.batch_size)
        codes = torch.cat([inputs.model.encode(x).flatten(1).float().cpu() for x in found])
        require_finite(codes, "latents")
        return codes

    def _vote(self, fitted: Tensor, classes: Tensor, codes: Tensor, labels: Tensor) -> Measurement:
        from sklearn.neighbors import KNeighborsClassifier

        if len(fitted) < self.neighbours:
            raise UserError(f"suite.neighbours={self.neighbours}: there are {len(fitted)} training images; use fewer")
        votes = KNeighborsClassifier(self.neighbours).fit(fitted.numpy(), classes.numpy())
        protocol = {
            **{"split": "test", "fitted_on": "train", "fitted": len(fitted), "neighbours": self.neighbours},
            **{"distance": "euclidean", "weights": "uniform", "seed": self.seed},
        }
        return Measurement("knn", float(votes.score(codes.numpy(), labels.numpy())), len(codes), "", protocol)

    def _reference(self, inputs: SuiteInputs, width: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Samples of the law in the model's units, float32 ``[m d]``, in random order, and their labels."""
        assert inputs.reference is not None
        rows = torch.randperm(len(inputs.reference), generator=random)[: 2 * self.compared]
        with own_draws():
            law = inputs.reference.batch(rows)
        samples = law.x.flatten(1).float().cpu()
        if samples.shape[1] != width:
            raise UserError(
                f"{inputs.reference.name}: its latents have {samples.shape[1]} numbers, the model's {width}; it is not "
                "the law that this model was matched with"
            )
        return _in_units_of(inputs.model, samples), law.y.cpu()

    def _distances(self, inputs: SuiteInputs, codes: Tensor, samples: Tensor) -> list[Measurement]:
        """Of the ``samples`` of the law the first half is what codes, and the other half, are compared with."""
        assert inputs.reference is not None
        count = min(len(codes), len(samples) // 2)
        near, other, codes = samples[:count], samples[count : 2 * count], codes[:count]
        width, target = median_distance(near), reference(near)
        common = {
            **{"split": "test", "reference": inputs.reference.name, "reference_samples": count, "seed": self.seed},
            "normalised": "by the model's latent_mean, latent_std" if isinstance(inputs.model, Normalised) else "no",
        }
        kernel = {**common, "kernel": "gaussian, width: median distance in the reference", "estimate": "unbiased"}
        sliced = {**common, "projections": self.projections, "order": 1}
        found = []
        for suffix, points in (("", codes), ("@floor", other)):
            mmd = maximum_mean_discrepancy(near, points, bandwidth=width)
            distance = sliced_wasserstein(near, points, projections=self.projections, seed=self.seed)
            found += [
                Measurement(f"frechet{suffix}", frechet_distance(target, points), count, "", common),
                Measurement(f"mmd{suffix}", mmd, count, "", kernel),
                Measurement(f"sliced_wasserstein{suffix}", distance, count, "", sliced),
            ]
        return found

    def _picture(
        self, codes: Tensor, labels: Tensor, law: tuple[Tensor, Tensor] | None = None
    ) -> dict[str, np.ndarray]:
        """Test codes, and samples of the law with their labels, in one plane."""
        if self.embedding == "none":
            return {}
        plane = self._plane(torch.cat([codes, *(() if law is None else law[:1])]).numpy())
        arrays = {"points": plane[: len(codes)], "labels": labels.numpy()}
        if law is not None:
            arrays |= {"reference_points": plane[len(codes) :], "reference_labels": law[1].numpy()}
        return arrays

    def _plane(self, points: np.ndarray) -> np.ndarray:
        """float32 ``[n 2]``."""
        from threadpoolctl import threadpool_limits

        if not points.std(0).any():  # one code for all images: there is nothing to spread out
            return np.zeros((len(points), 2), np.float32)
        if self.embedding == "umap":
            from umap import UMAP  # type: ignore[import-not-found, unused-ignore]

            method = UMAP(random_state=self.seed, n_jobs=1)
        else:
            from sklearn.manifold import TSNE

            start: Any = "pca" if points.shape[1] > 1 else "random"
            perplexity = min(self.perplexity, (len(points) - 1) / 3)
            method = TSNE(perplexity=perplexity, init=start, random_state=self.seed, n_jobs=1)
        with threadpool_limits(1):  # the order of a sum must not depend on how many cores there are
            found: np.ndarray = method.fit_transform(points)
        return found.astype(np.float32)


def _in_units_of(model: Any, points: Tensor) -> Tensor:
    """Raw latents on the CPU as the flows on them see them, if the model says how."""
    if not isinstance(model, Normalised):
        return points
    return (points - model.latent_mean.cpu()) / model.latent_std.cpu()


def _deviations(model: Any, codes: Tensor) -> list[Measurement]:
    z, protocol = codes.double(), {"split": "test", "correction": 0}
    values = {"std": float(z.std(correction=0)), "std@images": math.sqrt(float(z.var(0, correction=0).mean()))}
    if isinstance(model, Normalised):
        values["std_normalised"] = values["std"] / float(model.latent_std)
    return [Measurement(name, value, len(z), "", protocol) for name, value in values.items()]
