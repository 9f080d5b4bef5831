"""The tokenizer of DMVAE (arXiv 2512.07778): a trained encoder's features, reduced and decoded to images.

Also its baselines: everything trained, with a KL (the paper's VAE) or without; and the last stage, the decoder alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from vaebench.config.signatures import Fraction, NonNegative, checked, require
from vaebench.contracts import Batch, LossOutput, Phase, TrainingData
from vaebench.errors import UserError
from vaebench.nn.averaged import Averaged
from vaebench.nn.latents import gaussian_kl, no_kl, reparameterise
from vaebench.nn.networks.feature_network import FeatureModel, filled_in
from vaebench.nn.sampling import own_draws, spread

if TYPE_CHECKING:
    from vaebench.config.request import Request

_LOOKED_AT = 10_000  # training images for the statistics of the latents
_BATCH = 500


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class FeatureAutoencoder(FeatureModel):
    """A `FeatureNetwork` trained for a `ReconstructionLoss`, and ``kl_weight KL`` if ``stochastic``.

    ``trained``: ``head_and_decoder`` (the encoder stays), ``all`` or ``decoder`` (all else stays). ``stochastic``: z is
    drawn from q(z|x); ``KL(q(z|x), N(0, I))`` is summed over channels, mean over positions and batch. ``ema_decay``: of
    the average of the decoder's weights that decodes after the training; 0: none. The other options are those of
    `FeatureModel`, and ``latent_mean``, ``latent_std`` are measured once after the last step.
    """

    adopts = ("start", "encoder", "perceptual")
    keeps = ()

    trained: Literal["head_and_decoder", "all", "decoder"]
    stochastic: bool
    kl_weight: NonNegative
    ema_decay: Fraction

    def __post_init__(self) -> None:
        require(no_kl(self.stochastic, self.kl_weight))
        self._build(stochastic=self.stochastic)
        self.averaged = Averaged(self.network.decoder, decay=self.ema_decay) if self.ema_decay else None
        self._step = 0  # of the last loss: the average's weight is a function of it

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The autoencoder's, over what ``trained`` says, and where there is a discriminator then its own."""
        parts = {
            "all": (*self.network.encoder.parameters(), *self.network.head_parameters),
            "head_and_decoder": self.network.head_parameters,
            "decoder": (),
        }
        parameters = (*parts[self.trained], *self.network.decoder.parameters())
        autoencoder = Phase("autoencoder", parameters, self.loss)
        return autoencoder, *self.reconstruction.judging(self.discriminator_loss)

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """Terms of the `ReconstructionLoss` and, if ``stochastic``, ``kl``."""
        self._step = step
        y, mean, logvar = self._passed(batch.x)
        total, terms = self.reconstruction.loss(y, batch.x, step, self.network.last_weight)
        if logvar is not None:
            kl = gaussian_kl(mean, logvar).sum(dim=1).mean()
            total = total + self.kl_weight * kl
            terms["kl"] = kl.detach()
        return LossOutput(total, terms)

    def reconstructed(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` in [0, 1] -> what is made of them, in about [-1, 1], of drawn latents if so trained."""
        return self._passed(x)[0]

    def average(self) -> None:
        """Take the decoder's weights after a step into their moving average, if there is one."""
        if self.averaged is not None:
            self.averaged.update(self.network.decoder, self._step)

    def finish(self, data: TrainingData) -> None:
        """Measure ``latent_mean`` and ``latent_std`` over at most 10,000 evenly spread training images.

        Where the decoder alone was trained they stay as they were: a reference is in their units.
        """
        if self.trained == "decoder":
            return
        with own_draws(), torch.no_grad():
            rows = spread(len(data), _LOOKED_AT, data.device).split(_BATCH)
            latents = torch.cat([self.encode(data.batch(some).x).cpu().double() for some in rows])
        std, mean = torch.std_mean(latents, correction=0)
        self.latent_mean.copy_(mean)
        self.latent_std.copy_(std)

    @staticmethod
    def completed(
        options: Mapping[str, Any], parents: Mapping[str, Request], reference: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """See `Completed`: what is null of the network is as in the run it begins with."""
        return filled_in(options, parents)

    def adopt(self, role: str, parent: nn.Module) -> None:
        """Start with another network's weights, or with an encoder's; or take the classifier of the perceptual term."""
        perceive = self.reconstruction.perceptual.perceive
        {"start": self._start, "encoder": self._take_encoder, "perceptual": perceive}[role](parent)

    def load_pretrained(self) -> None:
        """Fetch the encoder's weights, if it is one that others have trained. Raises `UserError` if there are none."""
        self.network.encoder.load_pretrained()

    def _take_encoder(self, learner: nn.Module) -> None:
        """Take a `FeatureLearner`'s encoder. Raises `UserError`: it has other options than this model's."""
        given: Any = learner.encoder
        if given.options != self.network.encoder.options:
            raise UserError(
                f"model.encoder={self.network.encoder.options}: the encoder's run has {given.options}; "
                "leave model.encoder null, it is filled in"
            )
        self.network.encoder.load_state_dict(given.state_dict())

    def _start(self, trained: nn.Module) -> None:
        self._take_over(trained, "a feature autoencoder starts with another one or a DMVAE")
        if self.averaged is not None:
            self.averaged.network.load_state_dict(self.network.decoder.state_dict())

    def decode(self, z: Tensor) -> Tensor:
        """Latents ``[b l h' w']`` -> images ``[b c h w]`` in [0, 1], after the training by the averaged weights."""
        if self.training or self.averaged is None:
            return super().decode(z)
        return ((self.averaged(z).float() + 1) / 2).clamp(0, 1)

    def _passed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Images in [0, 1] -> reconstruction in [-1, 1], mean, log-variance; no graph of what is not trained."""
        with nullcontext() if self.trained == "all" else torch.no_grad():
            features = self.network.features(x)
        with torch.no_grad() if self.trained == "decoder" else nullcontext():
            mean, logvar = self.network.head(features)
        z = mean if logvar is None else reparameterise(mean, logvar)
        return self.network.decode(z), mean, logvar
