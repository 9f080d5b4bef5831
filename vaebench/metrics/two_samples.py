"""How far two sets of points lie apart: kernels, slices, near points; how varied and how alike sets of images are.

None of them fits anything to the samples, unlike the Frechet distance, which sees means and covariances only. Points
are ``[n d]`` of any floating dtype, compared in float64: on the CPU where a function says so, else on their own device.
`UserError` is raised for points that are not finite, and for fewer than a measure needs.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vaebench.errors import UserError

_IN_FLIGHT = 2**22  # pairs of points at a time: 32 MB in float64


def require_finite(rows: Tensor, name: str) -> None:
    """Raise `UserError` if one of ``rows`` ``[n ...]`` holds NaN or infinity; ``name``: what the error calls them.

    What compares, cuts or sorts would make an ordinary number of them.
    """
    bad = (~rows.isfinite()).flatten(1).any(1)
    if bad.any():
        first = int(bad.nonzero()[0])
        raise UserError(
            f"{name}: {int(bad.sum())} of {len(rows)} rows hold NaN or infinity (first: row {first}); "
            "look at what they come from: a model that diverged, broken data"
        )


def median_distance(points: Tensor) -> float:
    """The median Euclidean distance of two different ones of ``points``: the usual bandwidth of a Gaussian kernel.

    At least two points are needed, of which most may not be equal: no kernel has that width. On the CPU.
    """
    found = float(F.pdist(torch.from_numpy(_checked(points, fewest=2))).median())
    if found == 0:
        raise UserError(f"most of {len(points)} points are equal: their median distance, 0, is no width of a kernel")
    return found


def maximum_mean_discrepancy(x: Tensor, y: Tensor, *, bandwidth: float) -> float:
    """Unbiased squared MMD (Gretton et al. 2012, Eq. 3) with the kernel ``exp(-|a - b|^2 / (2 bandwidth^2))``.

    Below 0 at times, where the two laws are alike; at most 2. Either sample has at least two points; needs ``8 n^2``
    bytes. On the CPU.
    """
    from sklearn.metrics.pairwise import rbf_kernel

    gamma = 1 / (2 * bandwidth**2)
    a, b = (_checked(points, fewest=2) for points in (x, y))
    # A point's kernel with itself is 1 and stays out of the mean over pairs.
    inside = sum((rbf_kernel(own, gamma=gamma).sum() - len(own)) / (len(own) * (len(own) - 1)) for own in (a, b))
    return float(inside - 2 * rbf_kernel(a, b, gamma=gamma).mean())


def sliced_wasserstein(x: Tensor, y: Tensor, *, projections: int, seed: int) -> float:
    """Mean over ``projections`` random directions of the 1-Wasserstein distance of the points' projections.

    Bonneel et al. 2015, with order 1. The directions are uniform on the sphere and the same for equal ``seed`` and d.
    On the CPU.
    """
    from scipy.stats import wasserstein_distance

    random = torch.Generator().manual_seed(seed)
    directions = F.normalize(torch.randn(projections, x.shape[1], generator=random, dtype=torch.float64), dim=1).numpy()
    on_lines = [directions @ _checked(points, fewest=1).T for points in (x, y)]
    return math.fsum(wasserstein_distance(a, b) for a, b in zip(*on_lines, strict=True)) / projections


def share_near(points: Tensor, others: Tensor, *, radius: float) -> float:
    """The share of ``points`` that one of ``others`` lies within ``radius`` of, border included. On the CPU.

    Of a reference near generated points it is their coverage, the other way round their precision.
    """
    from scipy.spatial import KDTree

    near, far = (_checked(side, fewest=0) for side in (points, others))
    distances, _ = KDTree(far).query(near)
    return float((distances <= radius).mean())


def _checked(points: Tensor, *, fewest: int) -> np.ndarray:
    if len(points) < fewest:
        raise UserError(f"two samples are compared: one has {len(points)} point(s); it needs at least {fewest}")
    require_finite(points, "two samples are compared")
    found: np.ndarray = points.to("cpu", torch.float64).numpy()
    return found


def kernel_distance(reference: Tensor, samples: Tensor) -> float:
    """KID, if the features of images are Inception's (Binkowski et al. 2018, arXiv 1801.01401); can be below 0.

    Unbiased squared maximum mean discrepancy under the kernel ``(x . y / d + 1)^3``, of all pairs at once: the mean
    that the customary random subsets estimate, without their noise. Either side has at least two images.
    """

    def total(x: Tensor, y: Tensor) -> Tensor:
        """Sum of the kernel over all pairs."""
        return torch.stack([(part @ y.T / x.shape[1] + 1).pow(3).sum() for part in _parts(x, len(y))]).sum()

    def within(x: Tensor) -> Tensor:
        """Mean kernel of two different points."""
        same = (x.square().sum(1) / x.shape[1] + 1).pow(3).sum()
        return (total(x, x) - same) / (len(x) * (len(x) - 1))

    x, y = _features(reference, samples, 2, "kernel distance: {} image(s); it needs at least 2")
    return (within(x) + within(y) - 2 * total(x, y) / (len(x) * len(y))).item()


def precision_recall(reference: Tensor, samples: Tensor, *, neighbours: int) -> tuple[float, float]:
    """Shares of the features of one set that lie within the other set's manifold, each in [0, 1].

    Kynkäänniemi et al. 2019 (arXiv 1904.06991), who take 3 ``neighbours``. A set's manifold is the union of balls, one
    around each of its points, that reach to the point's ``neighbours``-th nearest other point of the set; the border
    belongs to it. Precision: the share of ``samples`` within the manifold of ``reference``; recall: the reverse. Both
    sets have more than ``neighbours`` points and should be of like size: a ball shrinks as its set grows.
    """
    few = f"precision and recall: {{}} images have no {neighbours} neighbours each"
    # float64, because a matrix product gives the distances: in float32 those of near neighbours would be rounding.
    real, fake = _features(reference, samples, neighbours + 1, f"{few}; take more images or fewer neighbours")
    real_radii, fake_radii = _radii(real, neighbours), _radii(fake, neighbours)
    precise = 0
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for part, radii in zip(_parts(fake, len(real)), _parts(fake_radii, len(real)), strict=True):
        distances = torch.cdist(part, real)
        precise += int((distances <= real_radii).any(1).sum())
        recalled |= (distances <= radii[:, None]).any(0)
    return precise / len(fake), float(recalled.double().mean())


def _radii(points: Tensor, neighbours: int) -> Tensor:
    """``[n]``: distance of each point to its ``neighbours``-th nearest other one."""
    # One more than asked for, because every point is its own nearest.
    parts = [
        torch.cdist(part, points).topk(neighbours + 1, largest=False).values for part in _parts(points, len(points))
    ]
    return torch.cat(parts)[:, -1]


def _parts(rows: Tensor, columns: int) -> tuple[Tensor, ...]:
    return rows.split(max(1, _IN_FLIGHT // columns))


def _features(reference: Tensor, samples: Tensor, fewest: int, few: str) -> list[Tensor]:
    """Both sides in float64; ``few`` says what is wrong with ``{}`` images."""
    for name, points in (("reference", reference), ("generated", samples)):
        if len(points) < fewest:
            raise UserError(few.format(f"{len(points)} {name}"))
        require_finite(points, f"features of the {name} images")
    return [reference.double(), samples.double()]


def inception_score(logits: Tensor, *, splits: int) -> float:
    """Mean over ``splits`` parts of ``exp(mean_x KL(p(y|x) || p(y)))``, p(y) the part's own (arXiv 1606.03498).

    At least 1, at most the number of classes. Parts are made in the order of ``logits`` ``[n classes]``, so images must
    not be sorted by class. Raises `UserError` for fewer images than parts.
    """
    if len(logits) < splits:
        raise UserError(f"inception score: {len(logits)} images cannot be divided into {splits} parts")
    log_p = logits.double().log_softmax(1)
    scores = []
    for part in log_p.tensor_split(splits):
        marginal = part.logsumexp(0) - math.log(len(part))
        scores.append((part.exp() * (part - marginal)).sum(1).mean().exp())
    return torch.stack(scores).mean().item()
