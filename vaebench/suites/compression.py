"""How tightly the latents of one group lie together, and how far groups lie apart.

LDMAE (arXiv 2507.09984) draws both for its autoencoders without a formula: these definitions are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench.config.signatures import AtLeast2, AtLeast10, Count, Seed
from vaebench.contracts import GivesLatents, Measurement, SuiteInputs, SuiteResult
from vaebench.nn.sampling import spread
from vaebench.nn.tokenizers.neighbours import nearest
from vaebench.suites.common import batches, image_data, latents_of, picture, silhouette

_FITTED = 20_000  # patches that the clusters are made of


@dataclass(frozen=True, kw_only=True)
class Compression:
    """Scatter of the test images' latents, standardised per channel, within groups and between them.

    ``within``: mean squared distance of a group's members to its mean, per dimension. ``separability``: mean squared
    distance of the groups' means to the mean of all, over ``within`` (a ratio of traces, Fisher's). Large scale of
    latents gains nothing. ``@class``: groups are the classes, a member is the whole latent of an image. ``@pattern``:
    groups are ``patterns`` clusters (k-means, ``seed``) of the pixels under one position of the grid, a member is the
    latent there; the clusters are those of the images, the same for all models with this grid.

    ``silhouette@class``: mean silhouette of ``compared`` evenly spread images. Within and separability of the same
    groups move together where the variance of all is fixed by the standardisation; the silhouette is free to differ.
    With fewer than two classes there is no ``@class``.

    Arrays: ``points`` float32 ``[n 2]``, the first two principal components of the compared images' latents, with their
    ``labels``; ``patterns``, the clusters' centres as pictures.
    """

    requires = (GivesLatents,)
    needs_classifier = False

    patterns: AtLeast2
    seed: Seed
    compared: AtLeast10
    batch_size: Count

    @torch.no_grad()
    def run(self, inputs: SuiteInputs) -> SuiteResult:
        """Measure ``inputs.model``."""
        data = image_data(inputs, "compression")
        images, labels = data.test_x, data.test_y.cpu()
        latents = latents_of(inputs.model, images, self.batch_size, inputs.device)
        channels, *grid = latents.values.shape[1:]
        rows = spread(len(images), self.compared, labels.device)
        compared, own = latents.standardised(rows).flatten(1), labels[rows]
        centres = self._pattern_centres(images, grid)
        by_class, by_pattern = Scatter(int(labels.max()) + 1, compared.shape[1]), Scatter(len(centres), channels)
        start = 0
        for x in batches(images, self.batch_size):
            part = slice(start, start + len(x))
            z = latents.standardised(part)
            by_class.add(z.flatten(1), labels[part])
            patterns = nearest(centres.flatten(1), _patches(x, grid).flatten(1))
            by_pattern.add(z.movedim(1, -1).flatten(0, -2), patterns)
            start += len(x)
            inputs.track(start, len(images))
        common = {"split": "test", "standardised": "per channel", "definition": "vaebench"}
        found = by_class.measurements("class", common) if len(labels.unique()) > 1 else []
        if 1 < len(own.unique()) < len(own):
            protocol = {**common, "distance": "euclidean"}
            found.append(Measurement("silhouette@class", silhouette(compared, own), len(own), "", protocol))
        clusters = {"patterns": len(centres), "seed": self.seed, "patch": "x".join(map(str, centres.shape[2:]))}
        found += by_pattern.measurements("pattern", {**common, **clusters})
        arrays = {"points": _plane(compared, self.seed), "labels": own.numpy(), "patterns": picture(centres)}
        return SuiteResult(tuple(found), arrays)

    def _pattern_centres(self, images: Tensor, grid: Sequence[int]) -> Tensor:
        """``[k c p q]``: centres of the clusters of the patches of ``images``, in [0, 1]; k as asked for, or fewer."""
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits

        cells = grid[0] * grid[1]
        rows = spread(len(images), max(1, _FITTED // cells), images.device)
        patches = torch.cat([_patches(x, grid) for x in batches(images[rows], self.batch_size)])
        flat = patches.flatten(1)
        clusters = min(self.patterns, len(flat.unique(dim=0)))
        with threadpool_limits(1):  # the order of a sum must not depend on how many cores there are
            fitted = KMeans(clusters, n_init=1, random_state=self.seed).fit(flat.numpy())
        return torch.from_numpy(fitted.cluster_centers_).view(-1, *patches.shape[1:])


class Scatter:
    """Adds up, in float64, members of ``groups`` groups, vectors of ``width`` numbers."""

    def __init__(self, groups: int, width: int) -> None:
        self._counts = torch.zeros(groups, dtype=torch.float64)
        self._sums = torch.zeros(groups, width, dtype=torch.float64)
        self._squares = 0.0

    def add(self, members: Tensor, groups: Tensor) -> None:
        """Vectors ``[m width]`` and the group of each, int64 ``[m]``."""
        self._counts += torch.bincount(groups, minlength=len(self._counts))
        self._sums.index_add_(0, groups, members.double())
        self._squares += float(members.double().square().sum())

    def measurements(self, groups: str, protocol: dict[str, Any]) -> list[Measurement]:
        """``within@groups``, and ``separability@groups`` unless nothing varies within."""
        there = self._counts > 0
        counts, sums = self._counts[there], self._sums[there]
        number, width = counts.sum(), sums.shape[1]
        of_means = (sums.square().sum(1) / counts).sum()
        within = float((self._squares - of_means).clamp(min=0) / (number * width))
        between = float((of_means - sums.sum(0).square().sum() / number) / (number * width))
        found = [Measurement(f"within@{groups}", within, int(number), "", protocol)]
        if within > 0:
            found.append(Measurement(f"separability@{groups}", between / within, int(number), "", protocol))
        return found


def _patches(x: Tensor, grid: Sequence[int]) -> Tensor:
    """Images ``[b c h w]`` -> the pixels under each position of the grid, on the CPU, ``[b*cells c p q]`` in its order.

    Images whose sides are no multiples of the grid's are enlarged to the next ones first.
    """
    height, width = (-(-side // cells) for side, cells in zip(x.shape[2:], grid, strict=True))
    size = (height * grid[0], width * grid[1])
    x = x.cpu() if x.shape[2:] == size else F.interpolate(x.cpu(), size, mode="bilinear")
    x = x.unflatten(3, (grid[1], width)).unflatten(2, (grid[0], height))
    return x.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def _plane(points: Tensor, seed: int) -> np.ndarray:
    """The first two principal components of ``points`` ``[n d]``, float32 ``[n 2]``."""
    from sklearn.decomposition import PCA

    found: np.ndarray = PCA(2, svd_solver="randomized", random_state=seed).fit_transform(points.numpy())
    return found.astype(np.float32)
