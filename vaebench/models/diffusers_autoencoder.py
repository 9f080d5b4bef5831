"""Autoencoders of other people, in diffusers' format: measured as ours are, and not trained.

``AutoencoderKL`` (arXiv 2112.10752), ``VQModel``, ``AutoencoderDC`` (arXiv 2410.10733) and ``AutoencoderTiny`` (TAESD).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaebench.compat import ensure_torchvision, need
from vaebench.config.signatures import checked
from vaebench.contracts import Phase
from vaebench.errors import UserError, shown, unknown
from vaebench.nn.networks.grid import in_range
from vaebench.nn.pretrained import hub

KINDS = ("AutoencoderKL", "VQModel", "AutoencoderDC", "AutoencoderTiny")
_OFFLINE = "the hub cannot be reached; model.path=FOLDER takes a downloaded copy"


class DiffusersAutoencoder(nn.Module):
    """A trained autoencoder on [-1, 1], as it stands in ``path``, a folder or a name on the Hugging Face hub.

    Latents are what the network gives, not multiplied by its ``scaling_factor``; test-time latents of an
    ``AutoencoderKL`` are the means. ``revision``: of the hub's model. ``input_shape`` (c, h, w).

    Raises `UserError`: no such folder or model, another class, images of another number of channels or of sides that
    the network does not take.
    """

    @checked("model")
    def __init__(self, *, input_shape: Sequence[int], path: str | None, revision: str | None) -> None:
        super().__init__()
        self.network: Any = _loaded(path, revision).requires_grad_(False)
        colours = self.network.config.in_channels
        if colours != input_shape[0]:
            raise UserError(
                f"model.path={path}: takes images of {colours} channels, dataset.shape has {input_shape[0]}"
            )
        with torch.no_grad():
            try:
                mean = self.latent_moments(torch.zeros(1, *input_shape))[0]
                made = self.decode(mean)
            except RuntimeError as error:
                raise UserError(f"model.path={path}: takes no images {tuple(input_shape)} ({error})") from error
        if made.shape[1:] != tuple(input_shape):
            raise UserError(f"model.path={path}: makes images {tuple(made.shape[1:])} of images {tuple(input_shape)}")
        self.latent_shape = tuple(mean.shape[1:])

    @property
    def phases(self) -> tuple[Phase, ...]:
        """None: it is trained already."""
        return ()

    def latent_moments(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images ``[b c h w]`` in [0, 1] -> mean and log-variance ``[b l h' w']``, float32, or None for the second."""
        found = self.network.encode(2 * x - 1)
        if "latent_dist" in found:
            return found.latent_dist.mean.float(), found.latent_dist.logvar.float()
        return (found.latents if "latents" in found else found.latent).float(), None

    def encode(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` in [0, 1] -> latents ``[b l h' w']``."""
        return self.latent_moments(x)[0]

    def encoder_pass(self, x: Tensor) -> Tensor:
        """The encoder on images ``[b c h w]`` in [0, 1]."""
        return self.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Latents ``[b l h' w']`` -> images ``[b c h w]`` in [0, 1]; those of a ``VQModel`` are quantised first."""
        return in_range(self.network.decode(z).sample)


def _loaded(path: str | None, revision: str | None) -> Any:
    """The network, with its weights; on the meta device without them."""
    if path is None:
        raise UserError("model.path=null: name a folder that diffusers wrote, or a model on the Hugging Face hub")
    need("model diffusers_autoencoder", ["diffusers"], "diffusers")
    ensure_torchvision()
    import diffusers
    from safetensors import SafetensorError

    failures = (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError)
    folder = Path(path).expanduser()
    if not folder.is_dir() and path.startswith(("/", ".", "~")):
        raise UserError(f"model.path={shown(path)}: there is no such folder")

    def read(local: bool) -> Any:
        given = {"revision": revision, "local_files_only": local}
        config = _config(folder) if folder.is_dir() else diffusers.AutoencoderKL.load_config(path, **given)
        kind = str(config.get("_class_name"))
        if kind not in KINDS:
            raise UserError(f"model.path={shown(path)}: {unknown('class', kind, KINDS)}")
        cls = getattr(diffusers, kind)
        if torch.get_default_device().type == "meta":
            return cls.from_config(config)
        return cls.from_pretrained(str(folder) if folder.is_dir() else path, **given)

    with hub.quiet():
        try:
            return read(True) if folder.is_dir() else hub.cached_or_given(read, path, revision, failures)
        except failures as error:
            why = hub.why(error, option="model", offline=_OFFLINE, library="diffusers")
            raise UserError(f"model.path={shown(path)}: cannot be loaded: {why}") from error


def _config(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}
