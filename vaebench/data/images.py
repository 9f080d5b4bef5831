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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vaebench.config.signatures import AtLeast2, checked
from vaebench.data.batch import Batch, Held, sent
from vaebench.data.fetch import is_partial, obtain
from vaebench.data.files import Files, entries
from vaebench.errors import UserError

_IDX_ROLES = ("train_images", "train_labels", "test_images", "test_labels")
_IDX_UNSIGNED_BYTES = 8
_CIFAR_BATCHES = ("batch_1", "batch_2", "batch_3", "batch_4", "batch_5")
_CIFAR_RECORD = 1 + 3 * 32 * 32  # label, then the red, the green and the blue plane, row by row
_CIFAR_TEST_IMAGES = 10_000
_DIGITS_TEST = 360
_DIGITS_LARGEST = 512  # pixels of a side: 4 GB while they are made
_PHOTOS = ("china.jpg", "flower.jpg")
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_OPENERS: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open}
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError)
_Split = tuple[np.ndarray, np.ndarray]  # images uint8 [n c h w], labels [n]


@dataclass(frozen=True)
class ImageData(Held):
    """A dataset in memory: images uint8 ``[n c h w]`` and labels int64 ``[n]`` of both splits.

    A set without training images can be evaluated on only. ``class_names``: of the labels 0, 1, ...; empty for a set
    without classes, whose labels are all 0; None where they have numbers only.
    """

    name: str
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    class_names: tuple[str, ...] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of an image."""
        channels, height, width = self.train_x.shape[1:]
        return channels, height, width

    @property
    def classes(self) -> int:
        """The number of classes: labels run from 0 to one less; 0 for a set without."""
        if self.class_names is not None:
            return len(self.class_names)
        return 1 + int(torch.cat([self.train_y, self.test_y]).max())

    def __len__(self) -> int:
        """The number of training images."""
        return len(self.train_x)

    def batch(self, rows: Tensor) -> Batch:
        """Training images as float32 in [0, 1] and their labels. Raises `UserError` if there are none."""
        if not len(self.train_x):
            raise UserError(f"{self.name} has no training images here, only a test split; train on another dataset")
        rows = rows.to(self.train_x.device)
        return Batch(self.train_x[rows].to(self.device).float().div_(255), self.train_y[rows].to(self.device))

    def fetched(self, rows: Tensor) -> ImageData:
        """These training images alone, as `vaebench.contracts.Fetches` says."""
        return self._only(**{name: sent(getattr(self, name)[rows], self.device) for name in ("train_x", "train_y")})


def idx(
    *,
    name: str,
    shape: Sequence[int],
    files: Files,
    mirrors: Sequence[str] = (),
    folder: str = "",
    pad: bool = False,
) -> ImageData:
    """A dataset of four IDX files (MNIST's format), of grey images of unsigned bytes.

    ``files``: ``train_images``, ``train_labels``, ``test_images``, ``test_labels``, each with ``file`` and ``sha256``,
    under ``$VAEBENCH_DATA`` or the cache in ``folder`` (empty: in ``name``), or to download from the folders
    ``mirrors``. ``shape``: (1, h, w) of an image; checked. With ``pad`` it is the (c, h, w) of what is made of it: a
    black frame round every image, repeated over the channels, for models of larger images or of colour. Raises
    `UserError` if a file is missing, corrupt, not IDX, or does not agree with the others or with ``shape``.
    """
    located = obtain(name=name, files=files, mirrors=mirrors, folder=folder, roles=_IDX_ROLES)
    arrays = {role: read_idx(path, dimensions=3 if "images" in role else 1) for role, path in located.paths.items()}
    train, test = (arrays[f"{split}_images"][:, None] for split in ("train", "test"))
    if pad:
        train, test = _padded(train, shape), _padded(test, shape)
    train_split, test_split = (train, arrays["train_labels"]), (test, arrays["test_labels"])
    return assembled(name, shape, train_split, test_split, source=located.source)


def _padded(images: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Grey images uint8 ``[n 1 h w]`` in the middle of black ones of ``shape``, the same in every channel."""
    height, width = images.shape[2:]
    if len(shape) != 3 or shape[0] < 1 or shape[1] < height or shape[2] < width:
        raise UserError(
            f"dataset.shape={list(shape)}: with dataset.pad it must be (channels, {height} or more, {width} or more)"
        )
    found = np.zeros((len(images), *shape), np.uint8)
    top, left = (shape[1] - height) // 2, (shape[2] - width) // 2
    found[:, :, top : top + height, left : left + width] = images
    return found


def read_idx(path: Path, *, dimensions: int) -> np.ndarray:
    """The array in an IDX file of unsigned bytes, compressed (``.gz``, ``.xz``) or not.

    Format: two zero bytes, the type (8), the number of dimensions, each dimension as a big-endian 32-bit integer, the
    values with the last dimension running fastest (yann.lecun.com/exdb/mnist). Raises `UserError` if the file is cut
    off, goes on after its values, is of another type or has other than ``dimensions``.
    """
    content = _read_bytes(path)
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise UserError(f"{path}: {len(content)} bytes are too few for an IDX file of {dimensions} dimensions")
    wanted = bytes((0, 0, _IDX_UNSIGNED_BYTES, dimensions))
    if content[:4] != wanted:
        raise UserError(
            f"{path}: not an IDX file of unsigned bytes in {dimensions} dimensions "
            f"(it begins with {content[:4].hex()}, not {wanted.hex()})"
        )
    sizes = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, 4))
    expected, found = math.prod(sizes), len(content) - header
    if found != expected:
        product = " x ".join(map(str, sizes))
        raise UserError(f"{path}: {found} values follow the header, which announces {product} = {expected}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)


def _read_bytes(path: Path) -> bytes:
    """The content of a file, decompressed by its suffix."""
    try:
        with _OPENERS.get(path.suffix, open)(path, "rb") as stream:
            content: bytes = stream.read()
            return content
    except _BROKEN as error:
        raise UserError(f"{path}: cannot be read to its end ({error})") from error


def digits(*, name: str, shape: Sequence[int]) -> ImageData:
    """scikit-learn's 1,797 handwritten digits, 8x8 in 17 grey levels, resized: a stand-in for MNIST without a file.

    Bilinear to ``shape``, the levels 0..16 spread over 0..255. 1,437 training and 360 test images, by scikit-learn's
    ``train_test_split`` with seed 0, every class in proportion. Raises `UserError` if ``shape`` is not (1, h, w).
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if len(shape) != 3 or shape[0] != 1 or not 1 <= min(shape) <= max(shape) <= _DIGITS_LARGEST:
        raise UserError(
            f"dataset.shape={list(shape)}: the digits are grey, (1, height, width), up to {_DIGITS_LARGEST} each"
        )
    scans = load_digits()
    levels = torch.from_numpy(scans.images)[:, None]
    resized = F.interpolate(levels, size=tuple(shape[1:]), mode="bilinear", align_corners=False) * (255 / 16)
    # Half of the range, 127.5, is frequent: the last bit of the interpolation must not decide how it is rounded.
    images = (resized + 0.5 + 1e-6).floor().to(torch.uint8).numpy()
    labels = scans.target.astype(np.uint8)
    splits = train_test_split(np.arange(len(labels)), test_size=_DIGITS_TEST, stratify=labels, random_state=0)
    train, test = ((images[rows], labels[rows]) for rows in splits)
    return assembled(name, shape, train, test, source="embedded", stand_in=True)


@checked("dataset")
def photos(*, name: str, shape: Sequence[int], train: AtLeast2, test: AtLeast2) -> ImageData:
    """Cells of scikit-learn's two photographs: natural images without a file, out of the domain of digits.

    Each photograph (427 x 640) is cut into cells side by side, grey or in colour by ``shape``; of these ``train`` and
    ``test`` are taken, both even numbers, evenly spread, and as evenly shared out to the splits. The label is the
    number of the photograph: a temple, a flower. Raises `UserError` if they have not so many cells.
    """
    from sklearn.datasets import load_sample_image

    if len(shape) != 3 or shape[0] not in (1, 3) or min(shape) < 1:
        raise UserError(f"dataset.shape={list(shape)}: the photographs are grey or in colour, (1 or 3, height, width)")
    if train % 2 or test % 2:
        raise UserError(f"dataset.train={train}, dataset.test={test}: expected even numbers, half of each photo")
    cells = np.stack([_cells(load_sample_image(photo), shape) for photo in _PHOTOS])  # uint8 [2 n c h w]
    each, there = (train + test) // 2, cells.shape[1]
    if there < each:
        raise UserError(
            f"dataset.train={train}, dataset.test={test}: the two photographs have only 2 x {there} cells of "
            f"{shape[1]} x {shape[2]}; ask for fewer or smaller ones"
        )
    taken, tested = cells[:, _spread(there, each)], _spread(each, test // 2)
    parts = np.delete(taken, tested, axis=1), taken[:, tested]
    splits = [(part.reshape(-1, *shape), np.repeat([0, 1], part.shape[1])) for part in parts]
    return assembled(name, shape, splits[0], splits[1], source="embedded", stand_in=True)


def _cells(photo: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A photograph uint8 ``[h w 3]`` in whole cells, row by row, uint8 ``[n c h w]``."""
    channels, height, width = shape
    pixels = photo if channels == 3 else np.rint(photo @ np.array(_LUMA))[..., None]
    rows, columns = photo.shape[0] // height, photo.shape[1] // width
    grid = pixels[: rows * height, : columns * width].reshape(rows, height, columns, width, channels)
    return grid.transpose(0, 2, 4, 1, 3).reshape(-1, *shape).astype(np.uint8)


def _spread(available: int, count: int) -> np.ndarray:
    """``count`` different numbers below ``available``, evenly spread."""
    return np.arange(count) * available // count


def cifar10(
    *, name: str, shape: Sequence[int], files: Files, partial: Files | None = None, mirrors: Sequence[str] = ()
) -> ImageData:
    """CIFAR-10 in its binary version (labels and pixels in records, no code), of ``shape`` (3, 32, 32); checked.

    ``files``: ``archive``, the tar file of the whole set; read in place, nothing is extracted to disk. ``partial``:
    some of ``batch_1`` ... ``batch_5``, and ``test``: files of records, plain, ``.gz`` or ``.xz``. Used where they are
    on disk and the archive is not, and then named in ``note``. ``mirrors``: addresses of folders to download from.
    Raises `UserError` if a file is missing, corrupt, or does not hold whole records.
    """
    partial = partial or {}
    batches = sorted(role for role in partial if role in _CIFAR_BATCHES)
    if list(files) != ["archive"] or (partial and (not batches or {*batches, "test"} != set(partial))):
        raise UserError(
            f"dataset {name}: files must be archive, and partial some of {', '.join(_CIFAR_BATCHES)}, and test"
        )
    part = is_partial(entries(name, name, files).values(), entries(name, name, partial).values())
    located = obtain(name=name, files=partial if part else files, mirrors=mirrors)
    if part:
        records = {role: _cifar_records(path, _read_bytes(path)) for role, path in located.paths.items()}
    else:
        records, batches = _cifar_archive(located.paths["archive"]), list(_CIFAR_BATCHES)
    splits = (np.concatenate([records[role] for role in batches]), records["test"])
    train, test = ((each[:, 1:].reshape(-1, 3, 32, 32), each[:, 0]) for each in splits)
    note = _partial_note([role.removeprefix("batch_") for role in batches], len(splits[1])) if part else ""
    return assembled(name, shape, train, test, source=located.source, note=note)


def _cifar_records(where: Path | str, content: bytes) -> np.ndarray:
    """CIFAR-10's records, uint8 ``[n 3073]``."""
    if not content or len(content) % _CIFAR_RECORD:
        raise UserError(f"{where}: {len(content)} bytes are not whole CIFAR-10 records of {_CIFAR_RECORD} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, _CIFAR_RECORD)
    if records[:, 0].max() > 9:
        raise UserError(f"{where}: not CIFAR-10 records, a label is {records[:, 0].max()} and should be 9 at most")
    return records


def _cifar_archive(path: Path) -> dict[str, np.ndarray]:
    """The records of every batch in the tar file of the whole set, by role."""
    roles = {f"data_{role}.bin": role for role in _CIFAR_BATCHES} | {"test_batch.bin": "test"}
    found: dict[str, np.ndarray] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                role = roles.get(Path(member.name).name)
                stream = archive.extractfile(member) if role and member.isfile() else None
                if role and stream:
                    found[role] = _cifar_records(f"{path}, {member.name}", stream.read())
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


def assembled(
    name: str, shape: Sequence[int], train: _Split, test: _Split, *, source: str, note: str = "", stand_in: bool = False
) -> ImageData:
    """Images uint8 ``[n c h w]`` and labels ``[n]`` of both splits, checked; ``note``: which part of a set this is.

    ``source``, ``stand_in``: as `vaebench.contracts.TrainingData` has them. Raises `UserError` for images of another
    shape, and for a split without images or with another number of labels.
    """
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
        name,
        torch.tensor(train_x),
        torch.tensor(train_y, dtype=torch.int64),
        torch.tensor(test_x),
        torch.tensor(test_y, dtype=torch.int64),
        source=source,
        digest=content.hexdigest()[:16],
        note=note,
        stand_in=stand_in,
    )
