"""R-CVAE (Na & Kim 2025): a conditional VAE on embedded solutions; the least uncertain posterior chooses the answer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.config.signatures import Count, CountOrNone, NonNegative, Positive, checked
from vaebench.contracts import Batch, LossOutput, Phase, TrainingData
from vaebench.nn import across, latents
from vaebench.nn.networks.vectors import ACTIVE, PairModel

_LOG_2PI = math.log(2 * math.pi)


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class RCVAE(PairModel):
    """``-log p(R_e | z, Q_e) + beta KL(q(z | R_e, Q_e), N(0, I))``, ``z`` drawn from ``q``; the prior does not see Q_e.

    ``q`` is a diagonal Gaussian: an MLP makes its moments of (R_e, Q_e). The decoder makes the mean of R_e of (z, Q_e).
    At test time a candidate's score is the entropy of its posterior, the lowest is picked; no label enters anywhere.

    ``latent_dim`` l. ``hidden``: widths of the encoder, which the decoder has in reverse.
    ``likelihood``, in nats, summed over coordinates: ``learned_variance`` a Gaussian with one variance for all of them
    that is learnt with the weights (sigma-VAE, arXiv 2006.13202), starting from that of the training solutions;
    ``unit_variance`` a Gaussian of variance 1; ``cosine`` the error 1 - cos(R_e, mean): a von Mises-Fisher likelihood
    of concentration 1 up to its constant. ``beta``, the weight of the KL, rises linearly from 0 over the first
    ``kl_warmup_steps``. ``free_bits``: nats of batch-mean KL per dimension below which less KL saves nothing (Eq. 15,
    arXiv 1606.04934). ``logvar_clamp``: bound on the magnitude of the posterior's log-variance, null for none.
    The other options are those of `PairModel`.
    """

    log_variance: nn.Parameter | None = field(init=False)
    latent_dim: Count
    likelihood: Literal["learned_variance", "unit_variance", "cosine"]
    beta: NonNegative
    kl_warmup_steps: CountOrNone
    free_bits: NonNegative
    logvar_clamp: Positive | None

    def __post_init__(self) -> None:
        super().__post_init__()
        both = self.latent_dim + self.embedding_dim
        self.encoder = self._mlp(2 * self.embedding_dim, self.hidden, 2 * self.latent_dim)
        self.decoder = self._mlp(both, tuple(reversed(self.hidden)), self.embedding_dim)
        learnt = nn.Parameter(torch.zeros(())) if self.likelihood == "learned_variance" else None
        self.register_parameter("log_variance", learnt)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase over all parameters."""
        return (Phase("cvae", tuple(self.parameters()), self.loss),)

    @torch.no_grad()
    def look(self, data: TrainingData) -> None:
        """Take the statistics of the standardisation and the first value of the learnt variance from all pairs."""
        super().look(data)
        if self.log_variance is not None:
            # A step of Adam moves it by the learning rate at most: from 0 it would not reach the log-variance of unit
            # vectors of many dimensions within a training.
            solutions = data.batch(torch.arange(len(data), device=data.device)).x
            variance = self.solution(solutions).var(0, correction=0).mean()
            if variance > 0:
                self.log_variance.copy_(variance.log())

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """The objective on a batch, at ``step`` of the warm-up.

        Terms: ``recon`` and ``kl`` unweighted, ``active_dims`` (KL above 0.05 nats) and ``sigma`` of the likelihood.
        """
        x, y = self.solution(batch.x), self.question(batch.y)
        mu, logvar = self._encode(x, y)
        recon = self._error(x, self._decode(latents.reparameterise(mu, logvar), y)).mean()
        per_dimension = across.mean(latents.gaussian_kl(mu, logvar).mean(0))
        cost = per_dimension.clamp(min=self.free_bits).sum()
        warm = min(1.0, step / self.kl_warmup_steps) if self.kl_warmup_steps else 1.0
        terms = {
            "recon": recon.detach(),
            "kl": per_dimension.detach().sum(),
            "active_dims": (per_dimension.detach() > ACTIVE).float().sum(),
        }
        if self.log_variance is not None:
            terms["sigma"] = (self.log_variance.detach() / 2).exp()
        return LossOutput(recon + warm * self.beta * cost, terms)

    def validation_loss(self, batch: Batch) -> Tensor:
        """``recon + beta kl`` at the posterior's mean, a scalar: no noise, no warm-up, no free bits."""
        x, y = self.solution(batch.x), self.question(batch.y)
        mu, logvar = self._encode(x, y)
        kl = latents.gaussian_kl(mu, logvar).sum(1)
        return (self._error(x, self._decode(mu, y)) + self.beta * kl).mean()

    def posterior(self, solution: Tensor, question: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings ``[b e]`` -> mean, log-variance ``[b l]`` of q. Raises `UserError` for another width."""
        return self._encode(self.solution(solution), self.question(question))

    def scores(self, solution: Tensor, question: Tensor) -> dict[str, Tensor]:
        """Each candidate's scores ``[b]`` in nats, from embeddings ``[b e]``; lower is picked.

        ``entropy``: differential, ``l/2 log(2 pi e) + 1/2 sum_j logvar_j`` (the method); it may be below 0.
        ``kl``: from the prior. ``recon``: the error of the reconstruction from the posterior's mean. ``elbo``:
        ``recon + kl``, the negative of the bound with the mean in place of the expectation.
        """
        x, y = self.solution(solution), self.question(question)
        mu, logvar = self._encode(x, y)
        entropy = logvar.sum(1) / 2 + mu.shape[1] * (1 + _LOG_2PI) / 2
        kl = latents.gaussian_kl(mu, logvar).sum(1)
        recon = self._error(x, self._decode(mu, y))
        return {"entropy": entropy, "kl": kl, "recon": recon, "elbo": recon + kl}

    def _encode(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance ``[b l]`` from standardised embeddings."""
        mu, logvar = latents.posterior(self.encoder(torch.cat((x, y), 1)))
        if self.logvar_clamp is not None:
            logvar = logvar.clamp(-self.logvar_clamp, self.logvar_clamp)
        return mu, logvar

    def _decode(self, z: Tensor, y: Tensor) -> Tensor:
        """The mean ``[b e]`` of the standardised solution."""
        return self.decoder(torch.cat((z, y), 1)).float()

    def _error(self, x: Tensor, mean: Tensor) -> Tensor:
        """Negative log-likelihood ``[b]`` of standardised solutions, in nats; for ``cosine`` 1 - cos, in [0, 2]."""
        if self.likelihood == "cosine":
            return 1 - F.cosine_similarity(x, mean, dim=1)
        squared = (x - mean).square().sum(1)
        if self.log_variance is None:
            return (squared + x.shape[1] * _LOG_2PI) / 2
        return (squared / self.log_variance.exp() + x.shape[1] * (_LOG_2PI + self.log_variance)) / 2
