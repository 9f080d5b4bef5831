"""The trained networks that judge images, found, verified and loaded: FID's Inception, a CIFAR-10 classifier.

Only the original weights make a number an FID, so they are used only if their SHA-256 is right. `UserError` says what
to do where a file is missing, is not the right one or cannot be read.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from vaebench.config import rehearsal
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
_HELP = (
    f"set VAEBENCH_WEIGHTS to {WEIGHTS_FILES[0]} or its folder, or choose suite.features=classifier, "
    "which gives a Frechet distance that is not FID"
)


def find_inception_weights() -> Path:
    """The file of FID's weights, its SHA-256 verified.

    ``$VAEBENCH_WEIGHTS`` (the file, or a folder that holds it) if set; otherwise ``weights/`` of ``$VAEBENCH_HOME``
    (``./runs``), downloaded (about 95 MB) on first use.
    """
    given = os.environ.get("VAEBENCH_WEIGHTS", "")
    if given:
        path, remedy = _within(Path(given)), "replace it, or unset VAEBENCH_WEIGHTS to download it"
    else:
        path, remedy = _cached(), "delete it to download it again"
        if not path.exists():
            try:
                download([WEIGHTS_URL], path, sha256=WEIGHTS_SHA256)
            except (Undelivered, OSError) as error:
                raise UserError(f"cannot download the Inception of FID from {error}; {_HELP}") from error
    found = sha256_of(path)
    if not rehearsal.right(found, WEIGHTS_SHA256):
        raise UserError(
            f"{path} is not the Inception of FID and is not used: expected SHA-256 {WEIGHTS_SHA256}..., "
            f"found {found[:8]}...; {remedy}"
        )
    return path


def inception_available() -> bool:
    """Whether `find_inception_weights` has a file to look at, or can download it now."""
    try:
        return bool(os.environ.get("VAEBENCH_WEIGHTS") or _cached().exists() or find_inception_weights())
    except UserError:
        return False


def load_inception(device: torch.device | str, resizing: Resizing = "tensorflow") -> Inception:
    """FID's network in evaluation mode on ``device``."""
    return read_inception(find_inception_weights(), resizing).to(device)


def read_inception(path: Path, resizing: Resizing = "tensorflow") -> Inception:
    """The network with the weights in ``path``, whose digest is the caller's concern."""
    try:
        return Inception(torch.load(path, map_location="cpu", weights_only=True), resizing)
    except Exception as error:  # a damaged file can make the unpickler raise anything
        raise _not_weights(path, "FID's Inception network", error) from error


def cifar10_resnet_available() -> bool:
    """Whether `load_cifar10_resnet` has a file to look at."""
    return cifar_resnet.weights_path().is_file()


def load_cifar10_resnet(device: torch.device | str) -> CifarResNet:
    """The CIFAR-10 classifier of ``$VAEBENCH_DATA/cifar10_resnet/``, its SHA-256 verified, on ``device``."""
    state = cifar_resnet.read_weights("suite.features=cifar10_resnet", "suite.features=classifier")
    try:
        return CifarResNet(state).to(device)
    except RuntimeError as error:  # names or shapes of another network
        raise _not_weights(cifar_resnet.weights_path(), "CIFAR-10's ResNet-20", error) from error


def _not_weights(path: Path, network: str, error: Exception) -> UserError:
    return UserError(f"{path} does not hold the weights of {network}: {' '.join(str(error).split())[:200]}")


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
    raise UserError(f"VAEBENCH_WEIGHTS={given}: no {wanted} there; {_HELP}")
