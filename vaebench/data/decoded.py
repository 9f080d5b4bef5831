"""The files of a set of ordinary folders, decoded once into arrays in the cache that are mapped into memory.

They lie in ``$VAEBENCH_CACHE/decoded/<name>-<key>/``, one ``<split>.npy`` of all values end to end and one
``<split>_items.npy`` of lengths and labels for each split, and ``index.json`` with the checksums of both. The key is of
the files' names and contents, and of the options: a changed file is decoded anew, beside the old arrays, which can be
deleted. The folder is there whole or not at all; while one process makes it, others wait.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from vaebench.data.contents import Item, Listing, checksums, digest_of
from vaebench.data.places import BadFile, cache, shown_path
from vaebench.errors import UserError

_LAYOUT = 2  # of the folder; raised if what is in it changes
_AT_ONCE = 16  # files per thread that are decoded before any is written
_WORTH_A_LINE = 500  # files whose decoding takes long enough to say so

# A file -> its values [n *row] (None: it is left out), and a remark to count ("" for none). Raises BadFile.
Decode = Callable[[Path], tuple[np.ndarray | None, str]]


@dataclass(frozen=True)
class Decoded:
    """The arrays of a set, by split; a split without files is empty.

    ``values``: of all items, end to end ``[n *row]``, mapped from disk and only to be read. ``lengths``, ``labels``:
    int64 ``[c]``, how many of the values are an item's, and the number of its sub-folder. ``classes``: the names of the
    sub-folders; ``loose``: how many items lie in none, and have the label 0. ``digest``: 16 hex digits, of the content.
    ``remarks``: how many files each is true of. ``bad``: what cannot be read, "path: reason".
    """

    values: Mapping[str, Tensor]
    lengths: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    classes: tuple[str, ...]
    loose: int
    digest: str
    remarks: Mapping[str, int]
    bad: tuple[str, ...]
    files: int


def decoded(
    found: Listing,
    *,
    name: str,
    options: Mapping[str, Any],
    row: tuple[int, ...],
    dtype: type[np.generic],
    decode: Decode,
) -> Decoded:
    """The set's files as arrays: from the cache, or decoded into it now.

    Args:
        found: its files.
        name: of the set; part of the folder's name.
        options: all that ``decode`` depends on, as plain data.
        row: the shape of one value, () for samples.
        dtype: of a value.
        decode: reads one file; called from several threads.

    Raises:
        UserError: the cache cannot be written or read, or is damaged.
    """
    key = json.dumps([_LAYOUT, dict(options), row, found.digest], sort_keys=True)
    folder = cache("decoded") / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(folder.with_name(f".{folder.name}.lock"))):
            if not (folder / "index.json").is_file():
                _make(folder, found.files, row, dtype, decode)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror or error}); set VAEBENCH_CACHE to a folder with room for "
            f"{name}, decoded"
        ) from error
    return _load(folder, found)


def _make(
    folder: Path,
    files: Mapping[str, Sequence[Item]],
    row: tuple[int, ...],
    dtype: type[np.generic],
    decode: Decode,
) -> None:
    """Decode all files into a folder beside ``folder`` that takes its place at the end."""
    count = sum(map(len, files.values()))
    if count >= _WORTH_A_LINE:
        sys.stderr.write(f"note: decoding {count:,} files into {folder}, once\n")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a killed process: the lock is ours
    part.mkdir()
    classes = sorted({item.label for found in files.values() for item in found if item.label})
    numbers = {"": 0} | {label: number for number, label in enumerate(classes)}
    content, remarks, bad, loose = hashlib.sha256(), Counter[str](), [], 0
    try:
        for split, found in files.items():
            content.update(f"{split} {dtype.__name__} {row}".encode())
            items = []
            with (part / f"{split}.npy").open("wb+") as stream:
                written = _header(stream, row, dtype, 0)
                for number, (item, result) in enumerate(_results(found, decode)):
                    if isinstance(result, BadFile):
                        bad.append((split, number, str(result)))
                        continue
                    values, remark = result
                    remarks.update([remark] if remark else [])
                    if values is not None:
                        values = np.ascontiguousarray(values, dtype)
                        stream.write(values.data)
                        content.update(values.data)
                        items.append((len(values), numbers[item.label]))
                        loose += not item.label
                _header(stream, row, dtype, sum(length for length, _ in items), expected=written)
            table = np.array(items, np.int64).reshape(-1, 2)
            content.update(table.data)
            np.save(part / f"{split}_items.npy", table)
        index = {"digest": content.hexdigest()[:16], "remarks": dict(remarks), "bad": bad, "files": count}
        index |= {"classes": classes, "loose": loose}
        index |= {"checksums": {path.name: digest_of(path) for path in part.glob("*.npy")}}
        (part / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _header(stream: IO[bytes], row: tuple[int, ...], dtype: type[np.generic], count: int, expected: int = 0) -> int:
    """Write the header of an array of ``count`` rows at the beginning; its length.

    numpy leaves room in it for the first dimension to grow, so the count can be put in when it is known.
    """
    stream.seek(0)
    form = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (count, *row)}
    np.lib.format.write_array_header_1_0(stream, form)
    if expected and stream.tell() != expected:
        raise RuntimeError(f"the header of an array grew from {expected} to {stream.tell()} bytes")
    return stream.tell()


def _results(files: Sequence[Item], decode: Decode) -> Iterator[tuple[Item, BadFile | tuple[np.ndarray | None, str]]]:
    """What ``decode`` makes of each file, in order; several are decoded at once, and few are held."""

    def attempt(item: Item) -> BadFile | tuple[np.ndarray | None, str]:
        try:
            return decode(item.path)
        except BadFile as error:
            return error

    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a decoder's name no file; what is wrong with one is said in the note
        for start in range(0, len(files), _AT_ONCE * threads):
            some = files[start : start + _AT_ONCE * threads]
            yield from zip(some, pool.map(attempt, some), strict=True)


def _load(folder: Path, found: Listing) -> Decoded:
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        arrays = checksums(folder, sorted(folder.glob("*.npy")))
        if index["checksums"] != {path.name: digest for path, digest in arrays.items()}:
            raise ValueError("its arrays are not those that were stored")
        items = {split: np.load(folder / f"{split}_items.npy") for split in ("train", "test")}
        values = {split: np.load(folder / f"{split}.npy", mmap_mode="r") for split in ("train", "test")}
        with warnings.catch_warnings():  # that the array cannot be written: nothing writes to a dataset
            warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
            tensors = {split: torch.from_numpy(array) for split, array in values.items()}
        return Decoded(
            values=tensors,
            lengths={split: torch.from_numpy(table[:, 0].copy()) for split, table in items.items()},
            labels={split: torch.from_numpy(table[:, 1].copy()) for split, table in items.items()},
            classes=tuple(index["classes"]),
            loose=index["loose"],
            digest=index["digest"],
            remarks=index["remarks"],
            bad=tuple(
                f"{shown_path(found.files[split][number].path)}: {reason}" for split, number, reason in index["bad"]
            ),
            files=index["files"],
        )
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{folder}: cannot be read ({error}); delete it, and it is made again") from error
