"""Laws of latents whose velocity is known in closed form: a Gaussian and a mixture of Gaussians.

Time 0 is noise and 1 is data, as in `vaebench.nn.flows.flow`. Shapes: ``[b l h w]`` latents, ``K`` components, ``n``
tokens of ``d`` numbers: the places of a grid, or the whole latent as one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vaebench.config import signatures
from vaebench.config.signatures import Count, CountOrNone, NonNegative, Positive
from vaebench.nn import precision

Per = Literal["latent", "position"]


class Mixture(nn.Module):
    """``mean_k N(means[k], std^2 I)``: all components equally likely. Nothing in it is trained or stored.

    ``means`` ``[K d]``: with d = l h w the components are of whole latents; with d = l every place of the grid has a
    component of its own, independent of the others'. ``std`` above 0.
    """

    means: Tensor

    def __init__(self, means: Tensor, *, std: float, latent_shape: Sequence[int]) -> None:
        super().__init__()
        self.std = std
        self.latent_shape = tuple(latent_shape)
        self.by_position = means.shape[1] != latent_shape[0] * latent_shape[1] * latent_shape[2]
        self.register_buffer("means", means, persistent=False)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` latents float32 ``[count l h w]`` where ``generator`` lives, equal on all devices of its kind."""
        tokens = self.latent_shape[1] * self.latent_shape[2] if self.by_position else 1
        where = generator.device
        component = torch.randint(len(self.means), (count, tokens), generator=generator, device=where)
        noise = torch.randn(count, tokens, self.means.shape[1], generator=generator, device=where)
        return self._grid(self.means.to(where)[component] + self.std * noise)

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """``E[z - eps | t z + (1 - t) eps = x]``: latents ``[b l h w]`` at times ``[b]`` in [0, 1] -> ``[b l h w]``.

        Given component k, x is N(t mu_k, v I) with v = t^2 std^2 + (1 - t)^2, so that this is
        ``m + (t std^2 - (1 - t)) / v (x - t m)`` with ``m = E[mu | x]``.
        """
        tokens, time, mean, variance = self._given(x, t)
        slope = (time * self.std**2 - (1 - time)) / variance
        return self._grid(mean + slope * (tokens - time * mean))

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """The gradient of the log-density of ``t z + (1 - t) eps`` at ``x``: ``-(x - t m) / v``."""
        tokens, time, mean, variance = self._given(x, t)
        return self._grid((time * mean - tokens) / variance)

    def _given(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tokens ``[b n d]`` and times ``[b 1 1]``; the mean of the components given x ``[b n d]``, and ``v``."""
        tokens = x.flatten(2).mT if self.by_position else x.flatten(1)[:, None]
        time = t[:, None, None]
        variance = (time * self.std).square() + (1 - time).square()
        # In bfloat16 the likelihoods of two components could not be told apart.
        with precision.full(x.device):
            likelihood = (time * (tokens @ self.means.mT) - time.square() / 2 * self.means.square().sum(1)) / variance
            mean = likelihood.softmax(dim=-1) @ self.means
        return tokens, time, mean, variance

    def _grid(self, tokens: Tensor) -> Tensor:
        """``[b n d]`` -> ``[b l h w]``."""
        return tokens.mT.reshape(-1, *self.latent_shape)


def build(law: Mapping[str, Any], latent_shape: Sequence[int], *, where: str = "model.law") -> Mixture:
    """The law that plain data describes, on latents of ``latent_shape`` (l, h, w).

    ``{kind: gaussian}``: N(0, I). ``{kind: gmm, components, spread, std, seed, per}``: a mixture with means drawn once
    from N(0, spread^2 I) by ``seed``, equal for every caller; ``per``: latent or position, whose component it is. Its
    numbers have variance spread^2 + std^2 over all such mixtures. ``where``: what errors call it.

    Raises `UserError`: an unknown kind; unknown, missing, ill-typed or impossible options.
    """
    return signatures.chosen(where, law, _KINDS, latent_shape=latent_shape)


def _gaussian(*, latent_shape: Sequence[int]) -> Mixture:
    channels, height, width = latent_shape
    return Mixture(torch.zeros(1, channels * height * width), std=1.0, latent_shape=latent_shape)


def _gmm(
    *, components: Count, spread: NonNegative, std: Positive, seed: CountOrNone, per: Per, latent_shape: Sequence[int]
) -> Mixture:
    channels, height, width = latent_shape
    numbers = channels if per == "position" else channels * height * width
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(components, numbers, generator=generator, device=generator.device)
    means = means.to(torch.get_default_device())  # meta, where a training is only counted
    return Mixture(spread * means, std=std, latent_shape=latent_shape)


_KINDS: dict[str, Callable[..., Mixture]] = {"gaussian": _gaussian, "gmm": _gmm}
