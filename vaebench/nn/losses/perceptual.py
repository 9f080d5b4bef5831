"""A perceptual distance of images: in a trained classifier's layers, or LPIPS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from vaebench.errors import UserError
from vaebench.nn.pretrained import lpips
from vaebench.nn.pretrained.frozen import Frozen

Kind = Literal["none", "classifier", "lpips"]


class Perceptual:
    """``kind`` none, classifier (`layer_distance` in a classifier that `perceive` hands over) or lpips (VGG16).

    No module: its network is neither trained nor stored with the model that holds it.

    Raises:
        UserError: ``kind`` is lpips and its weights are not on this machine, or the images are not for it.
    """

    def __init__(self, kind: Kind, input_shape: Sequence[int]) -> None:
        self.kind = kind
        self.network = (
            frozen_lpips(input_shape, "model.perceptual=lpips", "choose classifier or none")
            if kind == "lpips"
            else None
        )

    def perceive(self, classifier: nn.Module) -> None:
        """Take a trained classifier (`HasLayers`); another kind than ``classifier`` has no use for it."""
        if self.kind == "classifier":
            self.network = Frozen(classifier)

    def __call__(self, y: Tensor, x: Tensor) -> Tensor:
        """Images ``y`` (gets the gradient) and targets ``x`` in [0, 1] -> the mean distance, a scalar.

        Raises:
            UserError: there is no classifier yet.
        """
        if self.network is None:
            raise UserError("model.perceptual=classifier: no trained classifier was given to the model")
        network = self.network.on(y.device)
        if self.kind == "lpips":
            return network(y, x).mean()
        with torch.no_grad():
            target = network.layers(x)
        return layer_distance(network.layers(y), target)


def frozen_lpips(input_shape: Sequence[int], option: str, instead: str) -> Frozen:
    """LPIPS for images (c, h, w). Raises `UserError`, naming the ``option`` and what to do ``instead``."""
    if min(input_shape[1:]) < lpips.SMALLEST_SIDE or input_shape[0] not in (1, 3):
        raise UserError(
            f"{option}: LPIPS is for grey or colour images of at least {lpips.SMALLEST_SIDE} x {lpips.SMALLEST_SIDE}, "
            f"not {list(input_shape)}; {instead}"
        )
    try:
        return Frozen(lpips.load())
    except UserError as error:
        raise UserError(f"{option}: {error}; or {instead}") from error


def layer_distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """Mean over layers, images and positions of ``sum_c (unit(a)_c - unit(b)_c)^2``, 0 to 4; a scalar.

    Layers ``[b c h w]`` or ``[b d]``; ``unit``: each position's channels at unit length. This is LPIPS (Eq. 1, arXiv
    1801.03924) without learnt weights.
    """
    distances = [(lpips.unit(a) - lpips.unit(b)).square().sum(1).mean() for a, b in zip(one, other, strict=True)]
    return torch.stack(distances).mean()
