"""Autoencoders of images whose code is a vector: their options, networks, and the two halves of their loss."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Len
from torch import Tensor, nn

from vaebench.config.signatures import Count, NonNegative, Positive
from vaebench.contracts import Batch, LossOutput, Phase
from vaebench.errors import UserError
from vaebench.nn import latents

Network = Literal["mlp", "conv"]
Hidden = Annotated[Sequence[Count], Len(1)] | None
ReconLoss = Literal["bce", "mse"]
Output = Literal["clamp"]
Reduction = Literal["mean", "sum"]
_HIDDEN: dict[Network, Sequence[int]] = {"mlp": (512, 256), "conv": (256,)}  # where ``hidden`` is null
CHANNELS = (32, 64)  # of the convolutions, each with kernel 4, stride 2, padding 1
_SHRINK = 2 ** len(CHANNELS)


@dataclass(eq=False, repr=False, kw_only=True)
class FlatAutoencoder(nn.Module):
    """What the methods with a vector as their code share; no method by itself.

    ``input_shape`` (c, h, w); ``latent_dim`` l; ``network`` mlp or conv; ``hidden`` widths of the fully connected
    layers, from image to code, which the decoder has in reverse (null: the network's own); ``recon_loss`` mse or bce;
    ``reduction`` over pixels and over latent dimensions, sum or mean; ``output`` null or clamp: images are the sigmoid
    of what the decoder gives, or that itself, cut to [0, 1] after training. ``input_noise``: standard deviation of the
    Gaussian noise on what the encoder sees in training, not cut to [0, 1]; the target stays clean (null: no noise).
    """

    moments: ClassVar[int] = 1  # what the encoder gives for each latent dimension
    input_shape: Sequence[int]
    latent_dim: Count
    network: Network
    hidden: Hidden
    recon_loss: ReconLoss
    reduction: Reduction
    output: Output | None
    input_noise: Positive | None

    def __post_init__(self) -> None:
        if self.output == "clamp" and self.recon_loss == "bce":
            raise UserError("model.output=clamp: recon_loss=bce needs probabilities; use mse, or output=null")
        super().__init__()
        self.encoder, self.decoder = pair(
            self.network,
            shape=self.input_shape,
            hidden=self.hidden,
            outputs=self.moments * self.latent_dim,
            latent_dim=self.latent_dim,
        )

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase over all parameters."""
        return (Phase("autoencoder", tuple(self.parameters()), self.loss),)

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """The method's own."""
        raise NotImplementedError

    def noisy(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` as the encoder sees them in training."""
        return x if self.input_noise is None else x + self.input_noise * torch.randn_like(x)

    def decode(self, z: Tensor) -> Tensor:
        """Codes ``[b l]``, masked already where the method masks them -> images ``[b c h w]`` in [0, 1]."""
        found = self.decoder(z).float()
        return found.sigmoid() if self.output is None else found.clamp(0, 1)

    def reconstruction(self, z: Tensor, x: Tensor) -> Tensor:
        """The error of what the decoder makes of codes ``z`` of the images ``x``, a scalar."""
        loss = self.recon_loss if self.output is None else "linear"
        return reconstruction(self.decoder(z), x, recon_loss=loss, reduction=self.reduction)


@dataclass(eq=False, repr=False, kw_only=True)
class FlatVAE(FlatAutoencoder):
    """A `FlatAutoencoder` with a Gaussian posterior; ``beta``: the weight of its KL from N(0, I)."""

    moments: ClassVar[int] = 2  # mean and log-variance
    beta: NonNegative

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images ``[b c h w]`` -> mean and log-variance, float32 ``[b l]`` each."""
        return latents.posterior(self.encoder(x))

    def encode_drawn(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Images ``[b c h w]`` -> a draw of each one's posterior ``[b l]``, masked where the method masks its means."""
        mu, logvar = self.posterior(x)
        noise = torch.randn(mu.shape, generator=generator, device=generator.device).to(mu.device)
        return self.masked(torch.addcmul(mu, (logvar / 2).exp(), noise), mu, logvar)

    def masked(self, z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        """Test-time codes ``z`` ``[b l]`` of a posterior, 0 where the method keeps nothing; here it keeps all."""
        del mu, logvar
        return z

    def elbo(self, z: Tensor, mu: Tensor, logvar: Tensor, x: Tensor, mask: Tensor | None = None) -> LossOutput:
        """``recon + beta kl``: of codes ``z`` ``[b l]``, masked already, and of all of the posterior.

        Terms ``recon`` and ``kl``, unweighted; with a ``mask`` ``kl_kept``, the part of ``kl`` in the kept latents.
        """
        recon = self.reconstruction(z, x)
        per_entry = latents.gaussian_kl(mu, logvar)
        kl = over_latents(per_entry, reduction=self.reduction)
        terms = {"recon": recon.detach(), "kl": kl.detach()}
        if mask is not None:
            terms["kl_kept"] = over_latents(per_entry.detach() * mask, reduction=self.reduction)
        return LossOutput(recon + self.beta * kl, terms)

    def prior_codes(self, count: int, generator: torch.Generator) -> Tensor:
        """``[count l]`` from N(0, I), on the model's device."""
        return latents.prior_sample(count, self.latent_dim, generator, next(self.parameters()).device)


def reconstruction(
    logits: Tensor, x: Tensor, *, recon_loss: ReconLoss | Literal["linear"], reduction: Reduction
) -> Tensor:
    """Mean over the batch of each image's error, a scalar; ``logits`` and ``x`` (in [0, 1]) ``[b c h w]``.

    ``mse``: squared error of sigmoid(logits); ``linear``: of ``logits`` themselves. ``bce``: Bernoulli negative
    log-likelihood, in nats. ``reduction`` is over the pixels and channels of an image.
    """
    logits = logits.float()
    if recon_loss != "bce":
        error = F.mse_loss(logits.sigmoid() if recon_loss == "mse" else logits, x, reduction=reduction)
    else:
        error = F.binary_cross_entropy_with_logits(logits, x, reduction=reduction)
    return error / len(x) if reduction == "sum" else error


def over_latents(values: Tensor, *, reduction: Reduction) -> Tensor:
    """Mean over the batch of the sum (or mean) over the latent dimensions of ``[b l]``, a scalar.

    With the same ``reduction`` as `reconstruction` beta means "sum / sum" or "mean / mean"; no mixture is offered,
    because "mean over pixels, sum over dimensions" multiplies beta by the number of pixels.
    """
    return values.sum() / len(values) if reduction == "sum" else values.mean()


def pair(
    network: Network, *, shape: Sequence[int], hidden: Hidden, outputs: int, latent_dim: int
) -> tuple[nn.Sequential, nn.Sequential]:
    """The encoder, images ``[b c h w]`` of ``shape`` (c, h, w) -> ``[b outputs]``, and the decoder, its mirror image.

    The decoder takes ``[b latent_dim]`` and gives logits ``[b c h w]``. Raises `UserError` for sides of images that
    the convolutions do not divide.
    """
    channels, height, width = shape
    widths = _HIDDEN[network] if hidden is None else tuple(hidden)
    inner = (channels, height, width)
    down: list[nn.Module] = []
    up: list[nn.Module] = []
    if network == "conv":
        if height % _SHRINK or width % _SHRINK:
            raise UserError(
                f"model.network=conv: the sides of {height} x {width} images are not multiples of {_SHRINK}; use mlp"
            )
        inner = (CHANNELS[-1], height // _SHRINK, width // _SHRINK)
        for before, after in pairwise((channels, *CHANNELS)):
            down += [nn.Conv2d(before, after, 4, 2, 1), nn.ReLU()]
    encoder = nn.Sequential(*down, nn.Flatten(), *_linears((math.prod(inner), *widths, outputs)))
    linears = [*_linears((latent_dim, *reversed(widths), math.prod(inner))), nn.Unflatten(1, inner)]
    if network == "conv":
        for before, after in pairwise((*reversed(CHANNELS), channels)):
            up += [nn.ReLU(), nn.ConvTranspose2d(before, after, 4, 2, 1)]
    return encoder, nn.Sequential(*linears, *up)


def _linears(widths: Sequence[int]) -> Iterator[nn.Module]:
    """Linear layers with a ReLU between any two."""
    for index, (before, after) in enumerate(pairwise(widths)):
        if index:
            yield nn.ReLU()
        yield nn.Linear(before, after)
