"""The real images that others are compared with: a split of the dataset, or a published file of statistics."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaebench.config import rehearsal
from vaebench.contracts import SuiteInputs
from vaebench.errors import UserError
from vaebench.metrics.frechet import Moments, Reference, read_tensors, reference, write_tensors
from vaebench.nn.pretrained.inception import FEATURES, SPATIAL_FEATURES
from vaebench.nn.sampling import spread
from vaebench.suites.common import image_data
from vaebench.suites.judges import Activations, Judge, observe


# The real images are the same for all models, and 10,000 of them take Inception half an hour on a CPU core. So what was
# seen is kept in the store, in a file named by a hash of all that changes it: the contents of the images, not their
# name; the split; the judge with the digest of its weights and its resize; and `form`, which is raised when what is
# kept changes. Two evaluations at once may both make a file; it is written whole, and they write the same.
class Split:
    """The images of the split ``test`` or ``train`` as a judge sees them.

    What is asked for is kept in ``inputs.cache`` under all that changes it, so it is made once for all models.
    ``suite``: whose name messages give.
    """

    def __init__(self, inputs: SuiteInputs, judge: Judge, split: str, batch_size: int, suite: str) -> None:
        data = image_data(inputs, suite)
        self._images = data.test_x if split == "test" else data.train_x
        self._judge, self._batch_size, self._cache = judge, batch_size, inputs.cache
        self._facts = {"form": 1, "dataset": data.digest, "split": split, **judge.protocol}

    def statistics(self) -> Reference:
        """Of the judge's features: the real side of a FID."""
        return self._reference(self._facts, "features")

    def spatial(self) -> Reference | None:
        """Of sFID's features; None of a judge that has none."""
        if self._judge.protocol["features"] != "inception":
            return None
        return self._reference({**self._facts, "layer": "spatial"}, "spatial")

    def features(self, most: int | None) -> Tensor:
        """Of single images, float32 ``[n d]``: of ``most`` evenly spread ones; None: of all."""
        rows = _rows(len(self._images), most)
        return _kept(self._cache, {**self._facts, "rows": len(rows)}, lambda: self._seen.features[rows])

    def _reference(self, facts: dict[str, Any], layer: str) -> Reference:
        path = _place(self._cache, "reference", facts)
        if path.exists():
            return Reference.load(path)
        found = reference(getattr(self._seen, layer))
        found.save(path)
        return found

    @cached_property
    def _seen(self) -> Activations:
        """All images, looked at once at most."""
        return observe(self._judge, self._images, self._batch_size)


class StatisticsFile:
    """Statistics of Inception's features in an npz file: ``mu`` and ``sigma`` (pytorch-fid's and ADM's names).

    ``mu_s`` and ``sigma_s`` of sFID's features and images ``arr_0`` (uint8 ``[n h w c]``) where there are some: ADM's
    files have both. How many images the statistics are of is not in such a file. Raises `UserError` if the file is
    missing, or holds no such statistics.
    """

    def __init__(self, path: Path, inputs: SuiteInputs, judge: Judge, batch_size: int) -> None:
        self._path, self._judge, self._batch_size, self._cache = path, judge, batch_size, inputs.cache
        self._moments = stored_moments(path)
        with path.open("rb") as file:
            self.digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]

    def statistics(self) -> Reference:
        """Of Inception's pooled features."""
        return reference(self._moments)

    def spatial(self) -> Reference | None:
        """Of sFID's features, if the file has them."""
        found = _moments(self._path, "mu_s", "sigma_s", SPATIAL_FEATURES)
        return None if found is None else reference(found)

    def features(self, most: int | None) -> Tensor | None:
        """As `Split.features`, of the file's images, if it has some."""
        images = _read(self._path, "arr_0")
        if images is None:
            return None
        if images.ndim != 4 or images.dtype != np.uint8:
            raise UserError(
                f"suite.reference_file={self._path}: arr_0 is {images.dtype} {list(images.shape)}, not images uint8 "
                "[n h w c]"
            )
        rows = _rows(len(images), most)
        looks = {name: value for name, value in self._judge.protocol.items() if name != "features"}
        facts = {"form": 1, "file": self.digest, **looks, "rows": len(rows)}
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        return _kept(self._cache, facts, lambda: observe(self._judge, pixels[rows], self._batch_size).features)


def stored_moments(path: Path) -> Moments:
    """Mean and covariance of Inception's features in the file ``path``. Raises `UserError` if it holds none."""
    if not path.is_file():
        raise UserError(f"suite.reference_file={path}: there is no such file")
    found = _moments(path, "mu", "sigma", FEATURES)
    if found is None:
        raise UserError(f"suite.reference_file={path}: it has no mu and sigma")
    return found


def _moments(path: Path, mean: str, covariance: str, width: int) -> Moments | None:
    """Of the arrays of these names, None where the file has them not."""
    mu, sigma = _read(path, mean), _read(path, covariance)
    if mu is None or sigma is None:
        return None
    right = mu.shape == (width,) and sigma.shape == (width, width)
    if not right or not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise UserError(
            f"suite.reference_file={path}: {mean} {list(mu.shape)} and {covariance} {list(sigma.shape)} are "
            f"not a mean and a covariance of Inception's {width} features"
        )
    return Moments(torch.from_numpy(mu).double(), torch.from_numpy(sigma).double(), 0)


def _read(path: Path, name: str) -> np.ndarray | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return arrays[name] if name in arrays else None
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"suite.reference_file={path}: it cannot be read as npz ({reason})") from error


def enough_for_fid(found: Reference) -> None:
    """Raise `UserError` if there are too few real images to tell a covariance of their features."""
    width = len(found.mean)
    if 0 < found.count <= width and not rehearsal.on():
        raise UserError(
            f"FID: {found.count} reference images cannot tell the covariance of {width} features; it needs at least "
            f"{width + 1}: take more images (another dataset; suite.reference=train where the suite has it) or fewer "
            "features (suite.features=classifier)"
        )


def _rows(count: int, most: int | None) -> Tensor:
    return spread(count, count if most is None else most, torch.device("cpu"))


def _place(cache: Path, kind: str, facts: dict[str, Any]) -> Path:
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return cache / f"{kind}-{name}.safetensors"


def _kept(cache: Path, facts: dict[str, Any], make: Callable[[], Tensor]) -> Tensor:
    """The features that the store has under these facts, made first if it has none."""
    path = _place(cache, "features", facts)
    if path.exists():
        return read_tensors(path, "features", ("features",))["features"]
    found = make()
    write_tensors(path, {"features": found})
    return found
