"""ResNet-20 for CIFAR-10 (He et al., arXiv 1512.03385, Section 4.2), a judge of 32 x 32 colour images.

Layers are named as in the weights of github.com/akamaster/pytorch_resnet_cifar10, without their ``module.``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INPUT_SHAPE = (3, 32, 32)
FEATURES, CLASSES = 64, 10
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # as it was trained: ImageNet's, not CIFAR-10's


class Block(nn.Module):
    """``relu(x + conv(relu(conv(x))))``; a shortcut to more channels takes every second pixel and pads with zeros."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.stride = 2 if after > before else 1
        self.padding = (after - before) // 2  # channels of zeros on either side
        self.conv1 = nn.Conv2d(before, after, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        """``[b before h w]`` -> ``[b after h' w']``, at least 0; h' and w' are halved where channels are added."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + F.pad(shortcut, (0, 0, 0, 0, self.padding, self.padding)))


class CifarResNet(nn.Module):
    """Images -> 64 pooled features and the logits of CIFAR-10's classes.

    Args:
        state: the network's tensors by their names in the weights file (``module.conv1.weight``, ...).

    Raises:
        RuntimeError: names or shapes in ``state`` are not this network's.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16), Block(16, 16), Block(16, 16))
        self.layer2 = nn.Sequential(Block(16, 32), Block(32, 32), Block(32, 32))
        self.layer3 = nn.Sequential(Block(32, 64), Block(64, 64), Block(64, 64))
        self.linear = nn.Linear(FEATURES, CLASSES)
        self.load_state_dict({name.removeprefix("module."): tensor for name, tensor in state.items()})
        self.register_buffer("mean", torch.tensor(_MEAN).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(_STD).view(-1, 1, 1))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on a CPU
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> Tensor:
        """Float images ``[b 3 32 32]`` in [0, 1] -> features, float32 ``[b 64]``, at least 0."""
        x = F.relu(self.bn1(self.conv1((x - self.mean) / self.std)))
        return self.layer3(self.layer2(self.layer1(x))).mean((2, 3))

    def logits(self, features: Tensor) -> Tensor:
        """Features ``[b 64]`` -> unnormalised log-probabilities of airplane, automobile, ... truck, ``[b 10]``."""
        found: Tensor = self.linear(features)
        return found
