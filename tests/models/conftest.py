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

CONF = Path(__file__).resolve().parents[2] / "conf" / "model"


@pytest.fixture
def make() -> Callable[..., nn.Module]:
    """A model as its YAML describes it, small by default; ``options`` override it."""

    def build(name: str, *, seed: int = 0, **options: Any) -> nn.Module:
        around = {"dataset": {"shape": [1, 8, 8]}, "embedder": {"dim": 12}}
        leaf = OmegaConf.merge(around, {"model": OmegaConf.load(CONF / f"{name}.yaml")})
        arguments = OmegaConf.to_container(leaf, resolve=True)["model"]  # type: ignore[index,call-overload]
        target = get_object(arguments.pop("_target_"))
        for described in ("version", "data"):
            arguments.pop(described, None)
        torch.manual_seed(seed)
        built: nn.Module = target(**(arguments | options))
        return built

    return build


@pytest.fixture
def batch() -> Batch:
    """Blobs: something to learn, 32 images of 8 x 8."""
    random = torch.Generator().manual_seed(0)
    y = torch.arange(32) % 4
    x = torch.rand(4, 1, 8, 8, generator=random)[y] * 0.9 + torch.rand(32, 1, 8, 8, generator=random) * 0.1
    return Batch(x, y)
