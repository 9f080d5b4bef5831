"""From noise to data along a velocity field: Euler, Heun, and a stochastic sampler with the same marginals.

Time runs from 0 (noise) to 1 (data), as in `vaebench.nn.flows.flow`. States are float32 ``[b ...]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from vaebench.config.signatures import whole
from vaebench.contracts import Sampling
from vaebench.nn.flows.flow import score

Field = Callable[[Tensor, float], Tensor]  # state [b ...] and time -> velocity [b ...]
Network = Callable[[Tensor, Tensor, Tensor], Tensor]  # state [b ...], times [b], labels [b] -> velocity [b ...]

LAST = 0.04  # length of the stochastic sampler's last step, which adds no noise (SiT, arXiv 2401.08740)


def unfit(sampling: Sampling, *, classes: int, null: bool, channels: int) -> Iterator[str]:
    """One line for each value of the suite's that this model cannot be sampled with.

    ``classes``: how many it knows. ``null``: whether it has learnt "any class". ``channels``: of its latents.
    """
    option = f"suite.guidance={sampling.guidance}"
    if sampling.guidance != 1 and not classes:
        yield f"{option}: the model knows no classes to be guided to; use 1"
    elif sampling.guidance != 1 and not null:
        yield (
            f"{option}: the model was trained with model.label_dropout=0 and has no velocity without a class to guide "
            "away from; use 1, or train with model.label_dropout=0.1"
        )
    wide = sampling.guidance_channels
    if wide is not None and (line := whole("suite.guidance_channels", wide, 1, channels, "of the latents; null: all")):
        yield line


def times(sampling: Sampling) -> list[float]:
    """The ``steps + 1`` times of the grid, 0 first and 1 last.

    ``t' = s t / (1 + (s - 1) t)`` of an even grid. The stochastic sampler's is compressed to end `LAST` before 1,
    and its last step goes from there.
    """
    if sampling.sampler == "sde":
        inner = [(1 - LAST) * time for time in _shifted(sampling.steps - 1, sampling.shift)]
        return [*inner, 1.0]
    return _shifted(sampling.steps, sampling.shift)


def _shifted(steps: int, shift: float) -> list[float]:
    """An even grid of ``steps`` steps, shifted; of 0 steps: [0]."""
    even = [step / max(steps, 1) for step in range(steps + 1)]
    return [shift * time / (shift * time + (1 - time)) for time in even]  # in this form exactly 1 at 1


def field(network: Network, labels: Tensor, sampling: Sampling, *, null: int) -> Field:
    """The velocity that `integrate` follows, with classifier-free guidance (Ho & Salimans, arXiv 2207.12598).

    ``labels`` int64 ``[b]``; ``null``: the label for "any class". Where guidance is on, both velocities come from one
    batch of twice the size; channels without guidance have the class's velocity, as at times before
    ``guidance_from``.
    """
    both = torch.cat([labels, torch.full_like(labels, null)])

    def plain(z: Tensor, time: float) -> Tensor:
        return network(z, z.new_full((len(z),), time), labels)

    def guided(z: Tensor, time: float) -> Tensor:
        if time < sampling.guidance_from:
            return plain(z, time)
        doubled = torch.cat([z, z])
        given, free = network(doubled, z.new_full((len(doubled),), time), both).chunk(2)
        channels = z.shape[1] if sampling.guidance_channels is None else sampling.guidance_channels
        steered = torch.lerp(free[:, :channels], given[:, :channels], sampling.guidance)
        return torch.cat([steered, given[:, channels:]], dim=1)

    return plain if sampling.guidance == 1 else guided


def integrate(velocity: Field, noise: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """Follow ``velocity`` from ``noise`` ``[b ...]`` at time 0 to time 1.

    ``euler``: one velocity per step. ``heun``: two, second order. ``sde``: Euler-Maruyama for
    ``dz = (v + (1 - t) score) dt + sqrt(2 (1 - t)) dW``, which has the flow's marginals; its last step is the mean's.
    ``generator``: of the noise of ``sde``, drawn where it lives.
    """
    step = {"euler": _euler, "heun": _heun, "sde": _maruyama}[sampling.sampler]
    z = noise
    for before, after in pairwise(times(sampling)):
        z = step(velocity, z, before, after, generator)
    return z


def _euler(velocity: Field, z: Tensor, before: float, after: float, generator: torch.Generator) -> Tensor:
    return z + (after - before) * velocity(z, before)


def _heun(velocity: Field, z: Tensor, before: float, after: float, generator: torch.Generator) -> Tensor:
    """The mean of the velocities at both ends of Euler's step."""
    first = velocity(z, before)
    second = velocity(z + (after - before) * first, after)
    return z + (after - before) / 2 * (first + second)


def _maruyama(velocity: Field, z: Tensor, before: float, after: float, generator: torch.Generator) -> Tensor:
    length, v = after - before, velocity(z, before)
    mean = z + length * (v + (1 - before) * score(v, z, before))
    if after == 1:
        return mean
    draw = torch.randn(z.shape, generator=generator, device=generator.device, dtype=z.dtype).to(z.device)
    return mean + (2 * (1 - before) * length) ** 0.5 * draw
