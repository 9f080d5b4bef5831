"""Networks that judge images, found, verified and loaded: FID's Inception, a CIFAR-10 classifier. Features in batches.

Only the original weights make a number an FID, so they are used only if their SHA-256 is right.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from vaebench.data.fetch import Undelivered, download
from vaebench.disk import sha256_of
from vaebench.errors import UserError
from vaebench.nn.pretrained import cifar_resnet
from vaebench.nn.pretrained.cifar_resnet import CifarResNet
from vaebench.nn.pretrained.inception import Inception, Resizing

# One file under two names: torch-fidelity's, also the name in the store, and pytorch-fid's.
WEIGHTS_FILES = ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth")
WEIGHTS_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS_FILES[0]}"
WEIGHTS_SHA256 = "6726825d"  # the digest's first 8 digits, which their publishers put into the name


def find_inception_weights() -> Path:
    """The file of FID's weights, its SHA-256 verified.

    ``$VAEBENCH_WEIGHTS`` (the file, or a folder that holds it) if set; otherwise ``weights/`` of ``$VAEBENCH_HOME``
    (``./runs``), downloaded (about 95 MB) on first use.

    Raises:
        UserError: the file is not where it should be, is not the right one, or cannot be downloaded; says what to do.
    """
    given = os.environ.get("VAEBENCH_WEIGHTS", "")
    if given:
        path = _within(Path(given))
        _verify(path, "replace it, or unset VAEBENCH_WEIGHTS to download it")
        return path
    path = _cached()
    if not path.exists():
        _download(path)
    _verify(path, "delete it to download it again")
    return path


def inception_available() -> bool:
    """Whether `find_inception_weights` has a file to look at, or can download it now."""
    try:
        return bool(os.environ.get("VAEBENCH_WEIGHTS") or _cached().exists() or find_inception_weights())
    except UserError:
        return False


def load_inception(device: torch.device | str, resizing: Resizing = "tensorflow") -> Inception:
    """FID's network in evaluation mode on ``device``; raises the errors of its two halves."""
    return read_inception(find_inception_weights(), resizing).to(device)


def read_inception(path: Path, resizing: Resizing = "tensorflow") -> Inception:
    """The network with the weights in ``path``, whose digest is the caller's concern.

    Raises:
        UserError: the file cannot be read as weights, or they are another network's.
    """
    try:
        return Inception(torch.load(path, map_location="cpu", weights_only=True), resizing)
    except Exception as error:  # a damaged file can make the unpickler raise anything
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} does not hold the weights of FID's Inception network: {reason}") from error


def cifar10_resnet_available() -> bool:
    """Whether `load_cifar10_resnet` has a file to look at."""
    return cifar_resnet.weights_path().is_file()


def load_cifar10_resnet(device: torch.device | str) -> CifarResNet:
    """The CIFAR-10 classifier of ``$VAEBENCH_DATA/cifar10_resnet/``, its SHA-256 verified, on ``device``.

    Raises:
        UserError: the file is missing, is not the right one or cannot be read; says what to do.
    """
    state = cifar_resnet.read_weights("suite.features=cifar10_resnet", "suite.features=classifier")
    try:
        return CifarResNet(state).to(device)
    except RuntimeError as error:  # names or shapes of another network
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{cifar_resnet.weights_path()} does not hold the weights of CIFAR-10's ResNet-20: {reason}"
        ) from error


def extract(network: Callable[[Tensor], Tensor], images: Tensor, batch_size: int) -> Tensor:
    """Features of ``images``, a batch at a time, without gradients.

    Args:
        network: float32 images ``[b c h w]`` in [0, 1] -> features ``[b d]``, on the device of ``images``.
        images: ``[n c h w]``, n at least 1: float in [0, 1], or uint8, which is brought to [0, 1] batch by batch.
        batch_size: images at a time; features do not depend on it. On one CPU core Inception is fastest at 8 to 16.

    Returns:
        ``[n d]`` float32 on the CPU.

    Raises:
        UserError: images hold NaN or infinity, which a network that cuts to 8 bits would turn into ordinary pixels.
    """
    with torch.no_grad():
        return torch.cat([network(as_float(batch)).float().cpu() for batch in images.split(batch_size)])


def as_float(images: Tensor) -> Tensor:
    """Images as `extract` takes them -> float in [0, 1]. Raises `UserError` if they hold NaN or infinity."""
    if images.dtype == torch.uint8:
        return images.float() / 255
    if not images.isfinite().all():
        raise UserError("images hold NaN or infinity, so no features were extracted; their model has probably diverged")
    return images


def _cached() -> Path:
    """Where downloaded weights are kept."""
    return Path(os.environ.get("VAEBENCH_HOME", "") or "runs").absolute() / "weights" / WEIGHTS_FILES[0]


def _within(given: Path) -> Path:
    """The weights at the place that VAEBENCH_WEIGHTS names."""
    candidates = [given / name for name in WEIGHTS_FILES] if given.is_dir() else [given]
    for path in candidates:
        if path.is_file():
            return path
    wanted = " or ".join(WEIGHTS_FILES) if given.is_dir() else "file or folder"
    raise UserError(f"VAEBENCH_WEIGHTS={given}: no {wanted} there; {_help()}")


def _verify(path: Path, remedy: str) -> None:
    found = sha256_of(path)
    if not found.startswith(WEIGHTS_SHA256):
        raise UserError(
            f"{path} is not the Inception of FID and is not used: expected SHA-256 {WEIGHTS_SHA256}..., "
            f"found {found[:8]}...; {remedy}"
        )


def _download(path: Path) -> None:
    try:
        download([WEIGHTS_URL], path, sha256=WEIGHTS_SHA256)
    except (Undelivered, OSError) as error:
        raise UserError(f"cannot download the Inception of FID from {error}; {_help()}") from error


def _help() -> str:
    return (
        f"set VAEBENCH_WEIGHTS to {WEIGHTS_FILES[0]} or its folder, or choose suite.features=classifier, "
        "which gives a Frechet distance that is not FID"
    )
