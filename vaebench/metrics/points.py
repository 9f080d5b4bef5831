"""Coverage and precision of points by a fixed distance."""

from __future__ import annotations

from torch import Tensor

from vaebench.metrics.finite import require_finite


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
