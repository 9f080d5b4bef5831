"""LPIPS with VGG16, version 0.1 (Zhang et al., arXiv 1801.03924): a distance of images in a network's features.

The weights are those of its authors: torchvision's VGG16 (``vgg16-397923af.pth``, 528 MB, found on this machine, never
downloaded) and the linear heads that torchmetrics ships. With other weights a number is no LPIPS.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from vaebench.config import rehearsal
from vaebench.errors import UserError

WEIGHTS_FILE = "vgg16-397923af.pth"
WEIGHTS_URL = f"https://download.pytorch.org/models/{WEIGHTS_FILE}"
WEIGHTS_SHA256 = "397923af"  # the digest's first 8 digits, which its publishers put into the name
SMALLEST_SIDE = 16  # the last features are down-sampled 16 times

_STAGES = ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512), (512, 512, 512, 512))
# Of the mean and standard deviation of ImageNet's pixels, brought to [-1, 1] and rounded by LPIPS's authors.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPS = 1e-8


class LPIPS(nn.Module):
    """Images a, b -> ``sum_s mean_hw w_s . (unit(f_s(a)) - unit(f_s(b)))^2`` over the five stages ``s`` of VGG16.

    ``f_s``: activations before each pooling, scaled to unit length over channels; ``w_s``: the learnt heads.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_stage(widths, first=index == 0) for index, widths in enumerate(_STAGES))
        self.heads = nn.ParameterList(torch.zeros(1, widths[-1], 1, 1) for widths in _STAGES)
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Images ``[n 3 h w]`` or ``[n 1 h w]`` (repeated to three channels) in [0, 1] -> float32 ``[n]``, 0 if equal.

        Differentiable in both. Raises `UserError`: a side is smaller than `SMALLEST_SIDE`.
        """
        if min(a.shape[2:]) < SMALLEST_SIDE:
            height, width = a.shape[2:]
            raise UserError(f"LPIPS needs images of at least {SMALLEST_SIDE} x {SMALLEST_SIDE}, not {height} x {width}")
        # Each by itself: where one of them is a target, there is no gradient to compute for it.
        features = [(2 * x.expand(-1, 3, -1, -1) - 1 - self.shift) / self.scale for x in (a, b)]
        distance = torch.zeros(len(a), device=a.device)
        for stage, head in zip(self.stages, self.heads, strict=True):
            features = [stage(x) for x in features]
            one, other = (unit(x.float()) for x in features)
            distance = distance + (head * (one - other).square()).sum(1).mean((1, 2))
        return distance


def available() -> bool:
    """Whether `load` has files to look at; asks no network."""
    return _find() is not None and _heads() is not None


def load(path: Path | None = None, *, sha256: str | None = None) -> LPIPS:
    """The network with its weights, in evaluation mode, on the CPU, without gradients for its weights.

    ``path``: the file of VGG16's weights; None: `WEIGHTS_FILE` in ``$VAEBENCH_WEIGHTS`` (a folder, or a file in it), or
    in torch hub's cache. ``sha256``: the first digits of its digest; None: `WEIGHTS_SHA256`.

    Raises `UserError`: a file is missing or is not the right one; says what to do.
    """
    heads = _heads()
    if heads is None:
        raise UserError("LPIPS: the heads come with torchmetrics, which is not installed; pip install torchmetrics")
    path = _find() if path is None else path
    if path is None or not path.is_file():
        raise UserError(
            f"LPIPS: no file {path or WEIGHTS_FILE}; download {WEIGHTS_URL} (528 MB) and set VAEBENCH_WEIGHTS to its "
            f"folder, or put it into {_hub()}"
        )
    _verify(path, sha256 or WEIGHTS_SHA256)
    network = LPIPS()
    try:
        vgg = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(
            _renamed(network, vgg, torch.load(heads, map_location="cpu", weights_only=True)), strict=False
        )
    except Exception as error:  # a damaged file can make the unpickler raise anything
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} does not hold the weights of torchvision's VGG16: {reason}") from error
    return network.eval().requires_grad_(False)


def _stage(widths: tuple[int, ...], *, first: bool) -> nn.Sequential:
    """Pooling (but for the first stage), then 3x3 convolutions with ReLU."""
    layers: list[nn.Module] = [] if first else [nn.MaxPool2d(2)]
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def unit(features: Tensor) -> Tensor:
    """Every position's vector (along dimension 1) at unit length; zero stays zero."""
    return features / (features.square().sum(1, keepdim=True) + _EPS).sqrt()


def _renamed(network: LPIPS, vgg: dict[str, Tensor], heads: dict[str, Tensor]) -> dict[str, Tensor]:
    """The two files' tensors by our names; convolutions are numbered in the order in which they are applied."""
    names = [name for name, part in network.named_modules() if isinstance(part, nn.Conv2d)]
    numbers = sorted({int(name.split(".")[1]) for name in vgg if name.startswith("features.")})
    if len(numbers) != len(names):
        raise ValueError(f"{len(numbers)} convolutions instead of {len(names)}")
    found = {
        f"{name}.{part}": vgg[f"features.{number}.{part}"]
        for name, number in zip(names, numbers, strict=True)
        for part in ("weight", "bias")
    }
    return found | {f"heads.{index}": heads[f"lin{index}.model.1.weight"] for index in range(len(_STAGES))}


def _hub() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _find() -> Path | None:
    """VGG16's weights on this machine."""
    given = os.environ.get("VAEBENCH_WEIGHTS", "")
    folders = [_hub()]
    if given:
        folders.insert(0, Path(given) if Path(given).is_dir() else Path(given).parent)
    return next((folder / WEIGHTS_FILE for folder in folders if (folder / WEIGHTS_FILE).is_file()), None)


def _heads() -> Path | None:
    """The heads in torchmetrics' folder, without importing it (seconds)."""
    spec = importlib.util.find_spec("torchmetrics")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "functional" / "image" / "lpips_models" / "vgg.pth"
    return path if path.is_file() else None


def _verify(path: Path, sha256: str) -> None:
    """Raise `UserError` unless the file's digest begins with ``sha256``."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if not rehearsal.right(found, sha256):
        raise UserError(
            f"{path} has sha256 {found[:16]}... instead of {sha256}...: it is damaged or another file; "
            f"download {WEIGHTS_URL} again"
        )
