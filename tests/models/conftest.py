from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf
from torch import nn

from vaebench.contracts import Batch

CONF = Path(__file__).resolve().parents[2] / "conf"
# Tokenizers learn 64 codes with the smallest networks here; each test may say otherwise.
SMALL = {
    "conv": {"width": 8, "groups": 2},
    "mel": {"width": 8, "groups": 2, "n_fft": 64, "hop": 16, "bands": 8},
    "codec": {"channels": [2, 4, 4, 4], "width": 8},
    "vqgan": {"channels": 8, "groups": 4, "blocks": 1, "width": 8, "perceptual": 0.0},
}


def grid_network(name: str, **options: Any) -> dict[str, Any]:
    """The options of a network with a grid of latents as its YAML has them, with ``options`` in place of some."""
    return dict(OmegaConf.to_container(OmegaConf.load(CONF / "network" / f"{name}.yaml"))) | options  # type: ignore[call-overload]


def network(name: str, **options: Any) -> dict[str, Any]:
    """An autoencoder's options as its YAML has them, small, with ``options`` in place of some."""
    leaf = dict(OmegaConf.to_container(OmegaConf.load(CONF / "autoencoder" / f"{name}.yaml")))  # type: ignore[call-overload]
    return leaf | SMALL[name] | options


@pytest.fixture
def make() -> Callable[..., nn.Module]:
    """A model as its YAML describes it, small by default; ``options`` override it.

    A tokenizer's ``autoencoder`` is the name of a file in conf/autoencoder; what the file says is made small. A
    ``network`` that a model has in conf/network is the name of a file there or its options.
    """

    def build(name: str, *, seed: int = 0, **options: Any) -> nn.Module:
        around = {"dataset": {"shape": [1, 8, 8]}, "embedder": {"dim": 12}}
        leaf = OmegaConf.merge(around, {"model": OmegaConf.load(CONF / "model" / f"{name}.yaml")})
        arguments = OmegaConf.to_container(leaf, resolve=True)["model"]  # type: ignore[index,call-overload]
        target = get_object(arguments.pop("_target_"))
        for described in ("version", "data", "builds_on", "needs", "extra"):
            arguments.pop(described, None)
        inside = {}
        for entry in arguments.pop("defaults", ()):
            if entry != "_self_":
                ((group, chosen),) = entry.items()
                inside[group.split("@")[1]] = chosen
        arguments |= inside
        if "codebook_size" in arguments:
            arguments["codebook_size"] = 64
        arguments |= options
        if isinstance(arguments.get("autoencoder"), str):
            arguments["autoencoder"] = network(arguments["autoencoder"])
        if isinstance(arguments.get("encoder"), str):
            encoder = OmegaConf.to_container(OmegaConf.load(CONF / "encoder" / f"{arguments['encoder']}.yaml"))
            arguments["encoder"] = {**encoder, "strides": [2, 4], "width": 8, "groups": 2}  # type: ignore[dict-item]
        if "network" in inside and isinstance(arguments["network"], str):
            arguments["network"] = grid_network(arguments["network"])
        torch.manual_seed(seed)
        built: nn.Module = target(**arguments)
        return built

    return build


@pytest.fixture
def batch() -> Batch:
    """Blobs: something to learn, 32 images of 8 x 8."""
    random = torch.Generator().manual_seed(0)
    y = torch.arange(32) % 4
    x = torch.rand(4, 1, 8, 8, generator=random)[y] * 0.9 + torch.rand(32, 1, 8, 8, generator=random) * 0.1
    return Batch(x, y)


@pytest.fixture
def clips() -> Batch:
    """Tones of four pitches, 8 clips of 480 samples at 8 kHz."""
    y = torch.arange(8) % 4
    time = torch.arange(480) / 8000
    x = 0.5 * torch.sin(2 * torch.pi * (300 + 200 * y[:, None]) * time)
    return Batch(x[:, None], y)
