"""The Inception v3 of FID: the network of TensorFlow's 2015-12-05 graph, with pooled and spatial features and logits.

It differs from torchvision's in its poolings (Mixed_5*, 6b-6e and 7b average over what lies within the image only,
Mixed_7c takes the maximum), in its TensorFlow 1 resize and in its weights. Layers are named as in the weights file of
torch-fidelity and pytorch-fid. Batch norms are folded into the convolutions and images lie channels last: the same
features to rounding in two thirds of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Resizing = Literal["tensorflow", "pytorch_fid", "bicubic"]
SIZE = 299
FEATURES = 2048
SPATIAL_CHANNELS = 7
SPATIAL_FEATURES = 17 * 17 * SPATIAL_CHANNELS  # sFID's
_EPS = 0.001  # of the batch norms


class _Conv(nn.Conv2d):
    """Convolution, with the batch norm after it folded in, and ReLU."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).relu_()


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


class _A(nn.Module):
    """35 x 35: 1x1, 5x5, double 3x3 and pooled branches; 224 + ``pooled`` outputs."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = _Conv(inputs, 64, 1)
        self.branch5x5_1 = _Conv(inputs, 48, 1)
        self.branch5x5_2 = _Conv(48, 64, 5, padding="same")
        self.branch3x3dbl_1 = _Conv(inputs, 64, 1)
        self.branch3x3dbl_2 = _Conv(64, 96, 3, padding="same")
        self.branch3x3dbl_3 = _Conv(96, 96, 3, padding="same")
        self.branch_pool = _Conv(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch1x1(x), five, double, self.branch_pool(_average(x))), 1)


class _B(nn.Module):
    """35 x 35 to 17 x 17; 480 + ``inputs`` outputs."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = _Conv(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1 = _Conv(inputs, 64, 1)
        self.branch3x3dbl_2 = _Conv(64, 96, 3, padding="same")
        self.branch3x3dbl_3 = _Conv(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)), 1)


class _C(nn.Module):
    """17 x 17: 1x1, factorised 7x7, double 7x7 and pooled branches of 192 outputs each; ``inner`` channels within."""

    def __init__(self, inputs: int, inner: int) -> None:
        super().__init__()
        self.branch1x1 = _Conv(inputs, 192, 1)
        self.branch7x7_1 = _Conv(inputs, inner, 1)
        self.branch7x7_2 = _Conv(inner, inner, (1, 7), padding="same")
        self.branch7x7_3 = _Conv(inner, 192, (7, 1), padding="same")
        self.branch7x7dbl_1 = _Conv(inputs, inner, 1)
        self.branch7x7dbl_2 = _Conv(inner, inner, (7, 1), padding="same")
        self.branch7x7dbl_3 = _Conv(inner, inner, (1, 7), padding="same")
        self.branch7x7dbl_4 = _Conv(inner, inner, (7, 1), padding="same")
        self.branch7x7dbl_5 = _Conv(inner, 192, (1, 7), padding="same")
        self.branch_pool = _Conv(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat((self.branch1x1(x), seven, double, self.branch_pool(_average(x))), 1)


class _D(nn.Module):
    """17 x 17 to 8 x 8; 512 + ``inputs`` outputs."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = _Conv(inputs, 192, 1)
        self.branch3x3_2 = _Conv(192, 320, 3, stride=2)
        self.branch7x7x3_1 = _Conv(inputs, 192, 1)
        self.branch7x7x3_2 = _Conv(192, 192, (1, 7), padding="same")
        self.branch7x7x3_3 = _Conv(192, 192, (7, 1), padding="same")
        self.branch7x7x3_4 = _Conv(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        three = self.branch3x3_2(self.branch3x3_1(x))
        return torch.cat((three, self.branch7x7x3_4(seven), F.max_pool2d(x, 3, stride=2)), 1)


class _E(nn.Module):
    """8 x 8: branches that end in a row and a column of 3; 2048 outputs. ``largest`` pools by maximum (Mixed_7c)."""

    def __init__(self, inputs: int, *, largest: bool) -> None:
        super().__init__()
        self.pool = _maximum if largest else _average
        self.branch1x1 = _Conv(inputs, 320, 1)
        self.branch3x3_1 = _Conv(inputs, 384, 1)
        self.branch3x3_2a = _Conv(384, 384, (1, 3), padding="same")
        self.branch3x3_2b = _Conv(384, 384, (3, 1), padding="same")
        self.branch3x3dbl_1 = _Conv(inputs, 448, 1)
        self.branch3x3dbl_2 = _Conv(448, 384, 3, padding="same")
        self.branch3x3dbl_3a = _Conv(384, 384, (1, 3), padding="same")
        self.branch3x3dbl_3b = _Conv(384, 384, (3, 1), padding="same")
        self.branch_pool = _Conv(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return torch.cat(
            (
                self.branch1x1(x),
                self.branch3x3_2a(three),
                self.branch3x3_2b(three),
                self.branch3x3dbl_3a(double),
                self.branch3x3dbl_3b(double),
                self.branch_pool(self.pool(x)),
            ),
            1,
        )


class Inception(nn.Module):
    """Images in [0, 1] -> the 2048 features whose Frechet distance is FID (Szegedy et al. 2015; Heusel et al. 2017).

    ``state``: the content of the weights file, with its batch norms and classifier (``fc``). ``resizing``: how images
    come to 299 x 299 and to the range of the weights: ``tensorflow``, as in the network of 2015 and in torch-fidelity;
    ``pytorch_fid``, as in pytorch-fid: centres aligned, and 255 is 1; ``bicubic``, before they have 8 bits, as DMVAE's
    code does it. Raises RuntimeError or KeyError: names or shapes in ``state`` are not this network's.
    """

    def __init__(self, state: Mapping[str, Tensor], resizing: Resizing = "tensorflow") -> None:
        super().__init__()
        self.resizing = resizing
        with torch.device("meta"):  # no initial values: that would take longer than reading the right ones
            self.Conv2d_1a_3x3 = _Conv(3, 32, 3, stride=2)
            self.Conv2d_2a_3x3 = _Conv(32, 32, 3)
            self.Conv2d_2b_3x3 = _Conv(32, 64, 3, padding="same")
            self.Conv2d_3b_1x1 = _Conv(64, 80, 1)
            self.Conv2d_4a_3x3 = _Conv(80, 192, 3)
            self.Mixed_5b = _A(192, 32)
            self.Mixed_5c = _A(256, 64)
            self.Mixed_5d = _A(288, 64)
            self.Mixed_6a = _B(288)
            self.Mixed_6b = _C(768, 128)
            self.Mixed_6c = _C(768, 160)
            self.Mixed_6d = _C(768, 160)
            self.Mixed_6e = _C(768, 192)
            self.Mixed_7a = _D(768)
            self.Mixed_7b = _E(1280, largest=False)
            self.Mixed_7c = _E(2048, largest=True)
            self.fc = nn.Linear(FEATURES, 1008, bias=False)
        self.load_state_dict(fold_batch_norm(state), assign=True)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> Tensor:
        """Float images ``[b c h w]`` in [0, 1], c = 1 or 3 -> float32 ``[b 2048]``, at least 0.

        Images are first cut to 8 bits, as torchmetrics does, but clamped where it would wrap around.
        """
        return self.both(x)[0]

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and sFID's features ``[b 2023]`` in the order (row, column, channel).

        These are the first 7 channels of ``mixed_6/conv``, the 1x1 branch of Mixed_6d after its ReLU: the node and the
        order of the reference statistics of Dhariwal and Nichol (arXiv 2105.05233).
        """
        if self.resizing == "bicubic":
            x = F.interpolate(x, size=(SIZE, SIZE), mode="bicubic", align_corners=False)
        x = (x.clamp(0, 1) * 255).byte().float()
        if self.resizing == "pytorch_fid":
            x = 2 * F.interpolate(x / 255, size=(SIZE, SIZE), mode="bilinear", align_corners=False) - 1
        else:
            x = (resize(x) - 128) / 128
        x = x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, stride=2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, stride=2))))
        x = self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x))))
        spatial = x[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)  # that branch's channels come first
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(self.Mixed_6e(x))))
        return x.mean((2, 3)), spatial

    def logits(self, features: Tensor) -> Tensor:
        """Features ``[b 2048]`` -> ``[b 1008]``, without the bias: the Inception score is defined on these."""
        return self.fc(features)


def resize(x: Tensor) -> Tensor:
    """Bilinear resize ``[b c h w]`` -> ``[b c 299 299]`` as TensorFlow 1 did it: aligned at the top left corners."""
    for axis in (3, 2):
        size = x.shape[axis]
        position = torch.arange(SIZE, dtype=x.dtype, device=x.device) * torch.tensor(size / SIZE, dtype=x.dtype)
        low = position.long()
        weight = (position - low).unflatten(0, (SIZE, *(1,) * (3 - axis)))
        below, above = x.index_select(axis, low), x.index_select(axis, (low + 1).clamp(max=size - 1))
        x = below + (above - below) * weight
    return x


def fold_batch_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each layer's ``conv`` and ``bn`` as one weight and bias, float32, channels last; of ``fc`` the weight alone.

    Raises:
        KeyError: a batch norm or its convolution is incomplete.
    """
    folded: dict[str, Tensor] = {}
    for key, value in state.items():
        layer, _, part = key.rpartition(".bn.")
        if part == "running_var":
            scale = state[f"{layer}.bn.weight"].double() / (value.double() + _EPS).sqrt()
            weight = state[f"{layer}.conv.weight"].double() * scale[:, None, None, None]
            bias = state[f"{layer}.bn.bias"].double() - state[f"{layer}.bn.running_mean"].double() * scale
            folded[f"{layer}.weight"] = weight.float().contiguous(memory_format=torch.channels_last)
            folded[f"{layer}.bias"] = bias.float()
        elif not layer and not key.endswith(".conv.weight") and key != "fc.bias":
            folded[key] = value  # fc.weight; the rest is unknown, for load_state_dict to name
    return folded
