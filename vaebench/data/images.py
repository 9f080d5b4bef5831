"""Image datasets, held in memory as bytes: a reader for each kind of file, checked against what the YAML promises.

Another dataset of a known kind is one YAML. For one in MNIST's format (IDX), ``conf/dataset/kmnist.yaml``::

    _target_: vaebench.data.images.idx
    name: kmnist
    version: 1
    shape: [1, 28, 28]
    files:
      train_images: {file: train-images-idx3-ubyte.gz, sha256: ...}
      train_labels: {file: train-labels-idx1-ubyte.gz, sha256: ...}
      test_images: {file: t10k-images-idx3-ubyte.gz, sha256: ...}
      test_labels: {file: t10k-labels-idx1-ubyte.gz, sha256: ...}
    mirrors: [http://codh.rois.ac.jp/kmnist/dataset/kmnist/]

With that, ``dataset=kmnist`` is a choice; its files lie in ``$VAEBENCH_DATA/kmnist/``, or are downloaded.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import math
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vaebench.contracts import Batch
from vaebench.data.fetch import Files, is_partial, obtain
from vaebench.errors import UserError

_IDX_ROLES = ("train_images", "train_labels", "test_images", "test_labels")
_IDX_UNSIGNED_BYTES = 8
_CIFAR_RECORD = 1 + 3 * 32 * 32  # label, then the red, the green and the blue plane, row by row
_CIFAR_BATCHES = ("batch_1", "batch_2", "batch_3", "batch_4", "batch_5")
_CIFAR_TEST_IMAGES = 10_000
_DIGITS_TEST = 360
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError)


@dataclass(frozen=True)
class ImageData:
    """A dataset in memory: images uint8 ``[n c h w]`` and labels int64 ``[n]`` of both splits.

    ``source``: ``embedded``, ``VAEBENCH_DATA`` or ``download``. ``digest``: 16 hex digits, of the content.
    ``note``: which part of the set this is, empty for all of it. ``stand_in``: whether it stands for a paper's dataset
    without being it.
    """

    name: str
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    source: str
    digest: str
    note: str
    stand_in: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of an image."""
        channels, height, width = self.train_x.shape[1:]
        return channels, height, width

    @property
    def classes(self) -> int:
        """The number of classes: labels run from 0 to one less."""
        return 1 + int(torch.cat([self.train_y, self.test_y]).max())

    @property
    def device(self) -> torch.device:
        """Where the images lie."""
        return self.train_x.device

    def __len__(self) -> int:
        """The number of training images."""
        return len(self.train_x)

    def batch(self, rows: Tensor) -> Batch:
        """Training images as float32 in [0, 1] and their labels."""
        return Batch(self.train_x[rows].float().div_(255), self.train_y[rows])

    def to(self, device: torch.device | str) -> ImageData:
        """The same data with its four tensors on ``device``."""
        moved = {key: getattr(self, key).to(device) for key in ("train_x", "train_y", "test_x", "test_y")}
        return replace(self, **moved)


def idx(*, name: str, shape: Sequence[int], files: Files, mirrors: Sequence[str] = ()) -> ImageData:
    """A dataset of four IDX files (MNIST's format), of grey images of unsigned bytes.

    Args:
        name: the folder of its files under ``$VAEBENCH_DATA`` or the cache.
        shape: (1, h, w) of an image; checked.
        files: ``train_images``, ``train_labels``, ``test_images``, ``test_labels``, each with ``file`` and ``sha256``.
        mirrors: addresses of folders to download from.

    Raises:
        UserError: a file is missing, corrupt, not IDX, or does not agree with the others or with ``shape``.
    """
    if sorted(files) != sorted(_IDX_ROLES):
        raise UserError(f"dataset {name}: files must be {', '.join(_IDX_ROLES)}, not {', '.join(files) or 'none'}")
    located = obtain(name=name, files=files, mirrors=mirrors)
    arrays = {role: read_idx(path, dimensions=3 if "images" in role else 1) for role, path in located.paths.items()}
    return _assemble(
        name=name,
        shape=shape,
        train=(arrays["train_images"][:, None], arrays["train_labels"]),
        test=(arrays["test_images"][:, None], arrays["test_labels"]),
        source=located.source,
    )


def digits(*, name: str, shape: Sequence[int]) -> ImageData:
    """scikit-learn's 1,797 handwritten digits, 8x8 in 17 grey levels, resized: a stand-in for MNIST without a file.

    Bilinear to ``shape``, the levels 0..16 spread over 0..255. 1,437 training and 360 test images, by scikit-learn's
    ``train_test_split`` with seed 0, every class in proportion.

    Raises:
        UserError: ``shape`` is not (1, h, w).
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if len(shape) != 3 or shape[0] != 1 or min(shape) < 1:
        raise UserError(f"dataset.shape={list(shape)}: the digits are grey, (1, height, width)")
    scans = load_digits()
    levels = torch.from_numpy(scans.images)[:, None]
    resized = F.interpolate(levels, size=tuple(shape[1:]), mode="bilinear", align_corners=False) * (255 / 16)
    # Half of the range, 127.5, is frequent: the last bit of the interpolation must not decide how it is rounded.
    images = (resized + 0.5 + 1e-6).floor().to(torch.uint8).numpy()
    labels = scans.target.astype(np.uint8)
    train, test = train_test_split(np.arange(len(labels)), test_size=_DIGITS_TEST, stratify=labels, random_state=0)
    return _assemble(
        name=name,
        shape=shape,
        train=(images[train], labels[train]),
        test=(images[test], labels[test]),
        source="embedded",
        stand_in=True,
    )


def cifar10(
    *, name: str, shape: Sequence[int], files: Files, partial: Files | None = None, mirrors: Sequence[str] = ()
) -> ImageData:
    """CIFAR-10 in its binary version (labels and pixels in records, no code).

    Args:
        name: the folder of its files under ``$VAEBENCH_DATA`` or the cache.
        shape: (3, 32, 32); checked.
        files: ``archive``, the tar file of the whole set; read in place, nothing is extracted to disk.
        partial: some of ``batch_1`` ... ``batch_5``, and ``test``: files of records, plain, ``.gz`` or ``.xz``. Used
            where they are on disk and the archive is not, and then named in ``note``.
        mirrors: addresses of folders to download the archive from.

    Raises:
        UserError: a file is missing, corrupt, or does not hold whole records.
    """
    partial = partial or {}
    batches = sorted(role for role in partial if role in _CIFAR_BATCHES)
    if list(files) != ["archive"] or (partial and (not batches or {*batches, "test"} != set(partial))):
        raise UserError(
            f"dataset {name}: files must be archive, and partial some of {', '.join(_CIFAR_BATCHES)}, and test"
        )
    part = is_partial(name=name, files=files, partial=partial)
    located = obtain(name=name, files=partial if part else files, mirrors=mirrors)
    if part:
        records = {role: _records(path, _read(path)) for role, path in located.paths.items()}
    else:
        records, batches = _archive_records(located.paths["archive"]), list(_CIFAR_BATCHES)
    train = np.concatenate([records[role] for role in batches])
    test = records["test"]
    return _assemble(
        name=name,
        shape=shape,
        train=(train[:, 1:].reshape(-1, 3, 32, 32), train[:, 0]),
        test=(test[:, 1:].reshape(-1, 3, 32, 32), test[:, 0]),
        source=located.source,
        note=_partial_note([role.removeprefix("batch_") for role in batches], len(test)) if part else "",
    )


def read_idx(path: Path, *, dimensions: int) -> np.ndarray:
    """The array in an IDX file of unsigned bytes, compressed (``.gz``, ``.xz``) or not.

    Format: two zero bytes, the type (8), the number of dimensions, each dimension as a big-endian 32-bit integer, the
    values with the last dimension running fastest (yann.lecun.com/exdb/mnist).

    Raises:
        UserError: the file is cut off, goes on after its values, is of another type or has other than ``dimensions``.
    """
    content = _read(path)
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise UserError(f"{path}: {len(content)} bytes are too few for an IDX file of {dimensions} dimensions")
    if tuple(content[:4]) != (0, 0, _IDX_UNSIGNED_BYTES, dimensions):
        wanted = bytes((0, 0, _IDX_UNSIGNED_BYTES, dimensions)).hex()
        raise UserError(
            f"{path}: not an IDX file of unsigned bytes in {dimensions} dimensions "
            f"(it begins with {content[:4].hex()}, not {wanted})"
        )
    sizes = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, 4))
    expected, found = math.prod(sizes), len(content) - header
    if found != expected:
        product = " x ".join(map(str, sizes))
        raise UserError(f"{path}: {found} values follow the header, which announces {product} = {expected}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)


def _read(path: Path) -> bytes:
    """The content of a file, decompressed by its suffix."""
    try:
        with _open(path) as stream:
            return stream.read()
    except _BROKEN as error:
        raise UserError(f"{path}: cannot be read to its end ({error})") from error


def _open(path: Path) -> IO[bytes] | gzip.GzipFile | lzma.LZMAFile:
    if path.suffix == ".gz":
        return gzip.open(path)
    return lzma.open(path) if path.suffix == ".xz" else path.open("rb")


def _records(where: Path | str, content: bytes) -> np.ndarray:
    """CIFAR-10's records, uint8 ``[n 3073]``."""
    if not content or len(content) % _CIFAR_RECORD:
        raise UserError(f"{where}: {len(content)} bytes are not whole CIFAR-10 records of {_CIFAR_RECORD} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, _CIFAR_RECORD)
    if records[:, 0].max() > 9:
        raise UserError(f"{where}: not CIFAR-10 records, a label is {records[:, 0].max()} and should be 9 at most")
    return records


def _archive_records(path: Path) -> dict[str, np.ndarray]:
    """The records of every batch in the tar file of the whole set, by role."""
    roles = {f"data_{role}.bin": role for role in _CIFAR_BATCHES} | {"test_batch.bin": "test"}
    found: dict[str, np.ndarray] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                role = roles.get(Path(member.name).name)
                stream = archive.extractfile(member) if role and member.isfile() else None
                if role and stream:
                    found[role] = _records(f"{path}, {member.name}", stream.read())
    except _BROKEN as error:
        raise UserError(f"{path}: cannot be read to its end ({error})") from error
    missing = sorted(file for file, role in roles.items() if role not in found)
    if missing:
        raise UserError(f"{path}: is not CIFAR-10's binary version, it has no {', '.join(missing)}")
    return found


def _partial_note(batches: Sequence[str], test_images: int) -> str:
    numbers = f"{', '.join(batches[:-1])} and {batches[-1]}" if len(batches) > 1 else batches[0]
    note = f"CIFAR-10, batch{'es' if len(batches) > 1 else ''} {numbers}"
    return note if test_images == _CIFAR_TEST_IMAGES else f"{note}, first {test_images:,} test images"


def _assemble(
    *,
    name: str,
    shape: Sequence[int],
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    source: str,
    note: str = "",
    stand_in: bool = False,
) -> ImageData:
    """Images uint8 ``[n c h w]`` and labels uint8 ``[n]`` of both splits, checked, as `ImageData`."""
    content = hashlib.sha256()
    for split, (images, labels) in {"train": train, "test": test}.items():
        if images.shape[1:] != tuple(shape):
            raise UserError(f"dataset.shape={list(shape)}: the {split} images of {name} are {list(images.shape[1:])}")
        if len(images) != len(labels) or not len(images):
            raise UserError(f"{name}: {len(images)} {split} images and {len(labels)} {split} labels")
        for array in (images, labels):
            content.update(f"{split} {array.shape}".encode())
            content.update(np.ascontiguousarray(array).data)
    (train_x, train_y), (test_x, test_y) = train, test
    return ImageData(
        name=name,
        train_x=torch.tensor(train_x),
        train_y=torch.tensor(train_y, dtype=torch.int64),
        test_x=torch.tensor(test_x),
        test_y=torch.tensor(test_y, dtype=torch.int64),
        source=source,
        digest=content.hexdigest()[:16],
        note=note,
        stand_in=stand_in,
    )
