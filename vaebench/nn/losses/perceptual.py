"""A perceptual distance of images: in a trained classifier's layers, or LPIPS."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaebench.errors import UserError
from vaebench.nn.options import non_negative, one_of
from vaebench.nn.pretrained import lpips
from vaebench.nn.pretrained.frozen import Frozen

KINDS = ("none", "classifier", "lpips")


def mistakes(kind: str, weight: float, input_shape: Sequence[int]) -> list[str | None]:
    """One line for each option that `Perceptual` cannot be built with."""
    small = None
    if kind == "lpips" and (min(input_shape[1:]) < lpips.SMALLEST_SIDE or input_shape[0] not in (1, 3)):
        small = (
            f"model.perceptual=lpips: is for grey or colour images of at least {lpips.SMALLEST_SIDE} x "
            f"{lpips.SMALLEST_SIDE}, not {list(input_shape)}; choose classifier or none"
        )
    return [one_of("model.perceptual", kind, KINDS), non_negative("model.perceptual_weight", weight), small]


class Perceptual:
    """``kind`` none, classifier (`layer_distance` in a classifier that `perceive` hands over) or lpips (VGG16).

    No module: its network is neither trained nor stored with the model that holds it.

    Raises:
        UserError: ``kind`` is lpips and its weights are not on this machine.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.network: Frozen | None = None
        if kind == "lpips":
            try:
                self.network = Frozen(lpips.load())
            except UserError as error:
                raise UserError(f"model.perceptual=lpips: {error}; or choose classifier or none") from error

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
            distance: Tensor = network(y, x)
            return distance.mean()
        with torch.no_grad():
            target = network.layers(x)
        return layer_distance(network.layers(y), target)


def layer_distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """Mean over layers, images and positions of ``sum_c (unit(a)_c - unit(b)_c)^2``, 0 to 4; a scalar.

    Layers ``[b c h w]`` or ``[b d]``; ``unit``: each position's channels at unit length. This is LPIPS (Eq. 1, arXiv
    1801.03924) without learnt weights.
    """
    distances = [(lpips.unit(a) - lpips.unit(b)).square().sum(1).mean() for a, b in zip(one, other, strict=True)]
    return torch.stack(distances).mean()
