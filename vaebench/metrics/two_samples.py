"""How far two samples of points lie apart: maximum mean discrepancy, sliced Wasserstein distance, near points.

None of them fits anything to the samples, unlike the Frechet distance, which sees means and covariances only.
Points are ``[n d]`` of any floating dtype and device; all of it is float64 on the CPU.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vaebench.errors import UserError
from vaebench.metrics.finite import require_finite


def median_distance(points: Tensor) -> float:
    """The median Euclidean distance of two different ones of ``points``: the usual bandwidth of a Gaussian kernel.

    Raises:
        UserError: there are fewer than two, or most of them are equal and no kernel has that width.
    """
    _check(points, fewest=2)
    found = float(F.pdist(points.to("cpu", torch.float64)).median())
    if found == 0:
        raise UserError(f"most of {len(points)} points are equal: their median distance, 0, is no width of a kernel")
    return found


def maximum_mean_discrepancy(x: Tensor, y: Tensor, *, bandwidth: float) -> float:
    """Unbiased squared MMD (Gretton et al. 2012, Eq. 3) with the kernel ``exp(-|a - b|^2 / (2 bandwidth^2))``.

    Below 0 at times, where the two laws are alike; at most 2. Needs ``8 n^2`` bytes.

    Raises:
        UserError: a sample has fewer than two points, or points that are not finite.
    """
    from sklearn.metrics.pairwise import rbf_kernel

    gamma = 1 / (2 * bandwidth**2)
    a, b = (_check(points, fewest=2) for points in (x, y))
    # A point's kernel with itself is 1 and stays out of the mean over pairs.
    inside = sum((rbf_kernel(own, gamma=gamma).sum() - len(own)) / (len(own) * (len(own) - 1)) for own in (a, b))
    return float(inside - 2 * rbf_kernel(a, b, gamma=gamma).mean())


def sliced_wasserstein(x: Tensor, y: Tensor, *, projections: int, seed: int) -> float:
    """Mean over ``projections`` random directions of the 1-Wasserstein distance of the points' projections.

    Bonneel et al. 2015, with order 1. The directions are uniform on the sphere and the same for equal ``seed`` and d.

    Raises:
        UserError: a sample has no points, or points that are not finite.
    """
    from scipy.stats import wasserstein_distance

    random = torch.Generator().manual_seed(seed)
    directions = F.normalize(torch.randn(projections, x.shape[1], generator=random, dtype=torch.float64), dim=1).numpy()
    on_lines = [directions @ _check(points, fewest=1).T for points in (x, y)]
    return math.fsum(wasserstein_distance(a, b) for a, b in zip(*on_lines, strict=True)) / projections


def share_near(points: Tensor, others: Tensor, *, radius: float) -> float:
    """The share of ``points`` ``[n d]`` that one of ``others`` ``[m d]`` lies within ``radius`` of, border included.

    Of a reference near generated points it is their coverage, the other way round their precision.

    Raises:
        UserError: one of the two holds points that are not finite.
    """
    from scipy.spatial import KDTree

    for side in (points, others):
        require_finite(side, "near points are counted")
    distances, _ = KDTree(others.double().cpu().numpy()).query(points.double().cpu().numpy())
    return float((distances <= radius).mean())


def _check(points: Tensor, *, fewest: int) -> np.ndarray:
    """``points`` float64 on the CPU. Raises `UserError` if they are too few or not finite."""
    if len(points) < fewest:
        raise UserError(f"two samples are compared: one has {len(points)} point(s); it needs at least {fewest}")
    require_finite(points, "two samples are compared")
    found: np.ndarray = points.to("cpu", torch.float64).numpy()
    return found
