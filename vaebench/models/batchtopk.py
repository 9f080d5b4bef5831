"""BatchTopK-VAE with EMA-based inference (Byeon & Lee, 2026): one mask of K latents for a whole batch.

"A Study on Batch Top-K Sparse Latent Representations with EMA-Based Inference in VAE-Based Models". What the paper
leaves open is an option here; ``granularity=entry`` is the rule of BatchTopK sparse autoencoders (arXiv 2412.06410)
in its place.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from vaebench.config.signatures import Count, Fraction, checked, require, whole
from vaebench.contracts import Batch, LossOutput
from vaebench.errors import UserError
from vaebench.nn import across, latents
from vaebench.nn.latents import MovingAverage, smallest_positive, top_mask
from vaebench.nn.networks.flat import FlatVAE


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class BatchTopK(FlatVAE):
    """``loss = recon(x, Dec(z * m)) + beta KL``, KL of all latents before the mask; no gradient through the selection.

    ``granularity=dimension``: ``m`` ``[l]`` keeps the ``k`` dimensions of largest mean importance over the batch. At
    test time the k largest entries of the moving average of those means, the same for every batch.
    ``granularity=entry``: ``m`` ``[b l]`` keeps the ``b k`` entries of largest importance; at test time those at or
    above the moving average of the smallest kept one that is above 0. Test-time codes are posterior means.

    ``importance``: abs_z, abs_mu, var_mu (variance of mu over the batch; per entry its squared distance from the
    batch mean) or kl. ``ema_decay``: a of ``I <- a I + (1 - a) s``. ``ema_start``: first (the first step copies s) or
    debiased (starts at zero, divided by 1 - a^t). ``rescale=training``: kept codes times ``latent_dim / k`` in training
    only, as dropout has it; null: as they are. The other options are those of `FlatVAE`.
    """

    k: Count
    importance: InitVar[latents.Importance]  # `kind` from then on: stored weights call the moving average importance
    granularity: Literal["dimension", "entry"]
    ema_decay: Fraction
    ema_start: latents.Start
    rescale: Literal["training"] | None

    def __post_init__(self, importance: latents.Importance) -> None:
        require(whole("model.k", self.k, 1, self.latent_dim, "model.latent_dim"))
        super().__post_init__()
        self.kind = importance
        if self.granularity == "dimension":
            self.importance = MovingAverage(self.latent_dim, decay=self.ema_decay, start=self.ema_start)
        else:
            self.threshold = MovingAverage(decay=self.ema_decay, start=self.ema_start)
            self.center = MovingAverage(self.latent_dim, decay=self.ema_decay, start=self.ema_start)

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """``recon + beta kl``, and a step of the averages; terms ``recon``, ``kl``, ``kl_kept`` (kept latents)."""
        mu, logvar = self.posterior(self.noisy(batch.x))
        z = latents.reparameterise(mu, logvar)
        mask = self._training_mask(mu, logvar, z)
        scale = 1.0 if self.rescale is None else self.latent_dim / self.k
        return self.elbo(z * mask * scale, mu, logvar, batch.x, mask)

    @torch.no_grad()
    def _training_mask(self, mu: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
        """The batch's own mask, bool ``[l]`` or ``[b l]``; the moving averages take in the batch."""
        center = across.mean(mu.mean(dim=0))
        entries = latents.importance(self.kind, z=z, mu=mu, logvar=logvar, center=center)
        if self.granularity == "dimension":
            scores = across.mean(entries.mean(dim=0))
            cast("MovingAverage", self.importance).update(scores)
            return top_mask(scores, self.k)
        entries = across.gathered(entries)
        mask = top_mask(entries.flatten(), self.k * len(entries)).view_as(entries)
        self.threshold.update(smallest_positive(entries, mask))
        self.center.update(center)
        return across.own(mask)

    def masked(self, z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        """Test-time codes ``[b l]``: ``z`` where the moving average keeps it, 0 elsewhere."""
        if self.granularity == "dimension":
            return z * self.ema_mask()
        entries = latents.importance(self.kind, z=z, mu=mu, logvar=logvar, center=self.center.read())
        return z * (entries >= self.threshold.read())

    def encode(self, x: Tensor) -> Tensor:
        """Images -> means ``[b l]``, always masked as at test time. Raises `UserError` before the first step."""
        mu, logvar = self.posterior(x)
        return self.masked(mu, mu, logvar)

    def encode_masked(self, x: Tensor, mask: Tensor) -> Tensor:
        """Images ``[b c h w]`` -> posterior means ``[b l]`` under a given ``mask``, bool ``[l]``."""
        return self.posterior(x)[0] * mask

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` images ``[count c h w]`` in [0, 1] from z ~ N(0, I) under the test-time mask.

        With ``granularity=entry`` a draw is masked like a posterior N(z, 1): by |z|, by its squared distance from the
        average mu, or by z^2 / 2.
        """
        z = self.prior_codes(count, generator)
        return self.decode(self.masked(z, z, torch.zeros_like(z)))

    def batch_mask(self, x: Tensor) -> Tensor:
        """The mask that the images ``[b c h w]`` alone would choose: bool ``[l]``, by the training rule with z = mu.

        ``importance=var_mu`` ranks nothing for a single image, whose variance is zero.
        """
        self._check_dimension()
        mu, logvar = self.posterior(x)
        entries = latents.importance(self.kind, z=mu, mu=mu, logvar=logvar, center=mu.mean(dim=0))
        return top_mask(entries.mean(dim=0), self.k)

    def ema_mask(self) -> Tensor:
        """The test-time mask, bool ``[l]``. Raises `UserError` before the first training step."""
        return top_mask(self.importance_ema(), self.k)

    def importance_ema(self) -> Tensor:
        """The moving average of the importance of each dimension, ``[l]``."""
        self._check_dimension()
        return cast("MovingAverage", self.importance).read()

    def _check_dimension(self) -> None:
        if self.granularity != "dimension":
            raise UserError("model.granularity=entry has no mask of dimensions; use model.granularity=dimension")
