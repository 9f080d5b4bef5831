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

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vaebench.config.signatures import AtLeast2, checked
from vaebench.data.batch import Batch
from vaebench.data.fetch import Files, is_partial, obtain
from vaebench.data.image_files import CIFAR_BATCHES, cifar_archive, cifar_records, read_bytes, read_idx
from vaebench.errors import UserError

_IDX_ROLES = ("train_images", "train_labels", "test_images", "test_labels")
_CIFAR_TEST_IMAGES = 10_000
_DIGITS_TEST = 360
_DIGITS_LARGEST = 512  # pixels of a side: 4 GB while they are made
_PHOTOS = ("china.jpg", "flower.jpg")
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class ImageData:
    """A dataset in memory: images uint8 ``[n c h w]`` and labels int64 ``[n]`` of both splits.

    ``source``: ``embedded``, ``VAEBENCH_DATA`` or ``download``. ``digest``: 16 hex digits, of the content.
    ``note``: which part of the set this is, empty for all of it. ``stand_in``: whether it stands for a paper's dataset
    without being it. ``place``: where batches go if the images are mapped from files on disk, and so stay on the CPU;
    None for images in memory. A set without training images can be evaluated on only. ``class_names``: of the labels 0,
    1, ...; empty for a set without classes, whose labels are all 0; None where they have numbers only.
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
    place: torch.device | None = None
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

    @property
    def device(self) -> torch.device:
        """Where batches go."""
        return self.place or self.train_x.device

    def __len__(self) -> int:
        """The number of training images."""
        return len(self.train_x)

    def batch(self, rows: Tensor) -> Batch:
        """Training images as float32 in [0, 1] and their labels. Raises `UserError` if there are none."""
        if not len(self.train_x):
            raise UserError(f"{self.name} has no training images here, only a test split; train on another dataset")
        rows = rows.to(self.train_x.device)
        return Batch(self.train_x[rows].to(self.device).float().div_(255), self.train_y[rows].to(self.device))

    def to(self, device: torch.device | str) -> ImageData:
        """The same data with its four tensors on ``device``; mapped ones stay, and their batches go there."""
        if self.place is not None:
            return replace(self, place=torch.device(device))
        moved = {key: getattr(self, key).to(device) for key in ("train_x", "train_y", "test_x", "test_y")}
        return replace(self, **moved)


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

    Args:
        name: the folder of its files under ``$VAEBENCH_DATA`` or the cache.
        shape: (1, h, w) of an image; checked. With ``pad`` (c, h, w) of what is made of it.
        files: ``train_images``, ``train_labels``, ``test_images``, ``test_labels``, each with ``file`` and ``sha256``.
        mirrors: addresses of folders to download from.
        folder: where the files lie if not in ``name``.
        pad: put a black frame round every image and repeat it over the channels, as ``shape`` asks for; for models of
            larger images or of colour.

    Raises:
        UserError: a file is missing, corrupt, not IDX, or does not agree with the others or with ``shape``.
    """
    located = obtain(name=name, files=files, mirrors=mirrors, folder=folder, roles=_IDX_ROLES)
    arrays = {role: read_idx(path, dimensions=3 if "images" in role else 1) for role, path in located.paths.items()}
    train, test = (arrays[f"{split}_images"][:, None] for split in ("train", "test"))
    if pad:
        train, test = _padded(train, shape), _padded(test, shape)
    return _assemble(
        name=name,
        shape=shape,
        train=(train, arrays["train_labels"]),
        test=(test, arrays["test_labels"]),
        source=located.source,
    )


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


def digits(*, name: str, shape: Sequence[int]) -> ImageData:
    """scikit-learn's 1,797 handwritten digits, 8x8 in 17 grey levels, resized: a stand-in for MNIST without a file.

    Bilinear to ``shape``, the levels 0..16 spread over 0..255. 1,437 training and 360 test images, by scikit-learn's
    ``train_test_split`` with seed 0, every class in proportion.

    Raises:
        UserError: ``shape`` is not (1, h, w).
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
    train, test = train_test_split(np.arange(len(labels)), test_size=_DIGITS_TEST, stratify=labels, random_state=0)
    return _assemble(
        name=name,
        shape=shape,
        train=(images[train], labels[train]),
        test=(images[test], labels[test]),
        source="embedded",
        stand_in=True,
    )


@checked("dataset")
def photos(*, name: str, shape: Sequence[int], train: AtLeast2, test: AtLeast2) -> ImageData:
    """Cells of scikit-learn's two photographs: natural images without a file, out of the domain of digits.

    Each photograph (427 x 640) is cut into cells side by side; as many as are asked for are taken, evenly spread, and
    as evenly shared out to the splits. The label is the number of the photograph: a temple, a flower.

    Args:
        name: what the set is called.
        shape: (1, h, w) for grey cells or (3, h, w) for colour.
        train: how many training images, an even number.
        test: how many test images, an even number.

    Raises:
        UserError: an option is out of range, or the photographs have not so many cells.
    """
    from sklearn.datasets import load_sample_image

    if len(shape) != 3 or shape[0] not in (1, 3) or min(shape) < 1:
        raise UserError(f"dataset.shape={list(shape)}: the photographs are grey or in colour, (1 or 3, height, width)")
    if train % 2 or test % 2:
        raise UserError(f"dataset.train={train}, dataset.test={test}: expected even numbers, half of each photo")
    parts: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    for photo in _PHOTOS:
        cells = _cells(load_sample_image(photo), shape)
        if len(cells) < (train + test) // 2:
            raise UserError(
                f"dataset.train={train}, dataset.test={test}: the two photographs have only 2 x {len(cells)} cells of "
                f"{shape[1]} x {shape[2]}; ask for fewer or smaller ones"
            )
        taken = cells[_spread(len(cells), (train + test) // 2)]
        tested = _spread(len(taken), test // 2)
        parts["test"].append(taken[tested])
        parts["train"].append(np.delete(taken, tested, axis=0))
    splits = {split: (np.concatenate(both), np.repeat([0, 1], len(both[0]))) for split, both in parts.items()}
    return _assemble(
        name=name, shape=shape, train=splits["train"], test=splits["test"], source="embedded", stand_in=True
    )


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
    batches = sorted(role for role in partial if role in CIFAR_BATCHES)
    if list(files) != ["archive"] or (partial and (not batches or {*batches, "test"} != set(partial))):
        raise UserError(
            f"dataset {name}: files must be archive, and partial some of {', '.join(CIFAR_BATCHES)}, and test"
        )
    part = is_partial(name=name, files=files, partial=partial)
    located = obtain(name=name, files=partial if part else files, mirrors=mirrors)
    if part:
        records = {role: cifar_records(path, read_bytes(path)) for role, path in located.paths.items()}
    else:
        records, batches = cifar_archive(located.paths["archive"]), list(CIFAR_BATCHES)
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
