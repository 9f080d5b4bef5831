"""Exact Euclidean neighbours of points of a few dimensions: a k-d tree on the CPU, batched search on a GPU.

Shapes: ``m`` points, ``n`` queries, ``d`` width (3 to 16 here).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Distances in flight of one batched search: 64 million float32 are 256 MB.
_BATCH = 2**26
# Scores in flight of one search for the nearest code on the CPU: 2 MB, which stays in the processor's cache.
_CACHED = 2**19


class Neighbours:
    """Distances from any query to its k-th nearest among fixed ``points``, float32 ``[m d]``, on either device.

    The points are copied where the search needs it (the CPU's tree) and must not be changed while it is in use
    elsewhere. Which structure finds them leaves no trace in the numbers: the search is exact.
    """

    def __init__(self, points: Tensor) -> None:
        self.device = points.device
        self._points = points
        self._tree: Any = None
        if points.device.type == "cpu":
            from scipy.spatial import cKDTree

            # Sliding midpoints build in half the time of medians, and queries take as long.
            self._tree = cKDTree(points.numpy(), leafsize=16, balanced_tree=False, compact_nodes=False)

    def kth(self, queries: Tensor, ranks: tuple[int, ...]) -> Tensor:
        """float32 ``[n len(ranks)]``: distance from each of ``queries`` ``[n d]`` to its k-th nearest point.

        ``ranks``: the k, 1 to m. A query that is one of the points has that point as its first neighbour, at 0.
        A query that is not finite has NaN distances.
        """
        if self._tree is None:
            return _batched(self._points, queries, ranks)
        finite = queries.isfinite().all(dim=1, keepdim=True)  # the tree refuses others
        safe = queries.where(finite, 0.0).numpy()
        distances = torch.from_numpy(self._tree.query(safe, k=list(ranks), workers=torch.get_num_threads())[0])
        return distances.to(queries.dtype).where(finite, torch.nan)


def _batched(points: Tensor, queries: Tensor, ranks: tuple[int, ...]) -> Tensor:
    """`Neighbours.kth` by all distances, as many queries at a time as fit."""
    columns = torch.tensor(ranks, device=points.device) - 1
    found = []
    for part in queries.split(max(1, _BATCH // len(points))):
        # Differences, not the matrix product: near neighbours would drown in its rounding.
        distances = torch.cdist(part, points, compute_mode="donot_use_mm_for_euclid_dist")
        found.append(distances.topk(max(ranks), dim=1, largest=False).values[:, columns])
    return torch.cat(found)


@torch.no_grad()
def nearest(points: Tensor, queries: Tensor) -> Tensor:
    """Index int64 ``[n]`` of the point nearest to each of ``queries`` ``[n d]``; the first of equals.

    By ``|p|^2 / 2 - q p``: the term |q|^2 that all share is left out, so that small codes far from all queries (a new
    VQ-VAE's) are still told apart.
    """
    half = points.square().sum(dim=1) / 2
    most = _CACHED if points.device.type == "cpu" else _BATCH
    parts = queries.split(max(1, most // len(points)))
    return torch.cat([torch.addmm(half, part, points.T, alpha=-1).argmin(dim=1) for part in parts])
