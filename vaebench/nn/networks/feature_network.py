"""An encoder of features, a head that makes latents of each position's, and a decoder (arXiv 2512.07778)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from vaebench.config.signatures import Count, NonNegative, checked, require
from vaebench.contracts import Batch, LossOutput
from vaebench.errors import UserError
from vaebench.nn.latents import bounded_posterior
from vaebench.nn.losses.reconstruction import AdversarialOptions, ReconstructionLoss
from vaebench.nn.networks import features

if TYPE_CHECKING:
    from vaebench.config.request import Request

# Of a model that begins with another run's network: what it has of it.
_FILLED_IN = ("encoder", "head_width", "latent_channels", "decoder")
# The run that it begins with, by role.
_WANTED = {
    "encoder": "is no encoder by itself; name a run of ssl or supervised",
    "start": "is no feature autoencoder to begin with; name a run of feature_ae or dmvae",
}
_FIRST_STD = 0.01  # of the posterior before it is trained: hardly any noise


class FeatureNetwork(nn.Module):
    """Images in [0, 1] -> features ``[b c h' w']`` -> latents ``[b l h' w']`` -> images in about [-1, 1].

    ``head``: at each position Linear of c to ``head_width``, SiLU, Linear to ``latent_channels`` l; with
    ``stochastic`` another Linear of its hidden units to l log-variances, which begins at a constant small variance.
    ``encoder``, ``decoder``: files of ``conf/encoder`` and ``conf/decoder``.

    Raises `UserError`: an option out of range or not filled in, or a decoder that does not fit the encoder's grid.
    """

    @checked("model")
    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        encoder: Mapping[str, Any] | None,
        head_width: Count | None,
        latent_channels: Count | None,
        decoder: Mapping[str, Any] | None,
        stochastic: bool,
    ) -> None:
        super().__init__()
        given = {"encoder": encoder, "head_width": head_width, "latent_channels": latent_channels, "decoder": decoder}
        advice = "is filled in from the run the model begins with; name one (parent.link=tokenizer), or give it"
        require(*(f"model.{name}=null: {advice}" for name, value in given.items() if value is None))
        assert encoder is not None and head_width and latent_channels and decoder is not None  # noqa: PT018
        self.encoder: Any = features.encoder(encoder, input_shape=input_shape)
        self.latent_shape: tuple[int, int, int] = (latent_channels, *self.encoder.grid)
        self.hidden = nn.Sequential(nn.Conv2d(self.encoder.outputs, head_width, 1), nn.SiLU())
        self.mean = nn.Conv2d(head_width, latent_channels, 1)
        self.logvar = nn.Conv2d(head_width, latent_channels, 1) if stochastic else None
        if self.logvar is not None:
            nn.init.zeros_(self.logvar.weight)
            nn.init.constant_(cast(Tensor, self.logvar.bias), 2 * math.log(_FIRST_STD))
        self.decoder: Any = features.decoder(decoder, latent_shape=self.latent_shape, input_shape=input_shape)
        bare = {name: value for name, value in decoder.items() if name != "version"}
        self.options = given | {"encoder": self.encoder.options, "decoder": bare}

    @property
    def head_parameters(self) -> tuple[nn.Parameter, ...]:
        """What lies between the encoder's features and the latents."""
        parts = [part for part in (self.hidden, self.mean, self.logvar) if part is not None]
        return tuple(parameter for part in parts for parameter in part.parameters())

    @property
    def last_weight(self) -> nn.Parameter:
        """The weights of the decoder's last layer."""
        return self.decoder.last_weight

    def features(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` in [0, 1] -> the encoder's ``[b c' h' w']``."""
        return self.encoder(x)

    def head(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features -> means and, if ``stochastic``, log-variances, float32 ``[b l h' w']`` each."""
        hidden = self.hidden(features)
        mean = self.mean(hidden).float()
        if self.logvar is None:
            return mean, None
        return bounded_posterior(torch.cat([mean, self.logvar(hidden).float()], dim=1), dim=1)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """`head` of the `features` of images in [0, 1]."""
        return self.head(self.features(x))

    def encode(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` in [0, 1] -> means ``[b l h' w']``, float32."""
        return self.moments(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        """Latents ``[b l h' w']`` -> images ``[b c h w]`` in about [-1, 1]."""
        return self.decoder(z)

    def start_from(self, other: FeatureNetwork) -> None:
        """Take another one's weights, but for a head it lacks. Raises `UserError` naming other options."""
        require(
            *(
                f"model.{name}={value}: the model to start with has {other.options[name]}; give the same"
                for name, value in self.options.items()
                if value != other.options[name]
            )
        )
        for name, part in self.named_children():
            given = getattr(other, name)
            if given is not None:
                part.load_state_dict(given.state_dict())


@dataclass(eq=False, repr=False, kw_only=True)
class FeatureModel(AdversarialOptions, nn.Module):
    """What the methods that train a `FeatureNetwork` for a `ReconstructionLoss` share; no method by itself.

    ``encoder``, ``head_width``, ``latent_channels``, ``decoder``: of the network; null: filled in from the run that it
    begins with (`filled_in`). The others: of the loss.
    ``latent_mean``, ``latent_std``: over all elements of the latents; by these two numbers a teacher, a student and the
    matching between them normalise.
    """

    latent_mean: Tensor = field(init=False)
    latent_std: Tensor = field(init=False)
    input_shape: Sequence[int]
    encoder: Mapping[str, Any] | None
    head_width: Count | None
    latent_channels: Count | None
    decoder: Mapping[str, Any] | None
    l1_weight: NonNegative
    l2_weight: NonNegative
    augment: bool
    consistency_weight: NonNegative

    def _build(self, *, stochastic: bool) -> None:
        """The loss and the network, with fresh weights."""
        nn.Module.__init__(self)
        pixels = {"l1": self.l1_weight} | ({"l2": self.l2_weight} if self.l2_weight else {})
        self.reconstruction = ReconstructionLoss(self.input_shape, pixels, self.perceptual, self.perceptual_weight)
        self.reconstruction.add_discriminator(self, augment=self.augment, consistency_weight=self.consistency_weight)
        self.network = FeatureNetwork(
            input_shape=self.input_shape,
            encoder=self.encoder,
            head_width=self.head_width,
            latent_channels=self.latent_channels,
            decoder=self.decoder,
            stochastic=stochastic,
        )
        self.latent_shape = self.network.latent_shape
        self.register_buffer("latent_mean", torch.zeros(()))
        self.register_buffer("latent_std", torch.ones(()))

    def reconstructed(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` in [0, 1] -> what the network makes of them, in about [-1, 1]."""
        return self.network.decode(self.network.encode(x))

    def discriminator_loss(self, batch: Batch, step: int) -> LossOutput:
        """Terms ``real``, ``fake`` and where it is asked for ``consistency``; 0 before ``adversarial_start``."""
        return self.reconstruction.discriminator_loss(batch.x, step, self.reconstructed)

    def encode(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` in [0, 1] -> latents (means) ``[b l h' w']``, float32, as the decoder takes them."""
        return self.network.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Latents ``[b l h' w']`` -> images ``[b c h w]`` in [0, 1]."""
        return ((self.network.decode(z).float() + 1) / 2).clamp(0, 1)

    def latent_moments(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images -> mean and log-variance ``[b l h' w']``, float32; no log-variance where z is the mean."""
        return self.network.moments(x)

    def encoder_pass(self, x: Tensor) -> Tensor:
        """Encoder and head on images ``[b c h w]`` in [0, 1] -> ``[b l h' w']``."""
        return self.network.encode(x)

    def _take_over(self, trained: Any, wanted: str) -> None:
        """Take the network (the decoder's average, if it has one) and the normalisation of a trained `FeatureModel`.

        A head of log-variances that it lacks and the discriminator begin anew.

        Raises `UserError`: ``wanted``, and that ``trained`` is another model; it has other options.
        """
        if not isinstance(getattr(trained, "network", None), FeatureNetwork):
            raise UserError(f"{wanted}, not {type(trained).__name__}")
        self.network.start_from(trained.network)
        averaged = getattr(trained, "averaged", None)
        if averaged is not None:
            self.network.decoder.load_state_dict(averaged.network.state_dict())
        self.latent_mean.copy_(trained.latent_mean)
        self.latent_std.copy_(trained.latent_std)


def filled_in(options: Mapping[str, Any], parents: Mapping[str, Request]) -> dict[str, Any]:
    """A model's options with those of its network that are null as the run has them that it begins with.

    ``parents``: by role. Raises `UserError` if that run has no encoder, or is no whole network where one is wanted.
    """
    role = "encoder" if "encoder" in parents else "start"
    if role not in parents:
        return dict(options)
    parent = parents[role]
    given = parent["model"]
    if "encoder" not in given or ("head_width" in given) != (role == "start"):
        name = str(given.get("_target_")).rpartition(".")[2]
        raise UserError(f"{parent.where or role}: {name} {_WANTED[role]}")
    filled = {name: given[name] for name in _FILLED_IN if options.get(name, "") is None and name in given}
    return {**options, **filled}
