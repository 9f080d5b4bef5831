"""The networks of autoencoders whose latents lie on a grid, chosen by ``model.network.kind``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from vaebench.config import signatures
from vaebench.errors import UserError
from vaebench.nn.latents import bounded_posterior
from vaebench.nn.networks.kl import KLNetwork
from vaebench.nn.networks.levels import images_only
from vaebench.nn.transformers.vit import ViTAutoencoder

KINDS: dict[str, Any] = {"vit": ViTAutoencoder, "kl": KLNetwork}
_NEEDED = ("encode", "decode", "latent_shape", "last_weight")


def build(options: Mapping[str, Any], *, input_shape: Sequence[int], masked: bool = False) -> Any:
    """The network that ``options`` (a file of ``conf/network``) describe, with fresh weights.

    An ``encoder`` and a ``decoder``, with latents of ``latent_shape`` (l, h', w') between them. ``encode``: images
    ``[b c h w]`` in [-1, 1] -> means and log-variances ``[b 2l h' w']``, unbounded. ``decode``: ``[b l h' w']`` ->
    images in about [-1, 1]. ``last_weight``: of the decoder's last layer.

    ``masked``: a `ViTAutoencoder`, for a method that hides patches from the encoder.

    Raises `UserError`: an unknown kind, unknown, missing, ill-typed or impossible options, no images, no patches to
    hide.
    """
    images_only(input_shape)
    kind = str(options.get("kind"))
    unfit = f"model.network.kind={kind}: has no patches to hide; choose network@model.network=vit"
    if masked and kind in KINDS.keys() - {"vit"}:
        raise UserError(unfit)
    more = {"masked": masked} if kind == "vit" else {}
    made = signatures.chosen("model.network", options, KINDS, _NEEDED, input_shape=input_shape, **more)
    if masked and kind != "vit":  # a plug-in's
        raise UserError(unfit)
    return made


class GridModel(nn.Module):
    """How the methods with a ``network`` of `build` come from images to latents and back; no method by itself.

    ``stochastic``: whether the log-variances mean anything. Test-time latents are the means.
    """

    network: Any
    stochastic: Any

    def encode(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` in [0, 1] -> means ``[b l h' w']``, float32."""
        return self.latent_moments(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        """Latents ``[b l h' w']`` -> images ``[b c h w]`` in [0, 1]."""
        return in_range(self.network.decode(z))

    def latent_moments(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images -> mean and log-variance ``[b l h' w']``, float32; None for a log-variance that means nothing."""
        mean, logvar = bounded_posterior(self.encoder_pass(x), dim=1)
        return mean, logvar if self.stochastic else None

    def encoder_pass(self, x: Tensor) -> Tensor:
        """The encoder on images ``[b c h w]`` in [0, 1] -> ``[b 2l h' w']``."""
        return self.network.encode(2 * x - 1)


def in_range(y: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1], float32; what lies outside is cut."""
    return ((y.float() + 1) / 2).clamp(0, 1)
