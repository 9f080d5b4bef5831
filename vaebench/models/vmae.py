"""VMAE: a variational masked autoencoder for latent diffusion (Lee et al., ICCV 2025, arXiv 2507.09984).

What the paper leaves open, or its authors' code does otherwise, is an option here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import InitVar, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.config.signatures import Fraction, NonNegative, Positive, Share, checked
from vaebench.contracts import Batch, LossOutput, Phase
from vaebench.errors import UserError
from vaebench.nn import across
from vaebench.nn.latents import bounded_posterior, mean_free_kl, reparameterise
from vaebench.nn.losses.reconstruction import Kind, Perceptual
from vaebench.nn.networks import grid
from vaebench.nn.transformers.vit import kept_patches

_GREY = 0.5  # a hidden patch in a picture


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class VMAE(grid.GridModel):
    """``(1 - rho) L_M + rho L_R + kl_weight KL + perceptual_weight P``, of images the encoder sees only patches of.

    ``mask_ratio``: share of the patches that are hidden, anew for each image and step; 0 hides none. ``L_M``, ``L_R``:
    mean squared error over the pixels, in [-1, 1], of the hidden and of the visible patches; an ``L_M`` of nothing is
    0. ``visible_weight`` rho. ``KL(N(mu, sigma), N(mu, prior_std))``, so that the mean is free: summed over channels,
    mean over visible patches and batch. P: `Perceptual` of ``perceptual``, on whole images. ``sample``: whether z is
    drawn, else the mean. ``freeze_encoder``: only the decoder is trained. ``network``: a file of ``conf/network`` of
    kind vit.

    With ``sample`` false and no ``kl_weight`` the log-variance means nothing and `latent_moments` gives none, unless
    the training began with a model that has one. Test-time latents are the means of all patches.
    """

    adopts = ("start", "perceptual")
    keeps = ()

    stochastic: Tensor = field(init=False)
    input_shape: Sequence[int]
    network: InitVar[Mapping[str, Any]]
    mask_ratio: Fraction
    visible_weight: Share
    prior_std: Positive
    kl_weight: NonNegative
    perceptual: Kind
    perceptual_weight: NonNegative
    sample: InitVar[bool]  # `draws` from then on: a method `sample` would say that it samples images
    freeze_encoder: bool

    def __post_init__(self, network: Mapping[str, Any], sample: bool) -> None:
        super().__init__()
        if not self.mask_ratio and self.visible_weight != 1:
            raise UserError(
                f"model.visible_weight={self.visible_weight}: with model.mask_ratio=0 nothing is hidden; set it to 1"
            )
        self.options = {name: value for name, value in network.items() if name != "version"}
        self.network = grid.build(network, input_shape=self.input_shape, masked=True)
        self.latent_shape = self.network.latent_shape
        patches = self.network.grid[0] * self.network.grid[1]
        self.seen = kept_patches(patches, self.mask_ratio)
        if not self.seen:
            raise UserError(
                f"model.mask_ratio={self.mask_ratio}: none of the {patches} patches of an image would be seen"
            )
        self.masks = self.seen < patches
        self.distance = Perceptual(self.perceptual, self.input_shape)
        self.perceptual_weight = self.perceptual_weight if self.perceptual != "none" else 0.0
        self.draws = sample
        self.register_buffer("stochastic", torch.tensor(self._learns_variance))

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase, over all parameters or over the decoder's."""
        trained = self.network.decoder if self.freeze_encoder else self.network
        return (Phase("autoencoder", tuple(trained.parameters()), self.loss),)

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """Terms ``l_m``, ``l_r`` and where they are asked for ``kl``, ``perceptual``.

        With a ``kl`` also ``sigma_ratio``: the mean sigma over the latents' standard deviation (per channel, its mean).
        It tells whether the noise matters: with its mean free, an encoder can outgrow any sigma.
        """
        x = 2 * batch.x - 1
        order = self.network.shuffled_patches(len(x), None, x.device) if self.masks else None
        kept = None if order is None else order[:, : self.seen]
        with torch.no_grad() if self.freeze_encoder else nullcontext():
            mean, logvar = bounded_posterior(self.network.encoder(x, kept), dim=2)
        z = reparameterise(mean, logvar) if self.draws else mean
        y = self.network.decoder(z, kept).float()
        l_m, l_r = self._errors(y, x, order)
        total = (1 - self.visible_weight) * l_m + self.visible_weight * l_r
        terms = {"l_m": l_m.detach(), "l_r": l_r.detach()}
        if self._learns_variance:
            kl = mean_free_kl(logvar, prior_std=self.prior_std).sum(dim=2).mean()
            total = total + self.kl_weight * kl
            spread = _deviation(mean.detach()).mean()
            terms |= {"kl": kl.detach(), "sigma_ratio": (logvar.detach() / 2).exp().mean() / spread}
        if self.perceptual_weight:
            distance = self.distance((y + 1) / 2, batch.x)
            total = total + self.perceptual_weight * distance
            terms["perceptual"] = distance.detach()
        return LossOutput(total, terms)

    def adopt(self, role: str, parent: nn.Module) -> None:
        """Start with the weights of another VMAE, or take the classifier of the perceptual term."""
        {"start": self._start, "perceptual": self.distance.perceive}[role](parent)

    def _start(self, trained: nn.Module) -> None:
        """Takes the weights of a `VMAE` for images of another size; tables of positions are resized bilinearly.

        Raises `UserError`: it is another model, its network has other options, or its images other channels.
        """
        if not isinstance(trained, VMAE):
            raise UserError(f"VMAE starts with the weights of another VMAE, not of {type(trained).__name__}")
        mistakes = [
            f"model.network.{name}={self.options[name]}: the model to start with has {trained.options.get(name)}"
            for name in self.options
            if self.options[name] != trained.options.get(name)
        ]
        if self.input_shape[0] != trained.input_shape[0]:
            mistakes.append(
                f"model.input_shape={list(self.input_shape)}: the model to start with is for images of "
                f"{trained.input_shape[0]} channels"
            )
        if mistakes:
            raise UserError(*mistakes)
        self.network.start_from(trained.network)
        self.stochastic.logical_or_(trained.stochastic)

    def complete(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images with ``mask_ratio`` of their patches grey, and what is made of the mean latents of the others."""
        order = self.network.shuffled_patches(len(x), generator, x.device)
        kept = order[:, : self.seen]
        visible = torch.zeros_like(order, dtype=torch.bool).scatter(1, kept, True)
        pixels = visible.view(-1, 1, *self.network.grid)
        pixels = pixels.repeat_interleave(self.network.patch, dim=2).repeat_interleave(self.network.patch, dim=3)
        mean = bounded_posterior(self.network.encoder(2 * x - 1, kept), dim=2)[0]
        return x.where(pixels, _GREY), grid.in_range(self.network.decoder(mean, kept))

    @property
    def _learns_variance(self) -> bool:
        return self.draws or self.kl_weight > 0

    def _errors(self, y: Tensor, x: Tensor, order: Tensor | None) -> tuple[Tensor, Tensor]:
        """``L_M`` and ``L_R`` of images in [-1, 1], scalars; the first ones of ``order`` ``[b patches]`` are seen."""
        if order is None:
            return y.new_zeros(()), F.mse_loss(y, x)
        errors = F.avg_pool2d((y - x).square().mean(dim=1), self.network.patch).flatten(1).gather(1, order)
        return errors[:, self.seen :].mean(), errors[:, : self.seen].mean()


def _deviation(x: Tensor) -> Tensor:
    """That of each channel of ``[b t l]`` over the batch, ``[l]``."""
    return x.std(dim=(0, 1)) if across.parts() == 1 else across.var_mean(x.flatten(0, 1))[0].sqrt()
