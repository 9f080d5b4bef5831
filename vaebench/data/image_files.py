"""The formats of image datasets: IDX (MNIST's) and the records of CIFAR-10, plain, compressed or in their archive."""

from __future__ import annotations

import gzip
import lzma
import math
import tarfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from vaebench.errors import UserError

CIFAR_BATCHES = ("batch_1", "batch_2", "batch_3", "batch_4", "batch_5")
_IDX_UNSIGNED_BYTES = 8
_CIFAR_RECORD = 1 + 3 * 32 * 32  # label, then the red, the green and the blue plane, row by row
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError)


def read_idx(path: Path, *, dimensions: int) -> np.ndarray:
    """The array in an IDX file of unsigned bytes, compressed (``.gz``, ``.xz``) or not.

    Format: two zero bytes, the type (8), the number of dimensions, each dimension as a big-endian 32-bit integer, the
    values with the last dimension running fastest (yann.lecun.com/exdb/mnist).

    Raises:
        UserError: the file is cut off, goes on after its values, is of another type or has other than ``dimensions``.
    """
    content = read_bytes(path)
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


def read_bytes(path: Path) -> bytes:
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


def cifar_records(where: Path | str, content: bytes) -> np.ndarray:
    """CIFAR-10's records, uint8 ``[n 3073]``."""
    if not content or len(content) % _CIFAR_RECORD:
        raise UserError(f"{where}: {len(content)} bytes are not whole CIFAR-10 records of {_CIFAR_RECORD} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, _CIFAR_RECORD)
    if records[:, 0].max() > 9:
        raise UserError(f"{where}: not CIFAR-10 records, a label is {records[:, 0].max()} and should be 9 at most")
    return records


def cifar_archive(path: Path) -> dict[str, np.ndarray]:
    """The records of every batch in the tar file of the whole set, by role."""
    roles = {f"data_{role}.bin": role for role in CIFAR_BATCHES} | {"test_batch.bin": "test"}
    found: dict[str, np.ndarray] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                role = roles.get(Path(member.name).name)
                stream = archive.extractfile(member) if role and member.isfile() else None
                if role and stream:
                    found[role] = cifar_records(f"{path}, {member.name}", stream.read())
    except _BROKEN as error:
        raise UserError(f"{path}: cannot be read to its end ({error})") from error
    missing = sorted(file for file, role in roles.items() if role not in found)
    if missing:
        raise UserError(f"{path}: is not CIFAR-10's binary version, it has no {', '.join(missing)}")
    return found
