"""A small convolutional classifier: the judge of reconstructed digits, and the features where Inception is missing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.contracts import Batch, LossOutput, Phase
from vaebench.nn.options import fraction, require, whole

CHANNELS = (16, 32, 64)
FEATURES = 128
_SHRINK = 2 ** len(CHANNELS)


class Classifier(nn.Module):
    """Three 3x3 convolutions (16, 32, 64 channels; max-pooling, batch norm, ReLU), 128 ReLU units, dropout, linear.

    ``input_shape`` (c, h, w), sides of at least 8; ``classes``; ``dropout`` the probability of dropping one of the 128
    features.
    """

    def __init__(self, *, input_shape: Sequence[int], classes: int, dropout: float) -> None:
        super().__init__()
        channels, height, width = input_shape
        require(
            whole("model.input_shape", min(height, width), _SHRINK, bound="the shorter side"),
            whole("model.classes", classes, 2),
            fraction("model.dropout", dropout),
        )
        self.body = nn.Sequential(
            *(layer for before, after in pairwise((channels, *CHANNELS)) for layer in _convolution(before, after)),
            nn.Flatten(),
            nn.Linear(CHANNELS[-1] * (height // _SHRINK) * (width // _SHRINK), FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(FEATURES, classes))
        self.to(memory_format=torch.channels_last)  # pooling and convolution are about three times as fast on a CPU

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase over all parameters."""
        return (Phase("classifier", tuple(self.parameters()), self.loss),)

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """Cross-entropy in nats; terms ``cross_entropy`` and ``accuracy`` in [0, 1], of the batch under dropout."""
        del step
        logits = self.logits(batch.x)
        loss = F.cross_entropy(logits, batch.y)
        accuracy = (logits.detach().argmax(dim=1) == batch.y).float().mean()
        return LossOutput(loss, {"cross_entropy": loss.detach(), "accuracy": accuracy})

    def logits(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` -> unnormalised log-probabilities ``[b classes]``."""
        scores: Tensor = self.head(self.body(x))
        return scores.float()

    def features(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` -> the 128 activations before the last layer, 0 or more, ``[b 128]``."""
        activations: Tensor = self.body(x)
        return activations.float()


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """3x3, halving the sides. Pooling comes first: the layers behind it have a quarter of the work."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return convolution, nn.MaxPool2d(2), nn.BatchNorm2d(outputs), nn.ReLU()
