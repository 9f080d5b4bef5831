"""ResNet-20 for CIFAR-10 (He et al., arXiv 1512.03385, Section 4.2), a judge of 32 x 32 colour images.

Layers are named as in the weights of github.com/akamaster/pytorch_resnet_cifar10, without their ``module.``.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.data.places import given
from vaebench.errors import UserError
from vaebench.nn import across

INPUT_SHAPE = (3, 32, 32)
# The published weights (91.7 % there by their publisher), in $VAEBENCH_DATA/cifar10_resnet/.
WEIGHTS_FILE = "resnet20-12fca82f.th"
WEIGHTS_URL = (
    "https://github.com/akamaster/pytorch_resnet_cifar10/raw/d5489e8995e81e91ce6b1d69dcc98ad579b0b153/"
    f"pretrained_models/{WEIGHTS_FILE}"
)
WEIGHTS_SHA256 = "12fca82f"  # the digest's first 8 digits, as in the name
FEATURES, CLASSES = 64, 10
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # as it was trained: ImageNet's, not CIFAR-10's


class Block(nn.Module):
    """``relu(x + conv(relu(conv(x))))``; a shortcut to more channels takes every second pixel and pads with zeros."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.stride = 2 if after > before else 1
        self.padding = (after - before) // 2  # channels of zeros on either side
        self.conv1 = nn.Conv2d(before, after, 3, self.stride, 1, bias=False)
        self.bn1 = across.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = across.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        """``[b before h w]`` -> ``[b after h' w']``, at least 0; h' and w' are halved where channels are added."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + F.pad(shortcut, (0, 0, 0, 0, self.padding, self.padding)))


def body() -> nn.Sequential:
    """All before the pooling: images ``[b 3 32 32]``, standardised -> ``[b 64 8 8]``, at least 0."""
    levels: dict[str, nn.Module] = {
        f"layer{index}": nn.Sequential(Block(before, after), Block(after, after), Block(after, after))
        for index, (before, after) in enumerate([(16, 16), (16, 32), (32, 64)], start=1)
    }
    first = {"conv1": nn.Conv2d(3, 16, 3, 1, 1, bias=False), "bn1": across.BatchNorm2d(16), "relu": nn.ReLU()}
    return nn.Sequential(OrderedDict(first | levels))


class CifarResNet(nn.Module):
    """Images -> 64 pooled features and the logits of CIFAR-10's classes.

    ``state``: the network's tensors by their names in the weights file (``module.conv1.weight``, ...).

    Raises:
        RuntimeError: names or shapes in ``state`` are not this network's.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.body = body()
        self.linear = nn.Linear(FEATURES, CLASSES)
        named = {name.removeprefix("module."): tensor for name, tensor in state.items()}
        self.load_state_dict({f"body.{name}".replace("body.linear.", "linear."): named[name] for name in named})
        self.register_buffer("mean", torch.tensor(_MEAN).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(_STD).view(-1, 1, 1))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on a CPU
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> Tensor:
        """Float images ``[b 3 32 32]`` in [0, 1] -> features, float32 ``[b 64]``, at least 0."""
        return self.body((x - self.mean) / self.std).mean((2, 3))

    def logits(self, features: Tensor) -> Tensor:
        """Features ``[b 64]`` -> unnormalised log-probabilities of airplane, automobile, ... truck, ``[b 10]``."""
        return self.linear(features)


def weights_path() -> Path:
    """Where the published weights should lie."""
    folders = given("cifar10_resnet") or [Path("$VAEBENCH_DATA", "cifar10_resnet")]
    return next((one for folder in folders if (one := folder / WEIGHTS_FILE).is_file()), folders[0] / WEIGHTS_FILE)


def read_weights(option: str, instead: str) -> dict[str, Tensor]:
    """The published tensors by their names in the file, its SHA-256 verified.

    ``option``: what asks for them, ``instead``: what else can be chosen, for the message.

    Raises `UserError`: the file is missing, is not the right one or cannot be read; says what to do.
    """
    path = weights_path()
    if not path.is_file():
        raise UserError(f"{option}: no file {path}; download {WEIGHTS_URL} (1 MB) there, or choose {instead}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(WEIGHTS_SHA256):
        raise UserError(
            f"{path} is not the ResNet-20 of CIFAR-10 and is not used: expected SHA-256 {WEIGHTS_SHA256}..., "
            f"found {found[:8]}...; download {WEIGHTS_URL} again"
        )
    try:
        # Its tensors were saved on a GPU.
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
        return dict(state["state_dict"])
    except Exception as error:  # a damaged file can make the unpickler raise anything
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} does not hold the weights of CIFAR-10's ResNet-20: {reason}") from error
