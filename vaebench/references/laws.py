"""Laws in closed form as references: they know nothing of the images (DMVAE, arXiv 2512.07778, Section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from vaebench.config.signatures import AtLeast2, Count, CountOrNone, NonNegative, Positive, checked
from vaebench.contracts import ReferenceInputs, ReferenceItems
from vaebench.nn.flows import laws


class Gaussian:
    """N(0, I). ``samples``: how many items are drawn."""

    @checked("reference")
    def __init__(self, *, samples: AtLeast2) -> None:
        self.samples = samples

    def draw(self, given: ReferenceInputs) -> ReferenceItems:
        """Items without labels, which follow from the seed."""
        return _drawn({"kind": "gaussian"}, self.samples, given)


class Mixture:
    """Equally likely isotropic Gaussians (`nn.flows.laws`): means from N(0, spread^2), each of deviation ``std``.

    ``components``: how many. ``seed``: of the means, which are the same whatever the seed of the run. ``per``: a
    component is drawn for each ``latent``, or for each ``position`` of its grid. ``samples``: how many items are drawn.
    """

    @checked("reference")
    def __init__(
        self,
        *,
        components: Count,
        spread: NonNegative,
        std: Positive,
        seed: CountOrNone,
        per: laws.Per,
        samples: AtLeast2,
    ) -> None:
        options = {"components": components, "spread": spread, "std": std, "seed": seed, "per": per}
        self.law = {"kind": "gmm", **options}
        self.samples = samples

    def draw(self, given: ReferenceInputs) -> ReferenceItems:
        """Items without labels, which follow from the two seeds."""
        return _drawn(self.law, self.samples, given)


def _drawn(law: Mapping[str, Any], samples: int, given: ReferenceInputs) -> ReferenceItems:
    generator = torch.Generator().manual_seed(given.seed)
    return ReferenceItems(laws.build(law, given.latent_shape).sample(samples, generator), None)
