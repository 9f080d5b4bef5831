"""Vectors of one's own as a reference, from a file that is read without running code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vaebench.config.signatures import require
from vaebench.contracts import ReferenceInputs, ReferenceItems
from vaebench.data.fetch import verified
from vaebench.errors import UserError

_KINDS = (".npy", ".npz", ".safetensors")
_UNREADABLE = (OSError, ValueError, EOFError, BadZipFile, SafetensorError)


@dataclass(kw_only=True, eq=False)
class File:
    """The vectors of a file as latents, in its order, with their labels where it has any.

    ``path``: a .npy file of ``[n D]`` or ``[n l h w]``; a .npz or .safetensors file of such ``vectors`` and, if known,
    ``labels`` ``[n]``. ``sha256``: checked; null: whatever the file holds. ``standardise``: they are brought to mean 0
    and deviation 1, over all numbers together; false: they are in normalised units already.

    Vectors of D = l h w numbers are the latents, reshaped. Vectors of D = l numbers are features of one place: each
    place of an item's grid gets one of those of its class (without labels: of all), drawn independently with
    replacement, so that the places are independent given the class; there are as many items as vectors.
    """

    path: str | None
    sha256: str | None
    standardise: bool

    def __post_init__(self) -> None:
        require(None if self.path else f"reference.path=null: name a file of vectors ({', '.join(_KINDS)})")
        kind = f"reference.path={self.path}: expected one of {', '.join(_KINDS)}"
        require(None if Path(self.path or "").suffix in _KINDS else kind)

    def draw(self, given: ReferenceInputs) -> ReferenceItems:
        """Raises `UserError` for a file that is missing, has changed, cannot be read or does not fit the latents."""
        path = verified(self.path or "", self.sha256, option="reference")
        z, labels = _read(path)
        _check(path, z, labels, given.latent_shape)
        if self.standardise:
            z = scaled(z, str(path))
        if z[0].numel() < math.prod(given.latent_shape):
            z = _by_place(z, labels, given)
        return ReferenceItems(z.reshape(-1, *given.latent_shape), labels)


def scaled(vectors: Tensor, name: str) -> Tensor:
    """Mean 0 and deviation 1 over all numbers together. Raises `UserError` if they are all the same."""
    std, mean = torch.std_mean(vectors.double(), correction=0)
    if not std > 1e-6 * mean.abs():
        raise UserError(f"{name}: all numbers are {mean:g}, there is nothing to match")
    return (vectors - mean.float()) / std.float()


def _read(path: Path) -> tuple[Tensor, Tensor | None]:
    """Vectors as float32 and labels as int64, on the CPU."""
    try:
        found = load_file(path) if path.suffix == ".safetensors" else _numpy(path)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: cannot be read as {path.suffix} without running code ({reason})") from error
    if "vectors" not in found:
        names = ", ".join(sorted(found)) or "nothing"
        raise UserError(f"{path}: holds {names}; expected vectors and, if they are known, labels")
    labels = found.get("labels")
    if labels is not None and (labels.is_floating_point() or labels.shape != found["vectors"].shape[:1]):
        raise UserError(
            f"{path}: its labels are {labels.dtype} {list(labels.shape)}; expected a whole number for each of the "
            f"{len(found['vectors'])} vectors"
        )
    return found["vectors"].float(), None if labels is None else labels.long()


def _numpy(path: Path) -> dict[str, Tensor]:
    """The arrays of a file of NumPy's. Raises as `numpy.load`; `ValueError` for what is no number."""
    with path.open("rb") as stream:  # of a path NumPy leaves a damaged archive open
        found = np.load(stream, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {"vectors": _tensor(found)}
        return {name: _tensor(found[name]) for name in found.files}


def _tensor(array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "fiu":
        raise ValueError(f"it holds {array.dtype} instead of numbers")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))


def _check(path: Path, vectors: Tensor, labels: Tensor | None, latent_shape: Sequence[int]) -> None:
    """Raise `UserError` if these cannot be used for latents of ``latent_shape``."""
    found, wanted, numbers = list(vectors.shape), list(latent_shape), math.prod(latent_shape)
    if len(found) not in (2, 4):
        raise UserError(f"{path}: its vectors are {found}; expected [n D], or latents [n l h w]")
    if found[0] < 2:
        raise UserError(f"{path}: vectors: {found[0]}; a distribution takes at least 2")
    if len(found) == 4 and found[1:] != wanted:
        raise UserError(f"{path}: its latents are {found[1:]} and those to be matched {wanted}; make them the same")
    if len(found) == 2 and found[1] not in (numbers, wanted[0]):
        raise UserError(
            f"{path}: its vectors have {found[1]} numbers and the latents to be matched {wanted}; expected {numbers}, "
            f"or {wanted[0]} for each place of the grid"
        )
    bad = (~vectors.flatten(1).isfinite().all(1)).nonzero()
    if len(bad):
        raise UserError(f"{path}: row {int(bad[0])}, counted from 0, holds a number that is not finite; leave it out")
    if labels is not None and int(labels.min()) < 0:
        raise UserError(f"{path}: row {int(labels.argmin())} has the label {int(labels.min())}; labels count from 0")


def _by_place(vectors: Tensor, labels: Tensor | None, given: ReferenceInputs) -> Tensor:
    """Features ``[n l]`` as ``[n l h w]``: at each place one of the same class."""
    _, height, width = given.latent_shape
    generator = torch.Generator().manual_seed(given.seed)
    which = torch.zeros(len(vectors), dtype=torch.int64) if labels is None else labels
    drawn = torch.empty(len(vectors), height, width, dtype=torch.int64)
    for label in which.unique():
        rows = (which == label).nonzero()[:, 0]
        drawn[rows] = rows[torch.randint(len(rows), (len(rows), height, width), generator=generator)]
    return vectors[drawn].permute(0, 3, 1, 2).contiguous()
