"""Whether points that were moved towards a law have reached it (arXiv 2512.07778, Figure 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaebench.config.signatures import Count, Positive, Seed
from vaebench.contracts import Measurement, MovesPoints, SuiteInputs, SuiteResult
from vaebench.data.points import PointData
from vaebench.errors import UserError
from vaebench.metrics.two_samples import share_near, sliced_wasserstein
from vaebench.suites.common import seeded


@dataclass(frozen=True, kw_only=True)
class Points:
    """The last positions of a model's points against as many fresh points of the law its data follows.

    ``sliced_wasserstein``: over ``projections`` directions. ``coverage``: the share of the law's points with a moved
    one within ``radius``; ``precision``: the converse. ``std_x``, ``std_y``: of the moved points. ``...@reference``:
    the same of another draw of the law, the best that can be expected. ``seed``: of all draws.

    Arrays: what `MovesPoints.kept` gives, and the ``reference`` ``[n 2]``.
    """

    requires = (MovesPoints,)
    needs_classifier = False

    projections: Count
    radius: Positive
    seed: Seed

    @torch.no_grad()
    def run(self, inputs: SuiteInputs) -> SuiteResult:
        """Measure ``inputs.model``. Raises `UserError` for data that knows no law, or points that are not finite."""
        data: Any = inputs.data
        if not isinstance(data, PointData):
            raise UserError(f"suite points compares with the law of the data: {data.name} has none; use s_curve")
        kept = inputs.model.kept()
        moved, random = kept["path"][-1], seeded(self.seed)
        reference, again = (data.reference(len(moved), random) for _ in range(2))
        protocol = {"projections": self.projections, "radius": self.radius, "seed": self.seed, "order": 1}
        measured = [
            Measurement(f"{name}{suffix}", value, len(points), "", protocol)
            for suffix, points in (("", moved), ("@reference", again))
            for name, value in self._compared(points, reference).items()
        ]
        arrays = {name: found.numpy() for name, found in {**kept, "reference": reference}.items()}
        return SuiteResult(tuple(measured), arrays)

    def _compared(self, points: Tensor, reference: Tensor) -> dict[str, float]:
        return {
            "sliced_wasserstein": sliced_wasserstein(points, reference, projections=self.projections, seed=self.seed),
            "coverage": share_near(reference, points, radius=self.radius),
            "precision": share_near(points, reference, radius=self.radius),
            "std_x": float(points[:, 0].std(correction=0)),
            "std_y": float(points[:, 1].std(correction=0)),
        }
