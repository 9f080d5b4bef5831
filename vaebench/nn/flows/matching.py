"""Distribution matching: the difference of two flows' scores moves latents from one law to another.

DMD (Yin et al., arXiv 2311.18828) as DMVAE (arXiv 2512.07778, Eq. 8) uses it. Time 0 is noise and 1 is data, as in
`vaebench.nn.flows.flow`; the paper counts the other way. Shapes: ``z`` ``[b ...]``, ``t`` ``[b]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench.nn.flows import flow

Network = Callable[[Tensor, Tensor, Tensor], Tensor]  # states [b ...], times [b], labels [b] -> velocities [b ...]
Velocity = Callable[[Tensor, Tensor], Tensor]  # states and times -> velocities


@dataclass(frozen=True)
class Times:
    """Uniform in [``low``, ``high``]; within ``anneal_steps`` steps ``low`` rises evenly to ``anneal_to``, if given."""

    low: float
    high: float
    anneal_to: float | None
    anneal_steps: int | None

    def draw(self, count: int, step: int, device: torch.device) -> Tensor:
        """Times ``[count]`` of a training step, from the global generator."""
        low = self.low
        if self.anneal_to is not None and self.anneal_steps is not None:
            low += (self.anneal_to - low) * min(step / self.anneal_steps, 1.0)
        return low + (self.high - low) * torch.rand(count, device=device)


def time_mistakes(times: Sequence[float], anneal_to: float | None, anneal_steps: int | None) -> Iterator[str]:
    """One line for each option that `Times` cannot be built with."""
    if len(times) != 2 or not 0 <= times[0] < times[1] <= 1:
        yield f"model.times={list(times)}: expected two rising times from 0 (noise) to 1 (data)"
    elif anneal_to is None and anneal_steps is not None:
        yield f"model.anneal_steps={anneal_steps}: is for model.anneal_to, which is null; name the time to rise to"
    elif anneal_to is not None:
        if not times[0] <= anneal_to < times[1]:
            expected = f"a time from {times[0]} up to, not including, {times[1]} (times)"
            yield f"model.anneal_to={anneal_to}: expected {expected}"
        if anneal_steps is None:
            yield "model.anneal_steps=null: model.anneal_to needs the number of steps it takes"


def guided(network: Network, labels: Tensor, *, null: int, weight: float) -> Velocity:
    """``network`` given ``labels`` int64 ``[b]``, guided away from "any class": ``v_null + weight (v_y - v_null)``.

    Classifier-free guidance (Ho & Salimans, arXiv 2207.12598). ``null``: the label for "any class"; not asked for
    where ``weight`` is 1. Both velocities come from one batch of twice the size.
    """
    if weight == 1:
        return lambda x, t: network(x, t, labels)
    both = torch.cat([labels, torch.full_like(labels, null)])

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        given, free = network(torch.cat([x, x]), torch.cat([t, t]), both).chunk(2)
        return torch.lerp(free, given, weight)

    return velocity


@torch.no_grad()
# Two flows, because what moves a law to another is the difference of their scores, and one score alone does something
# else: along the real one every latent runs to the nearest mode, away from the fake one they fly apart. `real` has
# learnt the reference and is fixed; `fake` has to know where the latents are now, and they move. So it learns at every
# step of a training and the autoencoder at some of them only: where it lags, the difference points away from where the
# latents have been.
def gradient(z: Tensor, noise: Tensor, t: Tensor, *, real: Velocity, fake: Velocity, normalise: bool) -> Tensor:
    """What moves ``z`` from the law that ``fake`` knows towards that of ``real``, downhill; no graph.

    ``g = z_fake - z_real``, the data that each velocity predicts from ``z_t = t z + (1 - t) noise``: equal to
    ``(1 - t)^2 / t (s_fake - s_real)`` with their scores s. ``normalise``: divided by each item's mean
    ``|z - z_real|``, so that all noise levels weigh alike (Eq. 8, arXiv 2311.18828). Where that is 0, so is g.
    """
    state = flow.on_path(z, noise, t)
    v_real, v_fake = real(state, t), fake(state, t)
    difference = v_fake - v_real
    if not normalise:
        return (1 - t).view(-1, *[1] * (z.dim() - 1)) * difference
    # z_fake - z_real and z - z_real both have the factor 1 - t: without it no digits are lost near the data.
    distance = (flow.velocity(z, noise) - v_real).abs().mean(tuple(range(1, z.dim())), keepdim=True)
    return (difference / distance).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def loss(z: Tensor, g: Tensor) -> Tensor:
    """``mean((z - sg(z - g))^2) / 2``, whose gradient is ``g`` over the number of elements; a scalar."""
    return F.mse_loss(z, (z - g).detach()) / 2
