"""A model as its options describe it, with fresh weights: what can be counted and timed without data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from vaebench.config.request import Request
from vaebench.metrics import cost
from vaebench.runs import build
from vaebench.runs.load import adopt


@dataclass(frozen=True)
class Design:
    """A training's model with fresh weights, as its loss needs it; picklable.

    ``shape``: (c, h, w) of an item, of a latent with ``latents``. ``parents``: by role, the requests of the models that
    it adopts, with fresh weights too. In place of LPIPS there is a network of the same size, so that no file is needed.
    """

    request: Request
    shape: tuple[int, ...]
    latents: bool = False
    parents: Mapping[str, Request] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """A new model, on the current default device."""
        model: Any = build.model(without_weights(self.request), self.shape if self.latents else None)
        if self.request["model"].get("perceptual") == "lpips":
            adopt(model, "perceptual", cost.Vgg16())
        for role, parent in self.parents.items():
            adopt(model, role, build.model(parent, getattr(model, "latent_shape", None)))
        return model

    def optimizers(self, model: nn.Module) -> Mapping[str, torch.optim.Optimizer]:
        """One per phase of a model that was built."""
        return build.optimizers(self.request, model)


def without_weights(request: Request) -> Request:
    """The same model without a need for the file of LPIPS."""
    leaf = request["model"]
    return Request({"model": {**leaf, "perceptual": "classifier"}}) if leaf.get("perceptual") == "lpips" else request
