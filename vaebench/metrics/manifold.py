"""Precision and recall of samples by k-nearest-neighbour balls (Kynkäänniemi et al. 2019, arXiv 1904.06991)."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench.errors import UserError
from vaebench.metrics.finite import require_finite

_IN_FLIGHT = 2**22  # distances at a time: 32 MB in float64


def precision_recall(reference: Tensor, samples: Tensor, *, neighbours: int) -> tuple[float, float]:
    """Shares of the features of one set that lie within the other set's manifold, each in [0, 1].

    A set's manifold is the union of balls, one around each of its points, that reach to the point's ``neighbours``-th
    nearest other point of the set; the border belongs to it. Precision: the share of ``samples`` within the manifold of
    ``reference``; recall: the reverse. Both sets should be of like size: a ball shrinks as its set grows.

    Args:
        reference: features of real images ``[n d]``, any floating dtype; on the device where the search is to run.
        samples: features of generated images ``[m d]``, there too.
        neighbours: k, at least 1; the paper takes 3.

    Raises:
        UserError: a set has no more than ``neighbours`` points, or points that are not finite.
    """
    for name, points in (("reference", reference), ("generated", samples)):
        if len(points) <= neighbours:
            raise UserError(
                f"precision and recall: {len(points)} {name} images have no {neighbours} neighbours each; take more "
                "images or fewer neighbours"
            )
        require_finite(points, f"features of the {name} images")
    # float64, because a matrix product gives the distances: in float32 those of near neighbours would be rounding.
    real, fake = reference.double(), samples.double()
    real_radii, fake_radii = _radii(real, neighbours), _radii(fake, neighbours)
    precise = 0
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for part, radii in zip(_split(fake, len(real)), _split(fake_radii, len(real)), strict=True):
        distances = torch.cdist(part, real)
        precise += int((distances <= real_radii).any(1).sum())
        recalled |= (distances <= radii[:, None]).any(0)
    return precise / len(fake), float(recalled.double().mean())


def _radii(points: Tensor, neighbours: int) -> Tensor:
    """``[n]``: distance of each of ``points`` ``[n d]`` to its ``neighbours``-th nearest other point."""
    # One more than asked for, because every point is its own nearest.
    parts = [
        torch.cdist(part, points).topk(neighbours + 1, largest=False).values for part in _split(points, len(points))
    ]
    return torch.cat(parts)[:, -1]


def _split(rows: Tensor, columns: int) -> tuple[Tensor, ...]:
    return rows.split(max(1, _IN_FLIGHT // columns))
