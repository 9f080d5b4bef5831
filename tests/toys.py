"""Small data of a known kind, and what a suite measured: what the tests of suites share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaebench.config.choices import leaf
from vaebench.contracts import SuiteInputs, SuiteResult
from vaebench.data.images import ImageData

CPU = torch.device("cpu")
FACTS: dict[str, Any] = {"source": "", "digest": "toy", "note": "", "stand_in": True}


def bytes_of(*shape: int) -> Tensor:
    """Images of noise."""
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def dataset(x: Tensor, y: Tensor | int = 3, *, train: int | None = None, name: str = "toy") -> ImageData:
    """Images for training and test alike, or the first ``train`` for training; ``y``: labels, or how many classes."""
    labels = torch.arange(len(x)) % y if isinstance(y, int) else y
    first, rest = (slice(None),) * 2 if train is None else (slice(train), slice(train, None))
    return ImageData(name, x[first], labels[first], x[rest], labels[rest], **{**FACTS, "digest": name})


def options(suite: str, **changes: Any) -> dict[str, Any]:
    """The options of a suite's YAML, changed."""
    return {
        name: value for name, value in leaf("suite", suite).items() if name not in ("_target_", "version")
    } | changes


def inputs(model: nn.Module, data: Any, cache: Path, **more: Any) -> SuiteInputs:
    """What a suite is given."""
    return SuiteInputs(model, data, CPU, cache, **more)


def values(result: SuiteResult) -> dict[str, float]:
    """What was measured, by name."""
    return {found.name: found.value for found in result.measurements}


def counts(result: SuiteResult) -> dict[str, int]:
    """Of how many items each number is."""
    return {found.name: found.count for found in result.measurements}


class Quarters(nn.Module):
    """A classifier of four classes: the brightest quarter."""

    def features(self, x: Tensor) -> Tensor:
        """Mean brightness of the quarters ``[b 4]``."""
        return nn.functional.adaptive_avg_pool2d(x.mean(1, keepdim=True), 2).flatten(1)

    def logits(self, x: Tensor) -> Tensor:
        """The same."""
        return self.features(x)
