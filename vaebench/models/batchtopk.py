"""BatchTopK-VAE with EMA-based inference (Byeon & Lee, 2026): one mask of K latents for a whole batch.

"A Study on Batch Top-K Sparse Latent Representations with EMA-Based Inference in VAE-Based Models". What the paper
leaves open is an option here; ``granularity=entry`` is the rule of BatchTopK sparse autoencoders (arXiv 2412.06410)
in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from vaebench.config.signatures import Count, Fraction, NonNegative, checked, require, whole
from vaebench.contracts import Batch, LossOutput, Phase
from vaebench.errors import UserError
from vaebench.nn.latents.gaussian import gaussian_kl, posterior, prior_sample, reparameterise
from vaebench.nn.latents.moving_average import MovingAverage, Start
from vaebench.nn.latents.topk import Importance, importance, smallest_positive, top_mask
from vaebench.nn.losses import elbo
from vaebench.nn.networks import flat


class BatchTopK(nn.Module):
    """``loss = recon(x, Dec(z * m)) + beta KL``, KL of all latents before the mask; no gradient through the selection.

    ``granularity=dimension``: ``m`` ``[l]`` keeps the ``k`` dimensions of largest mean importance over the batch. At
    test time the k largest entries of the moving average of those means, the same for every batch.
    ``granularity=entry``: ``m`` ``[b l]`` keeps the ``b k`` entries of largest importance; at test time those at or
    above the moving average of the smallest kept one that is above 0. Test-time codes are posterior means.

    ``importance``: abs_z, abs_mu, var_mu (variance of mu over the batch; per entry its squared distance from the
    batch mean) or kl. ``ema_decay``: a of ``I <- a I + (1 - a) s``. ``ema_start``: first (the first step copies s) or
    debiased (starts at zero, divided by 1 - a^t). The other options are those of the beta-VAE.
    """

    @checked("model")
    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        latent_dim: Count,
        k: Count,
        beta: NonNegative,
        importance: Importance,
        granularity: Literal["dimension", "entry"],
        ema_decay: Fraction,
        ema_start: Start,
        network: flat.Network,
        hidden: flat.Hidden,
        recon_loss: elbo.ReconLoss,
        reduction: elbo.Reduction,
    ) -> None:
        super().__init__()
        require(whole("model.k", k, 1, latent_dim, "model.latent_dim"))
        self.latent_dim = latent_dim
        self.k = k
        self.beta = beta
        self.kind = importance
        self.granularity = granularity
        self.recon_loss = recon_loss
        self.reduction = reduction
        self.encoder, self.decoder = flat.pair(
            network, shape=input_shape, hidden=hidden, outputs=2 * latent_dim, latent_dim=latent_dim
        )
        if granularity == "dimension":
            self.importance = MovingAverage(latent_dim, decay=ema_decay, start=ema_start)
        else:
            self.threshold = MovingAverage(decay=ema_decay, start=ema_start)
            self.center = MovingAverage(latent_dim, decay=ema_decay, start=ema_start)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase over all parameters."""
        return (Phase("autoencoder", tuple(self.parameters()), self.loss),)

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """``recon + beta kl``, and one step of the moving average.

        Terms: ``recon``, ``kl`` and ``kl_kept``, the part of ``kl`` in the kept latents.
        """
        del step
        mu, logvar = posterior(self.encoder(batch.x))
        z = reparameterise(mu, logvar)
        mask = self._training_mask(mu, logvar, z)
        logits = self.decoder(z * mask)
        recon = elbo.reconstruction(logits, batch.x, recon_loss=self.recon_loss, reduction=self.reduction)
        per_entry = gaussian_kl(mu, logvar)
        kl = elbo.over_latents(per_entry, reduction=self.reduction)
        kept = elbo.over_latents(per_entry.detach() * mask, reduction=self.reduction)
        return LossOutput(recon + self.beta * kl, {"recon": recon.detach(), "kl": kl.detach(), "kl_kept": kept})

    @torch.no_grad()
    def _training_mask(self, mu: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
        """The batch's own mask, bool ``[l]`` or ``[b l]``; the moving averages take in the batch."""
        center = mu.mean(dim=0)
        entries = importance(self.kind, z=z, mu=mu, logvar=logvar, center=center)
        if self.granularity == "dimension":
            scores = entries.mean(dim=0)
            self.importance.update(scores)
            return top_mask(scores, self.k)
        mask = top_mask(entries.flatten(), self.k * len(entries)).view_as(entries)
        self.threshold.update(smallest_positive(entries, mask))
        self.center.update(center)
        return mask

    def _masked(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """Test-time codes ``[b l]``: ``mu`` where the moving average keeps it, 0 elsewhere."""
        if self.granularity == "dimension":
            return mu * self.ema_mask()
        entries = importance(self.kind, z=mu, mu=mu, logvar=logvar, center=self.center.read())
        return mu * (entries >= self.threshold.read())

    def encode(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` -> posterior means ``[b l]``, masked as at test time whatever the mode of the module.

        Raises `UserError` before the first training step.
        """
        return self._masked(*posterior(self.encoder(x)))

    def encode_masked(self, x: Tensor, mask: Tensor) -> Tensor:
        """Images ``[b c h w]`` -> posterior means ``[b l]`` under a given ``mask``, bool ``[l]``."""
        return posterior(self.encoder(x))[0] * mask

    def decode(self, z: Tensor) -> Tensor:
        """Codes ``[b l]``, masked already -> images ``[b c h w]`` in [0, 1]."""
        logits: Tensor = self.decoder(z)
        return logits.float().sigmoid()

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` images ``[count c h w]`` in [0, 1] from z ~ N(0, I) under the test-time mask.

        With ``granularity=entry`` a draw is masked like a posterior N(z, 1): by |z|, by its squared distance from the
        average mu, or by z^2 / 2.
        """
        z = prior_sample(count, self.latent_dim, generator, next(self.parameters()).device)
        return self.decode(self._masked(z, torch.zeros_like(z)))

    def batch_mask(self, x: Tensor) -> Tensor:
        """The mask that the images ``[b c h w]`` alone would choose: bool ``[l]``, by the training rule with z = mu.

        ``importance=var_mu`` ranks nothing for a single image, whose variance is zero.
        """
        self._check_dimension()
        mu, logvar = posterior(self.encoder(x))
        entries = importance(self.kind, z=mu, mu=mu, logvar=logvar, center=mu.mean(dim=0))
        return top_mask(entries.mean(dim=0), self.k)

    def ema_mask(self) -> Tensor:
        """The test-time mask, bool ``[l]``. Raises `UserError` before the first training step."""
        return top_mask(self.importance_ema(), self.k)

    def importance_ema(self) -> Tensor:
        """The moving average of the importance of each dimension, ``[l]``."""
        self._check_dimension()
        return self.importance.read()

    def _check_dimension(self) -> None:
        if self.granularity != "dimension":
            raise UserError("model.granularity=entry has no mask of dimensions; use model.granularity=dimension")
