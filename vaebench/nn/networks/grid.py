"""The networks of autoencoders whose latents lie on a grid, chosen by ``model.network.kind``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from vaebench.config import signatures
from vaebench.errors import UserError, unknown
from vaebench.nn.networks.kl_network import KLNetwork
from vaebench.nn.transformers.vit import ViTAutoencoder

KINDS = {"vit": ViTAutoencoder, "kl": KLNetwork}
_DESCRIPTION = frozenset({"kind", "version"})  # of the options, not for the class


class GridNetwork(Protocol):
    """An ``nn.Module``: ``encoder`` and ``decoder`` with a grid of latents between them.

    ``latent_shape``: (l, h', w'). ``encode``: images ``[b c h w]`` in [-1, 1] -> means and log-variances
    ``[b 2l h' w']``, unbounded. ``decode``: ``[b l h' w']`` -> images in about [-1, 1]. ``last_weight``: of the
    decoder's last layer.
    """

    latent_shape: tuple[int, int, int]

    @property
    def last_weight(self) -> nn.Parameter: ...  # noqa: D102

    def encode(self, x: Tensor) -> Tensor: ...  # noqa: D102

    def decode(self, z: Tensor) -> Tensor: ...  # noqa: D102


def build(options: Mapping[str, Any], *, input_shape: Sequence[int]) -> GridNetwork:
    """The network that ``options`` (a file of ``conf/network``) describe, with fresh weights.

    Raises:
        UserError: an unknown kind, unknown, missing, ill-typed or impossible options.
    """
    built: GridNetwork = _built(options, input_shape, {"masked": False} if options.get("kind") == "vit" else {})
    return built


def build_masked(options: Mapping[str, Any], *, input_shape: Sequence[int]) -> ViTAutoencoder:
    """The same, for a method that hides patches from the encoder. Raises `UserError` for a kind that cannot."""
    if str(options.get("kind")) in KINDS.keys() - {"vit"}:
        raise UserError(
            f"model.network.kind={options['kind']}: has no patches to hide; choose network@model.network=vit"
        )
    built: ViTAutoencoder = _built(options, input_shape, {"masked": True})
    return built


def _built(options: Mapping[str, Any], input_shape: Sequence[int], more: Mapping[str, Any]) -> Any:
    kind = str(options.get("kind"))
    if kind not in KINDS:
        raise UserError(unknown("model.network.kind", kind, KINDS))
    if len(input_shape) != 3:
        raise UserError(f"model.input_shape={list(input_shape)}: this model is for images, (c, h, w)")
    given = {name: value for name, value in options.items() if name not in _DESCRIPTION}
    provided = {"input_shape": input_shape, **more}
    network: Any = KINDS[kind]
    mistakes = signatures.mistakes("model.network", given, network, needed_by=kind, provided=provided)
    if mistakes:
        raise UserError(*mistakes)
    return network(**given, **provided)
