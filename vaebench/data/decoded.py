"""Files decoded once, into arrays in the cache that are mapped into memory.

They lie in ``$VAEBENCH_CACHE/decoded/<name>-<key>/``, one ``<split>.npy`` of all values end to end and one
``<split>_items.npy`` of lengths and labels for each split, and ``index.json`` with the checksums of both. The key is of
the files' names and contents, and of the options: a changed file is decoded anew, beside the old arrays, which can be
deleted.

One process decodes, with a thread per core, while others wait. Until all is done the arrays grow in a folder beside,
block by block, and ``blocks.jsonl`` there has a line for each: what its files came to, and a checksum of its values.
Who goes on after a kill reads those back and decodes the rest. ``index.json`` is written last.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from vaebench.data.ahead import ahead, told
from vaebench.data.contents import Item, Listing, checksums
from vaebench.data.places import BadFile, cache, shown_path
from vaebench.disk import hold, write_bytes, write_json
from vaebench.errors import UserError

_LAYOUT = 2  # of the folder of arrays; raised if what is in it changes
_BLOCK = 1024  # files; what a kill can cost
_PIECE = 64 << 20  # bytes that are read back at a time
_WORTH_A_LINE = 500  # files whose decoding takes long enough to say so

_Result = BadFile | tuple[np.ndarray | None, str]


@dataclass(frozen=True)
class Form:
    """How the files of a set become arrays.

    ``options``: all that ``decode`` depends on, as plain data. ``row``, ``dtype``: of one value; () for samples.
    ``decode``: a file -> its values ``[n *row]`` (None: it is left out), and a remark to count ("" for none); raises
    `BadFile`; called from several threads.
    """

    options: Mapping[str, Any]
    row: tuple[int, ...]
    dtype: type[np.generic]
    decode: Callable[[Path], tuple[np.ndarray | None, str]]


@dataclass(frozen=True)
class Decoded:
    """The arrays of a set, by split; a split without files is empty.

    ``values``: of all items, end to end ``[n *row]``, mapped from disk and only to be read. ``lengths``, ``labels``:
    int64 ``[c]``, how many of the values are an item's, and the number of its sub-folder. ``index``: what
    `_make` says of the content, as JSON. ``bad``: what cannot be read, "path: reason".
    """

    values: Mapping[str, Tensor]
    lengths: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    index: Mapping[str, Any]
    bad: tuple[str, ...]

    def facts(self, source: str, note: str) -> dict[str, Any]:
        """What the set says of itself; it has no classes if any item lies in no sub-folder."""
        classes = () if self.index["loose"] else tuple(self.index["classes"])
        found = {"source": source, "digest": self.index["digest"], "note": note, "class_names": classes}
        return {**found, "place": torch.device("cpu")}


def decoded(found: Listing, name: str, form: Form) -> Decoded:
    """The set's files as arrays: from the cache, or decoded into it now.

    Raises `UserError` if the cache cannot be written or read, has too little room, or is damaged.
    """
    key = json.dumps([_LAYOUT, dict(form.options), form.row, found.digest], sort_keys=True)
    folder = cache("decoded") / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with hold(folder.with_name(f".{folder.name}.lock"), math.inf, _waiting(folder)):
            if not (folder / "index.json").is_file():
                _make(folder, found, form)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror or error}); set VAEBENCH_CACHE to a folder with room for "
            f"{name}, decoded"
        ) from error
    return _load(folder, found)


def _waiting(folder: Path) -> Callable[[], None]:
    """Says once for what one waits."""
    lines = iter([f"note: waiting for another process, which decodes files into {folder}\n"])
    return lambda: sys.stderr.writelines(islice(lines, 1))


@dataclass
class _Block:
    """What some files of a split, one after the other, have come to.

    ``start``, ``count``: the number of the first, and how many they are. ``items``: the length and the label of each
    that is taken. ``bad``: the number of a file, and why it cannot be read. ``loose``: how many of those that are taken
    lie in no sub-folder. ``size``, ``crc``: of their values in the array, in bytes.
    """

    split: str
    start: int
    count: int = 0
    items: list[tuple[int, int]] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)
    remarks: Counter[str] = field(default_factory=Counter)
    loose: int = 0
    size: int = 0
    crc: int = 0


# The order is what makes it safe to kill. A block's line is written when its values are; values without a line, or
# others than the line says, are written over. The folder gets its name before the index is written, because the
# checksums of hundreds of gigabytes are taken once, and known by path: one without an index goes back to where it grew.
def _make(folder: Path, listing: Listing, form: Form) -> None:
    """Decode all files, those of before the last kill excepted, and give ``folder`` its name and its index."""
    part = folder.with_name(f".{folder.name}.part")
    if folder.exists():
        folder.replace(part)
    part.mkdir(exist_ok=True)
    count = sum(map(len, listing.files.values()))
    _check_room(part, count, form)
    if count >= _WORTH_A_LINE:
        sys.stderr.write(f"note: decoding {count:,} files into {folder}, once\n")
    content, blocks = hashlib.sha256(), list[_Block]()
    with _journal(part / "blocks.jsonl") as (before, note):
        for split, found in listing.files.items():
            content.update(f"{split} {form.dtype.__name__} {form.row}".encode())
            there = [block for block in before if block.split == split]
            growing = _Growing(part / f"{split}.npy", split, form, listing.numbers, content)
            mine = growing.filled(found, there, note)
            table = np.array([item for block in mine for item in block.items], np.int64).reshape(-1, 2)
            content = growing.content
            content.update(table.data)
            np.save(part / f"{split}_items.npy", table)
            blocks += mine
    part.replace(folder)
    index = {
        "digest": content.hexdigest()[:16],
        "remarks": dict(sum((block.remarks for block in blocks), Counter[str]())),
        "bad": [(block.split, number, why) for block in blocks for number, why in block.bad],
        "files": count,
        "classes": [label for label in listing.numbers if label],
        "loose": sum(block.loose for block in blocks),
        "checksums": {path.name: digest for path, digest in _sums(folder).items()},
    }
    write_json(folder / "index.json", index)
    (folder / "blocks.jsonl").unlink()


def _check_room(part: Path, count: int, form: Form) -> None:
    """Raise `UserError` if the arrays will not fit on the disk, as far as that can be known before."""
    there = sum(path.stat().st_size for path in part.iterdir())
    wanted = count * math.prod(form.row) * np.dtype(form.dtype).itemsize - there if form.row else 0
    free = shutil.disk_usage(part).free
    if wanted > free:
        raise UserError(
            f"{part.parent}: {count:,} files take {wanted / 1e9:,.1f} GB more, decoded, and {free / 1e9:,.1f} GB are "
            "free; set VAEBENCH_CACHE to a folder with more room"
        )


@contextmanager
def _journal(path: Path) -> Iterator[tuple[list[_Block], Callable[[_Block], None]]]:
    """The blocks that are written down, and what writes down another one.

    The file is made anew, so that a process which decodes into the same folder without seeing the lock, as on disks
    that machines share it may, finds that it has another: it raises `UserError`.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    before = []
    for line in lines:
        try:
            found = json.loads(line)
            before.append(_Block(**found | {"remarks": Counter(found["remarks"])}))
        except ValueError:  # the line that a killed process was writing
            break
    write_bytes(path, b"".join(_line(block) for block in before))
    with path.open("ab", buffering=0) as stream:

        def note(block: _Block) -> None:
            if not path.exists() or path.stat().st_ino != os.fstat(stream.fileno()).st_ino:
                raise UserError(f"{path.parent}: another process decodes into it now; wait for that one")
            stream.write(_line(block))

        yield before, note


def _line(block: _Block) -> bytes:
    return json.dumps(vars(block)).encode() + b"\n"


class _Growing:
    """The array of a split while it grows. ``content``: the sha256 of all values up to now."""

    def __init__(self, path: Path, split: str, form: Form, numbers: Mapping[str, int], content: Any) -> None:
        self.path, self.split, self.form, self.numbers, self.content = path, split, form, numbers, content

    def filled(self, files: Sequence[Item], before: Sequence[_Block], note: Callable[[_Block], None]) -> list[_Block]:
        """Write all files' values; those of the blocks of ``before`` are there, up to the first that is damaged."""
        self.path.touch()
        with self.path.open("rb+") as stream:
            begin = _header(stream, self.form, 0)
            blocks, done = list[_Block](), 0
            for block in before:
                if block.start != done or not self._reads(stream, block):
                    break
                blocks.append(block)
                done += block.count
            stream.seek(begin + sum(block.size for block in blocks))
            stream.truncate()
            if done:
                sys.stderr.write(f"note: {done:,} of {len(files):,} {self.split} files are decoded already\n")
            results = told(_results(files[done:], self.form), len(files) - done, f"{self.split}: decoded")
            for start in range(done, len(files), _BLOCK):
                blocks.append(self._block(stream, start, islice(results, _BLOCK)))
                note(blocks[-1])
            _header(stream, self.form, sum(length for block in blocks for length, _ in block.items), expected=begin)
        return blocks

    def _reads(self, stream: IO[bytes], block: _Block) -> bool:
        """Whether a block's values are those that were written; they are part of the content then."""
        content, crc, left = self.content.copy(), 0, block.size
        while left and (piece := stream.read(min(left, _PIECE))):
            content.update(piece)
            crc, left = zlib.crc32(piece, crc), left - len(piece)
        whole = not left and crc == block.crc
        if whole:
            self.content = content
        return whole

    def _block(self, stream: IO[bytes], start: int, results: Iterable[tuple[Item, _Result]]) -> _Block:
        """Write the values of the next files, of which the first is number ``start``."""
        block = _Block(self.split, start)
        for number, (item, result) in enumerate(results, start):
            block.count += 1
            if isinstance(result, BadFile):
                block.bad.append((number, str(result)))
                continue
            values, remark = result
            block.remarks.update([remark] if remark else [])
            if values is not None:
                stream.write(values.data)
                self.content.update(values.data)
                block.crc, block.size = zlib.crc32(values.data, block.crc), block.size + values.nbytes
                block.items.append((len(values), self.numbers[item.label]))
                block.loose += not item.label
        stream.flush()
        return block


def _header(stream: IO[bytes], form: Form, count: int, expected: int = 0) -> int:
    """Write the header of an array of ``count`` rows at the beginning; its length.

    numpy leaves room in it for the first dimension to grow, so the count can be put in when it is known.
    """
    stream.seek(0)
    described = {"descr": np.dtype(form.dtype).str, "fortran_order": False, "shape": (count, *form.row)}
    np.lib.format.write_array_header_1_0(stream, described)
    if expected and stream.tell() != expected:
        raise RuntimeError(f"the header of an array grew from {expected} to {stream.tell()} bytes")
    return stream.tell()


def _results(files: Sequence[Item], form: Form) -> Iterator[tuple[Item, _Result]]:
    """What ``decode`` makes of each file, in order."""

    def attempt(item: Item) -> _Result:
        try:
            values, remark = form.decode(item.path)
            return None if values is None else np.ascontiguousarray(values, form.dtype), remark
        except BadFile as error:
            return error

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a decoder's name no file; what is wrong with one is said in the note
        yield from ahead(attempt, files)


def _sums(folder: Path) -> dict[Path, str]:
    """The checksums of the arrays."""
    return checksums(folder, sorted(folder.glob("*.npy")))


def _load(folder: Path, found: Listing) -> Decoded:
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        arrays = _sums(folder)
        if index["checksums"] != {path.name: digest for path, digest in arrays.items()}:
            raise ValueError("its arrays are not those that were stored")
        lengths, labels, values = {}, {}, {}
        for split in ("train", "test"):
            table = torch.from_numpy(np.load(folder / f"{split}_items.npy"))
            lengths[split], labels[split] = table[:, 0].clone(), table[:, 1].clone()
            with warnings.catch_warnings():  # that the array cannot be written: nothing writes to a dataset
                warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
                values[split] = torch.from_numpy(np.load(folder / f"{split}.npy", mmap_mode="r"))
        for name, kind in (("digest", str), ("remarks", dict), ("classes", list), ("loose", int), ("files", int)):
            if not isinstance(index[name], kind):
                raise ValueError(f"its {name} is {index[name]!r}")
        bad = ((found.files[split][number].path, reason) for split, number, reason in index["bad"])
        return Decoded(values, lengths, labels, index, tuple(f"{shown_path(path)}: {why}" for path, why in bad))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{folder}: cannot be read ({error}); delete it, and it is made again") from error
