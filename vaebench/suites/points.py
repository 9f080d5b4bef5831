"""Whether points that were moved towards a law have reached it (arXiv 2512.07778, Figure 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vaebench.config.signatures import Count, Positive, Seed
from vaebench.contracts import HasReference, Measurement, MovesPoints, SuiteInputs, SuiteResult
from vaebench.errors import UserError
from vaebench.metrics.points import share_near
from vaebench.metrics.two_samples import sliced_wasserstein
from vaebench.suites.common import seeded


@dataclass(frozen=True, kw_only=True)
class Points:
    """The last positions of a model's points against as many fresh points of the law its data follows.

    ``sliced_wasserstein``: over ``projections`` directions. ``coverage``: the share of the law's points with a moved
    one within ``radius``; ``precision``: the converse. ``std_x``, ``std_y``: of the moved points. ``...@reference``:
    the same of another draw of the law, the best that can be expected. ``seed``: of all draws.

    Arrays: ``path`` float32 ``[m n 2]`` and ``steps`` ``[m]`` of the moments that were reached, the last positions at
    the end, their ``arrows`` ``[m l k 2]`` at the ``levels`` ``[l]``, and the ``reference`` ``[n 2]``.
    """

    requires = (MovesPoints,)
    needs_classifier = False

    projections: Count
    radius: Positive
    seed: Seed

    @torch.no_grad()
    def run(self, inputs: SuiteInputs) -> SuiteResult:
        """Measure ``inputs.model``. Raises `UserError` for data that knows no law, or points that are not finite."""
        if not isinstance(inputs.data, HasReference):
            raise UserError(f"suite points compares with the law of the data: {inputs.data.name} has none; use s_curve")
        model = inputs.model
        reached = model.steps >= 0
        path = model.path[reached].cpu().float()
        random = seeded(self.seed)
        reference, again = (inputs.data.reference(path.shape[1], random) for _ in range(2))
        protocol = {"projections": self.projections, "radius": self.radius, "seed": self.seed, "order": 1}
        measured = []
        for suffix, points in (("", path[-1]), ("@reference", again)):
            values = {
                "sliced_wasserstein": sliced_wasserstein(
                    points, reference, projections=self.projections, seed=self.seed
                ),
                "coverage": share_near(reference, points, radius=self.radius),
                "precision": share_near(points, reference, radius=self.radius),
                "std_x": float(points[:, 0].std(correction=0)),
                "std_y": float(points[:, 1].std(correction=0)),
            }
            measured += [
                Measurement(f"{name}{suffix}", value, len(points), "", protocol) for name, value in values.items()
            ]
        arrays = {
            "path": path.numpy(),
            "steps": model.steps[reached].cpu().numpy(),
            "arrows": model.arrows[reached].cpu().float().numpy(),
            "levels": model.levels.cpu().float().numpy(),
            "reference": reference.numpy(),
        }
        return SuiteResult(tuple(measured), arrays)
