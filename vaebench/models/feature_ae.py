"""The tokenizer of DMVAE (arXiv 2512.07778): a trained encoder's features, reduced and decoded to images.

Also its baselines: everything trained, with a KL (the paper's VAE) or without; and the last stage, the decoder alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vaebench.config.signatures import Count, CountOrNone, Fraction, NonNegative, checked, require
from vaebench.contracts import Batch, LossOutput, Phase, TrainingData
from vaebench.errors import UserError
from vaebench.nn.averaged import Averaged
from vaebench.nn.latents import gaussian_kl, no_kl, reparameterise
from vaebench.nn.losses.perceptual import Kind
from vaebench.nn.losses.reconstruction import ReconstructionLoss
from vaebench.nn.networks.feature_network import FeatureNetwork, filled_in, take_over
from vaebench.nn.sampling import own_draws, spread

_LOOKED_AT = 10_000  # training images for the statistics of the latents
_BATCH = 500


class FeatureAutoencoder(nn.Module):
    """A `FeatureNetwork` trained for a `ReconstructionLoss`, and ``kl_weight KL`` if ``stochastic``.

    ``trained``: ``head_and_decoder`` (the encoder stays), ``all`` or ``decoder`` (all else stays). ``stochastic``: z is
    drawn from q(z|x); ``KL(q(z|x), N(0, I))`` is summed over channels, mean over positions and batch. ``ema_decay``: of
    the average of the decoder's weights that decodes after the training; 0: none. ``encoder``, ``head_width``,
    ``latent_channels``, ``decoder``: of the network; the others: of the loss.

    ``latent_mean``, ``latent_std``: over all elements of the latents of the training images, measured once after the
    last step; by these two numbers a teacher, a student and the matching between them normalise.
    """

    adopts = ("start", "encoder", "perceptual")
    keeps = ()

    latent_mean: Tensor
    latent_std: Tensor

    @checked("model")
    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        encoder: Mapping[str, Any] | None,
        head_width: Count | None,
        latent_channels: Count | None,
        decoder: Mapping[str, Any] | None,
        trained: Literal["head_and_decoder", "all", "decoder"],
        stochastic: bool,
        kl_weight: NonNegative,
        l1_weight: NonNegative,
        l2_weight: NonNegative,
        perceptual: Kind,
        perceptual_weight: NonNegative,
        adversarial_weight: NonNegative,
        adversarial_start: CountOrNone,
        discriminator_layers: Count,
        discriminator_channels: Count,
        augment: bool,
        consistency_weight: NonNegative,
        ema_decay: Fraction,
    ) -> None:
        super().__init__()
        require(no_kl(stochastic, kl_weight))
        self.trained = trained
        self.kl_weight = kl_weight
        pixels = {"l1": l1_weight} | ({"l2": l2_weight} if l2_weight else {})
        self.reconstruction = ReconstructionLoss(input_shape, pixels, perceptual, perceptual_weight)
        if adversarial_weight:
            self.reconstruction.add_discriminator(
                adversarial_weight,
                start=adversarial_start,
                layers=discriminator_layers,
                channels=discriminator_channels,
                augment=augment,
                consistency_weight=consistency_weight,
            )
        self.network = FeatureNetwork(
            input_shape=input_shape,
            encoder=encoder,
            head_width=head_width,
            latent_channels=latent_channels,
            decoder=decoder,
            stochastic=stochastic,
        )
        self.latent_shape = self.network.latent_shape
        self.averaged = Averaged(self.network.decoder, decay=ema_decay) if ema_decay else None
        self.register_buffer("latent_mean", torch.zeros(()))
        self.register_buffer("latent_std", torch.ones(()))
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
        judged = self.reconstruction.discriminator_parameters
        return (autoencoder, Phase("discriminator", judged, self.discriminator_loss)) if judged else (autoencoder,)

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """Terms of the `ReconstructionLoss` and, if ``stochastic``, ``kl``."""
        self._step = step
        y, mean, logvar = self._reconstructed(batch.x)
        total, terms = self.reconstruction.loss(y, batch.x, step, self.network.last_weight)
        if logvar is not None:
            kl = gaussian_kl(mean, logvar).sum(dim=1).mean()
            total = total + self.kl_weight * kl
            terms["kl"] = kl.detach()
        return LossOutput(total, terms)

    def discriminator_loss(self, batch: Batch, step: int) -> LossOutput:
        """Terms ``real``, ``fake`` and where it is asked for ``consistency``; 0 before ``adversarial_start``."""
        return self.reconstruction.discriminator_loss(batch.x, step, lambda x: self._reconstructed(x)[0])

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
        options: Mapping[str, Any], parents: Mapping[str, Mapping[str, Any]], reference: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """See `Completed`: what is null of the network is as in the run it begins with."""
        del reference
        return filled_in(options, parents)

    def adopt(self, role: str, parent: nn.Module) -> None:
        """Start with another network's weights, or with an encoder's; or take the classifier of the perceptual term."""
        taken = {"start": self._start, "encoder": self._take_encoder, "perceptual": self.reconstruction.perceive}
        taken[role](parent)

    def load_pretrained(self) -> None:
        """Fetch the encoder's weights, if it is one that others have trained. Raises `UserError` if there are none."""
        self.network.encoder.load_pretrained()

    def _take_encoder(self, learner: nn.Module) -> None:
        """Take over the weights of the ``encoder`` of a trained `FeatureLearner`.

        Raises:
            UserError: its encoder has other options than this model's.
        """
        given: Any = learner.encoder
        if given.options != self.network.encoder.options:
            raise UserError(
                f"model.encoder={self.network.encoder.options}: the encoder's run has {given.options}; "
                "leave model.encoder null, it is filled in"
            )
        self.network.encoder.load_state_dict(given.state_dict())

    def _start(self, trained: nn.Module) -> None:
        """Take the network's weights (the decoder's average, if it has one) and the normalisation of a trained model.

        A head of log-variances that it lacks and the discriminator begin anew.

        Raises:
            UserError: it has no such network, or one with other options.
        """
        take_over(self, trained, "a feature autoencoder starts with another one or a DMVAE")
        if self.averaged is not None:
            self.averaged.network.load_state_dict(self.network.decoder.state_dict())

    def encode(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` in [0, 1] -> means ``[b l h' w']``, float32."""
        return self.network.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Latents ``[b l h' w']`` -> images ``[b c h w]`` in [0, 1], after the training by the averaged weights."""
        y = self.network.decode(z) if self.training or self.averaged is None else self.averaged(z)
        return ((y.float() + 1) / 2).clamp(0, 1)

    def latent_moments(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images -> mean and log-variance ``[b l h' w']``, float32; no log-variance where z is the mean."""
        return self.network.moments(x)

    def encoder_pass(self, x: Tensor) -> Tensor:
        """Encoder and head on images ``[b c h w]`` in [0, 1] -> ``[b l h' w']``."""
        return self.network.encode(x)

    def _reconstructed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Images in [0, 1] -> reconstruction in [-1, 1], mean, log-variance; no graph of what is not trained."""
        with nullcontext() if self.trained == "all" else torch.no_grad():
            features = self.network.features(x)
        with torch.no_grad() if self.trained == "decoder" else nullcontext():
            mean, logvar = self.network.head(features)
        z = mean if logvar is None else reparameterise(mean, logvar)
        return self.network.decode(z), mean, logvar
