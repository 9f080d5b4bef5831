"""Latent diffusion by flow matching on the latents of a trained autoencoder, with a LightningDiT.

The second stage of LDMAE (arXiv 2507.09984) and of DMVAE (arXiv 2512.07778). Time 0 is noise and 1 is data, as in
their code; their formulas run the other way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from vaebench.config.signatures import Fraction, checked, require
from vaebench.contracts import Batch, LossOutput, Normalised, Phase, Sampling, TrainingData
from vaebench.errors import UserError
from vaebench.nn.averaged import Averaged
from vaebench.nn.flows import flow, samplers
from vaebench.nn.pretrained.frozen import Frozen
from vaebench.nn.sampling import own_draws, spread
from vaebench.nn.transformers import dit

if TYPE_CHECKING:
    from vaebench.config.request import Request

_LOOKED_AT = 10_000  # training items for the statistics of the latents, as the authors' code does
_BATCH = 500
_CONSTANT = 1e-6  # a deviation below this fraction of the mean is rounding


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class LDM(dit.DiTOptions, nn.Module):
    """``loss = |v(z_t, t, y) - (z - eps)|^2``, mean over elements; ``z`` standardised, ``z_t = t z + (1 - t) eps``.

    ``latent_shape`` (l, h, w): of the autoencoder's latents. ``label_dropout``: share of the labels that is replaced by
    "any class", which guidance needs. ``time_sampling``: logit_normal or uniform. ``ema_decay``: of the average of the
    weights that sampling uses (`Averaged`). ``statistics``: mean and deviation are those of each channel (None), of all
    numbers together (``scalar``), or the two numbers that the autoencoder itself has (``autoencoder``). The other
    options are those of the `dit.DiT`; without ``classes`` it is unconditional.
    """

    adopts = ("autoencoder",)
    keeps = ("autoencoder",)

    mean: Tensor = field(init=False)
    std: Tensor = field(init=False)
    latent_shape: Sequence[int] | None
    label_dropout: Fraction
    time_sampling: flow.Times
    ema_decay: Fraction
    statistics: Literal["scalar", "autoencoder"] | None

    def __post_init__(self) -> None:
        nn.Module.__init__(self)
        if self.latent_shape is None:
            raise UserError(
                "model.latent_shape=null: it is filled in from the autoencoder whose latents are modelled; name one "
                "with parent.experiment=NAME or parent.run=KEY"
            )
        self._shape = tuple(self.latent_shape)
        self.label_dropout = self.label_dropout if self.classes else 0.0
        options = {one.name: getattr(self, one.name) for one in fields(dit.DiTOptions)}
        self.network = dit.DiT(latent_shape=self._shape, null=self.label_dropout > 0, **options)
        self.averaged = Averaged(self.network, decay=self.ema_decay)
        self.register_buffer("mean", torch.zeros(self._shape[0], 1, 1))
        self.register_buffer("std", torch.ones(self._shape[0], 1, 1))
        self._step = 0  # of the last loss: the average's weight is a function of it
        self._decoder: Frozen | None = None

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase, over the network; the average follows by `average`."""
        return (Phase("diffusion", tuple(self.network.parameters()), self.loss),)

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """Flow matching on raw latents ``batch.x`` ``[b l h w]`` with labels ``batch.y`` ``[b]``."""
        self._step = step
        labels = flow.drop_labels(batch.y, self.label_dropout, self.classes)
        z = self.standardised(batch.x)
        return LossOutput(flow.matching_loss(partial(self.network, labels=labels), z, self.time_sampling))

    def average(self) -> None:
        """Take the weights after a step into their moving average."""
        self.averaged.update(self.network, self._step)

    def look(self, data: TrainingData) -> None:
        """Mean and deviation of each channel over at most 10,000 evenly spread items; draws from no global generator.

        A channel that does not vary keeps the deviation 1. With ``statistics=scalar`` all channels share both numbers,
        with ``autoencoder`` they are as `adopt` set them.

        Raises `UserError`: the latents have another shape, or the labels do not fit the number of classes.
        """
        counts, means, variances, highest = [], [], [], -1
        with own_draws():
            for rows in spread(len(data), _LOOKED_AT, data.device).split(_BATCH):
                batch = data.batch(rows)
                require(*self._unfit(batch, data.name))
                highest = max(highest, int(batch.y.max()))
                variance, mean = torch.var_mean(batch.x.cpu().double(), (0, 2, 3), correction=0)
                counts.append(len(rows))
                means.append(mean)
                variances.append(variance)
        if highest + 1 < self.classes:
            raise UserError(
                f"model.classes={self.classes}: the labels of {data.name} go up to {highest}, the other classes would "
                "be sampled and never have been trained; give their number"
            )
        if self.statistics != "autoencoder":
            shares = torch.tensor(counts, dtype=torch.float64) / sum(counts)
            self._normalise(*_pooled(shares, torch.stack(means), torch.stack(variances)))

    def _normalise(self, mean: Tensor, variance: Tensor) -> None:
        """Keep the statistics of the channels ``[l]``, or one mean and one deviation of all of them together."""
        if self.statistics == "scalar":
            alike = torch.full_like(mean, 1 / len(mean))
            mean, variance = (one.expand(len(mean)) for one in _pooled(alike, mean, variance))
        std = variance.sqrt()
        self.mean.copy_(mean[:, None, None])
        self.std.copy_(torch.where(std > _CONSTANT * mean.abs(), std, 1.0)[:, None, None])

    @staticmethod
    def completed(
        options: Mapping[str, Any], parents: Mapping[str, Request], reference: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """See `Completed`: on samples of a reference without labels there are no classes."""
        unlabelled = "latents" in parents and parents["latents"].data.get("labelled") is False
        return dict(options) | ({"classes": 0} if unlabelled else {})

    def adopt(self, role: str, parent: nn.Module) -> None:
        """Take the autoencoder that makes images of latents; with ``statistics=autoencoder`` its normalisation too.

        Its ``latent_mean`` and ``latent_std`` are the same for all channels. It is not stored with the model.

        Raises `UserError`: it has no normalisation.
        """
        if self.statistics == "autoencoder":
            if not isinstance(parent, Normalised):
                raise UserError(
                    f"model.statistics=autoencoder: {type(parent).__name__} has no normalisation of its own; "
                    "choose scalar, or null for that of each channel"
                )
            self.mean.fill_(parent.latent_mean.item())
            self.std.fill_(parent.latent_std.item())
        self._decoder = Frozen(parent)

    def _unfit(self, batch: Batch, name: str) -> Iterator[str]:
        """One line for each thing about latents that the model was not built for."""
        found, highest = list(batch.x.shape[1:]), int(batch.y.max())
        if found != list(self._shape):
            yield (
                f"model.latent_shape={list(self._shape)}: the latents of {name} are {found}; "
                "leave it null, it is filled in from the autoencoder"
            )
        if self.classes and highest >= self.classes:
            yield f"model.classes={self.classes}: {name} has labels up to {highest}; give their number, or 0"

    def check(self, sampling: Sampling) -> None:
        """Raise `UserError` with each value of ``sampling`` that this model cannot be sampled with."""
        null, channels = self.label_dropout > 0, self._shape[0]
        require(*samplers.unfit(sampling, classes=self.classes, null=null, channels=channels))

    def standardised(self, z: Tensor) -> Tensor:
        """Raw latents ``[b l h w]`` in the network's units."""
        return (z - self.mean) / self.std

    @torch.no_grad()
    def encode_latents(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Raw latents float32 ``[b l h w]`` of images in [0, 1], drawn from the autoencoder's q(z|x) as in training.

        Noise is drawn where ``generator`` lives: equal on all devices. Raises `UserError` where there is no
        autoencoder.
        """
        mean, logvar = self._autoencoder(x.device).latent_moments(x)
        if logvar is None:
            return mean.float()
        noise = torch.randn(mean.shape, generator=generator, device=generator.device)
        return torch.addcmul(mean.float(), (logvar.float() / 2).exp(), noise.to(mean.device))

    @torch.no_grad()
    def flow_loss(self, z: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """The loss of each raw latent ``[b]`` by the averaged weights; times are uniform whatever the training's are.

        Times and noise are drawn where ``generator`` lives; no label is dropped.
        """
        t = torch.rand(len(z), generator=generator, device=generator.device).to(z.device)
        noise = torch.randn(z.shape, generator=generator, device=generator.device).to(z.device)
        z = self.standardised(z)
        predicted = self.averaged(flow.on_path(z, noise, t), t, labels)
        return (predicted - flow.velocity(z, noise)).square().mean((1, 2, 3))

    @torch.no_grad()
    def sample_latents(self, labels: Tensor, generator: torch.Generator, sampling: Sampling) -> Tensor:
        """Raw latents float32 ``[b l h w]`` of ``labels`` int64 ``[b]``, by the averaged weights.

        Without classes the labels only say how many. Noise is drawn where ``generator`` lives: equal on all devices.

        Raises `UserError`: a value of ``sampling``, or a label, that this model cannot be sampled with.
        """
        self.check(sampling)
        if self.classes and len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
            found = f"labels from {int(labels.min())} to {int(labels.max())}"
            raise UserError(f"{found}: the model knows 0 to {self.classes - 1}")
        noise = torch.randn(len(labels), *self._shape, generator=generator, device=generator.device)
        velocity = samplers.field(self.averaged, labels.to(self.mean.device), sampling, null=self.classes)
        z = samplers.integrate(velocity, noise.to(self.mean.device), sampling, generator)
        return z * self.std + self.mean

    @torch.no_grad()
    def generate(self, labels: Tensor, generator: torch.Generator, sampling: Sampling) -> Tensor:
        """Images ``[b c h w]`` in [0, 1]: `sample_latents`, decoded. Raises `UserError` as it does."""
        autoencoder = self._autoencoder(self.mean.device)
        return autoencoder.decode(self.sample_latents(labels, generator, sampling))

    def _autoencoder(self, device: torch.device) -> Any:
        """The autoencoder on ``device``. Raises `UserError` if there is none."""
        if self._decoder is None:
            raise UserError("a latent diffusion model makes images with the decoder of its autoencoder: none was given")
        return self._decoder.on(device)


def _pooled(shares: Tensor, means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of parts taken together: ``shares`` ``[n]`` of the whole, the rest ``[n ...]``."""
    weights = shares.view(-1, *[1] * (means.dim() - 1))
    mean = (weights * means).sum(0)
    return mean, (weights * (variances + (means - mean).square())).sum(0)
