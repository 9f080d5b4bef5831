"""Laws in closed form as references: they know nothing of the images (DMVAE, arXiv 2512.07778, Section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from vaebench.config.signatures import AtLeast2, Count, CountOrNone, NonNegative, Positive, checked
from vaebench.contracts import ReferenceInputs, ReferenceItems
from vaebench.nn.flows import laws


@checked("reference")
@dataclass(kw_only=True, eq=False)
class Gaussian:
    """N(0, I). ``samples``: how many items are drawn."""

    samples: AtLeast2

    def draw(self, given: ReferenceInputs) -> ReferenceItems:
        """Items without labels, which follow from the seed."""
        return _drawn({"kind": "gaussian"}, self.samples, given)


@checked("reference")
@dataclass(kw_only=True, eq=False)
class Mixture:
    """Equally likely isotropic Gaussians (`nn.flows.laws`): means from N(0, spread^2), each of deviation ``std``.

    ``components``: how many. ``seed``: of the means, which are the same whatever the seed of the run. ``per``: a
    component is drawn for each ``latent``, or for each ``position`` of its grid. ``samples``: how many items are drawn.
    """

    components: Count
    spread: NonNegative
    std: Positive
    seed: CountOrNone
    per: laws.Per
    samples: AtLeast2

    def draw(self, given: ReferenceInputs) -> ReferenceItems:
        """Items without labels, which follow from the two seeds."""
        law = {name: value for name, value in vars(self).items() if name != "samples"}
        return _drawn({"kind": "gmm", **law}, self.samples, given)


def _drawn(law: Mapping[str, Any], samples: int, given: ReferenceInputs) -> ReferenceItems:
    generator = torch.Generator().manual_seed(given.seed)
    return ReferenceItems(laws.build(law, given.latent_shape).sample(samples, generator), None)
