"""States half way along a diffusion model's path as a reference (DMVAE, arXiv 2512.07778, Section 4.1: "Difftraj")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from vaebench.config.signatures import Share, checked
from vaebench.contracts import ReferenceInputs, ReferenceItems
from vaebench.errors import UserError
from vaebench.nn.flows import flow
from vaebench.references.features import latents_of, seeded, standardised


@checked("reference")
@dataclass(kw_only=True, eq=False)
class DiffusionState:
    """``z_t = t z + (1 - t) eps`` of the latents z that a flow was trained on, standardised as it does.

    The flow's velocity is the mean of ``z - eps`` given ``z_t``, and the path that follows it from noise has at every t
    the law of ``z_t`` (arXiv 2210.02747, Theorem 1). Noising the latents therefore draws from the law of the states
    along the sampling of a flow that has learnt them, without the errors of its network and of the solver.

    ``time``: t in [0, 1]; 0 is noise and 1 data. The paper's 0.5 is the same counted from either end. The states are
    the reference's normalised units as they are: latents of deviation 1 give ``sqrt(t^2 + (1 - t)^2)``, 0.71 half way.
    """

    time: Share

    def draw(self, given: ReferenceInputs) -> ReferenceItems:
        """One state per image with its label. Raises `UserError` for latents of another shape, or without a flow."""
        latents = latents_of(given)
        if given.flow is None:
            raise UserError("reference: is made of a diffusion model's states, and no such model was given")
        mean, std = (cast(Tensor, moment).detach().cpu() for moment in (given.flow.mean, given.flow.std))
        with seeded(given.seed):
            z = standardised(latents, torch.arange(len(latents)), mean, std)
            noise = torch.randn_like(z)
        return ReferenceItems(flow.on_path(z, noise, torch.full((len(z),), self.time)), latents.labels.cpu())
